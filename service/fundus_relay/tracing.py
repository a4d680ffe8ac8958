"""Traces: what became of a photograph, from its POST to the read-back of its report, as OpenTelemetry's spans.

How this works. A row keeps the W3C trace context that it came in with, so that whichever process takes its next step
begins a span in the same trace. What several photographs have in common, as their report, is a span in the trace of
each; all but the first link to that one. What goes on now is known to the task that does it, so that who calls another
party begins a span below it, and who settles a row notes there what came of it, without being told of either.

A span has the attributes of the list below and no other, and of an exception our code or its type. `adapters.traces`
brings spans to a collector; without one nothing is recorded, and a step costs the comparison that finds this out.

Source: W3C Trace Context, level 1, 3.2 (`traceparent`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime

from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.trace import Tracer as Spans

from .domain.errors import RelayError

PREFIX = "fundus_relay."

ATTRIBUTES = frozenset(
    PREFIX + name
    for name in (
        "acquisition",
        "attempt",
        "bytes",
        "delivery",
        "destination",
        "image",
        "method",
        "reason",
        "revision",
        "route",
        "state",
        "status",
        "study",
    )
)
"""Every attribute that a span may have: ids of ours, states, codes, counts, names from the settings."""

ENDED_BADLY = frozenset({"parked", "rejected"})

_STATED = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")


@dataclass(frozen=True, slots=True)
class _Here:
    """What goes on now: one span in each trace that it belongs to.

    Attributes:
        row: id of the row whose step this is.
    """

    tracer: Tracer
    spans: tuple[Span, ...]
    row: str = ""


_here: ContextVar[_Here | None] = ContextVar("here", default=None)


class Tracer:
    """Begins what this process does for somebody.

    Args:
        spans: OpenTelemetry's tracer; without it nothing is traced.
        now: the clock of the service, since a trace is of several processes.
    """

    def __init__(self, spans: Spans | None = None, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._spans = spans
        self._now = now

    @contextmanager
    def request(self, stated: str = "") -> Iterator[None]:
        """A request, in the trace that its caller states (`traceparent`), else in a new one.

        Whether it is recorded, the caller has no say in: that is for the sampling of this service.
        """
        if self._spans is None:
            yield
            return
        begun = self._begin("request", _context(stated, is_remote=True), kind=SpanKind.SERVER)
        with self._on(_Here(self, (begun,))):
            yield

    @contextmanager
    def step(self, name: str, traces: Sequence[str], *, row: str = "", **told: str | int) -> Iterator[None]:
        """A step of a row's journey, in each of these traces.

        Args:
            traces: as the rows keep them; of those without one nothing is traced.
            row: id of the row that is to be settled by it.
        """
        above: dict[int, SpanContext] = {}
        for each in traces if self._spans is not None else ():
            if (context := _context(each)) is not None:
                above.setdefault(context.trace_id, context)
        if not above:
            yield
            return
        with self._on(_Here(self, self._below(list(above.values()), name, told), row)):
            yield

    def waited(self, name: str, trace: str, since: datetime, *, reason: str = "") -> None:
        """A wait in that trace that ends now, badly for a reason if there is one."""
        context = _context(trace)
        if self._spans is None or context is None:
            return
        span = self._begin(name, context, since=since)
        if reason:
            _fail(span, reason)
        span.end(self._at(self._now()))

    def _begin(
        self,
        name: str,
        above: SpanContext | None,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        links: Sequence[Link] = (),
        since: datetime | None = None,
    ) -> Span:
        assert self._spans is not None  # noqa: S101 - who calls has asked
        context = Context() if above is None else set_span_in_context(NonRecordingSpan(above), Context())
        return self._spans.start_span(name, context, kind, links=links, start_time=self._at(since or self._now()))

    def _below(self, above: Sequence[SpanContext], name: str, told: Mapping[str, str | int]) -> tuple[Span, ...]:
        first = self._begin(name, above[0])
        links = [Link(first.get_span_context())]
        spans = (first, *(self._begin(name, each, links=links) for each in above[1:]))
        for span in spans:
            _tell(span, told)
        return spans

    @contextmanager
    def _on(self, here: _Here) -> Iterator[None]:
        token = _here.set(here)
        try:
            yield
        except BaseException as why:
            for span in here.spans:
                _fail(span, why.code if isinstance(why, RelayError) else type(why).__name__)
            raise
        finally:
            _here.reset(token)
            ended_at = self._at(self._now())
            for span in here.spans:
                span.end(ended_at)

    @staticmethod
    def _at(moment: datetime) -> int:
        """In nanoseconds, as OpenTelemetry counts."""
        return round(moment.timestamp() * 1_000_000) * 1000


@contextmanager
def span(name: str, **told: str | int) -> Iterator[None]:
    """A part of what goes on now."""
    here = _here.get()
    if here is None:
        yield
        return
    above = [each.get_span_context() for each in here.spans]
    with here.tracer._on(_Here(here.tracer, here.tracer._below(above, name, told))):
        yield


@contextmanager
def apart(name: str, count: int) -> Iterator[tuple[str, ...]]:
    """So many traces of their own for parts of what goes on now, linked to it both ways; gives their contexts.

    They are forgotten when nothing comes of it.
    """
    here = _here.get()
    if here is None:
        yield ("",) * count
        return
    whole = here.spans[0]
    parts = [here.tracer._begin(name, None, links=[Link(whole.get_span_context())]) for _ in range(count)]
    yield tuple(map(_written, parts))
    for part in parts:
        whole.add_link(part.get_span_context())
        part.end(here.tracer._at(here.tracer._now()))


def here() -> tuple[str, ...]:
    """The contexts of what goes on now, one of each trace, as rows keep them; none when nothing is traced."""
    now = _here.get()
    return tuple(_written(each) for each in now.spans) if now else ()


def own() -> str:
    """The first of them, or nothing."""
    return next(iter(here()), "")


def tell(**told: str | int | None) -> None:
    """Attributes of what goes on now."""
    if (now := _here.get()) is not None:
        for each in now.spans:
            _tell(each, told)


def failed(reason: str) -> None:
    """What goes on now came to no good end."""
    if (now := _here.get()) is not None:
        for each in now.spans:
            _fail(each, reason)


def settled(row: str, state: str, reason: str | None, *, is_put_off: bool) -> None:
    """A row came into a state; noted where the step of this row goes on."""
    now = _here.get()
    if now is None or now.row != row:
        return
    for each in now.spans:
        _tell(each, {"state": state})
        if reason and (is_put_off or state in ENDED_BADLY):
            _fail(each, reason)


def _tell(span: Span, told: Mapping[str, str | int | None]) -> None:
    for name, value in told.items():
        if value is not None:
            span.set_attribute(PREFIX + name, value)


def _fail(span: Span, reason: str) -> None:
    """By the code alone: what stands behind it may be another party's words."""
    span.set_attribute(f"{PREFIX}reason", reason.partition(":")[0])
    span.set_status(Status(StatusCode.ERROR))


def _context(stated: str, *, is_remote: bool = False) -> SpanContext | None:
    """A span context as it is written; None when it is none."""
    if (found := _STATED.fullmatch(stated)) is None:
        return None
    trace, span, flags = (int(each, 16) for each in found.groups())
    return SpanContext(trace, span, is_remote, TraceFlags(flags & TraceFlags.SAMPLED))


def _written(span: Span) -> str:
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & TraceFlags.SAMPLED:02x}"
