"""Spans on their way to a collector: OTLP, protobuf over HTTP.

How this works. Spans that ended wait in a queue of bounded length, which a thread of its own empties in batches. When
the collector is away or slow, batches are lost, and the oldest spans once the queue is full; nobody else ever waits for
it. What a span holds beside what `tracing` lists is taken off on the way out, whoever put it there. Whether it works is
told in our own words when that changes, since the library would tell it at every try.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import requests
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, Status, TraceState
from opentelemetry.util.types import Attributes

from fundus_relay import __version__, metrics
from fundus_relay.settings import Traces
from fundus_relay.tracing import ATTRIBUTES, Tracer

QUEUE = 4096
BATCH = 512
EVERY_MS = 2000
ANSWERED_WITHIN_S = 5.0
ENDED_WITHIN_S = 2.0
"""What a process that stops gives to the spans that it has not brought yet."""

log = logging.getLogger(__name__)


@asynccontextmanager
async def exported(settings: Traces, now: Callable[[], datetime]) -> AsyncIterator[Tracer]:
    """A tracer whose spans go to the collector that the settings name."""
    assert settings.endpoint is not None  # noqa: S101 - else nobody asks
    provider = TracerProvider(
        ParentBased(
            root=(at_the_door := Share(settings.sampling_ratio)),
            remote_parent_sampled=at_the_door,
            remote_parent_not_sampled=at_the_door,
        ),
        Resource.create({"service.name": "fundus-relay", "service.version": __version__}),
        shutdown_on_exit=False,
    )
    session = Session()
    exporter = Checked(_exporter(settings.endpoint, settings.stated_headers, session), session)
    provider.add_span_processor(
        BatchSpanProcessor(exporter, max_queue_size=QUEUE, schedule_delay_millis=EVERY_MS, max_export_batch_size=BATCH)
    )
    try:
        yield Tracer(provider.get_tracer("fundus_relay", __version__), now)
    finally:
        ending = threading.Thread(target=provider.shutdown, name="traces-end", daemon=True)
        ending.start()
        await asyncio.to_thread(ending.join, ENDED_WITHIN_S)
        exporter.shutdown()  # what is still being tried is given up


def _exporter(endpoint: str, headers: dict[str, str], session: Session) -> SpanExporter:
    path = "" if endpoint.endswith("/v1/traces") else "/v1/traces"
    return OTLPSpanExporter(
        endpoint.rstrip("/") + path,
        headers=headers,
        timeout=ANSWERED_WITHIN_S,
        compression=Compression.Gzip,
        session=session,
    )


class Session(requests.Session):
    """Attributes: `outcome` of the last try: a status, or the type of what went wrong on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False
        self.outcome = ""

    def send(self, request: requests.PreparedRequest, **how: Any) -> requests.Response:  # Any: as of requests
        """Redirects are not followed, since headers may hold a secret; the exporter would take one for a success."""
        try:
            answer = super().send(request, **how | {"allow_redirects": False})
        except requests.RequestException as exc:
            self.outcome = type(exc).__name__
            raise
        self.outcome = str(answer.status_code)
        if answer.is_redirect:
            raise requests.TooManyRedirects
        return answer


class Share(Sampler):
    """Keeps a share of what comes in at the door, by chance: not by the trace's id, which a caller may choose."""

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio
        self._chance = random.Random()  # noqa: S311 - no secret

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        is_kept = self._chance.random() < self._ratio
        return SamplingResult(Decision.RECORD_AND_SAMPLE if is_kept else Decision.DROP)

    def get_description(self) -> str:
        return f"Share({self._ratio})"


class Checked(SpanExporter):
    """Lets nothing out but what is on the list, and tells when spans begin to be lost, and when that ends."""

    def __init__(self, exporter: SpanExporter, session: Session) -> None:
        self._exporter = exporter
        self._session = session
        self._is_losing = False
        self._has_ended = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export([_checked(span) for span in spans])
        is_lost = result is not SpanExportResult.SUCCESS
        metrics.spans.labels("lost" if is_lost else "exported").inc(len(spans))
        if is_lost != self._is_losing:
            self._is_losing = is_lost
            log.log(
                logging.WARNING if is_lost else logging.INFO,
                "traces-lost" if is_lost else "traces-exported-again",
                extra={"count": len(spans), "reason": self._session.outcome if is_lost else None},
            )
        return result

    def shutdown(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._exporter.shutdown()


def _checked(span: ReadableSpan) -> ReadableSpan:
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes={name: value for name, value in (span.attributes or {}).items() if name in ATTRIBUTES},
        links=[Link(link.context) for link in span.links],
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )
