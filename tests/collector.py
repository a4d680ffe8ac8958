"""A collector of traces: a small server that takes OTLP over HTTP, as protobuf, and keeps what it was told."""

from __future__ import annotations

import gzip
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status


@dataclass
class Collector:
    """What it was told.

    Attributes:
        status: that it answers with.
        location: where it leads to.
        open: while it is not set, nobody is answered.
    """

    url: str = ""
    status: int = 200
    location: str = ""
    open: threading.Event = field(default_factory=threading.Event)
    bodies: list[bytes] = field(default_factory=list)
    heads: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    _has_more: threading.Condition = field(default_factory=threading.Condition)

    def take(self, head: dict[str, str], path: str, body: bytes) -> None:
        with self._has_more:
            self.heads.append(head)
            self.paths.append(path)
            self.bodies.append(body)
            self._has_more.notify_all()

    def wait_for(self, name: str, seconds: float = 60) -> bool:
        """Whether a span of that name comes, or is there."""
        with self._has_more:
            return self._has_more.wait_for(lambda: self.named(name), seconds) != []

    @property
    def spans(self) -> list[Span]:
        told = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        return [
            span
            for each in told
            for resource in each.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def traces(self) -> dict[str, list[Span]]:
        """By their ids."""
        found: dict[str, list[Span]] = defaultdict(list)
        for span in self.spans:
            found[span.trace_id.hex()].append(span)
        return dict(found)

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]


def paths(trace: Sequence[Span]) -> list[str]:
    """Every span of a trace by the names from the root down to it, such as `request/send image`, in order."""
    by_id = {span.span_id: span for span in trace}

    def path(span: Span) -> str:
        above = by_id.get(span.parent_span_id)
        return f"{path(above)}/{span.name}" if above else f"{'…/' if span.parent_span_id else ''}{span.name}"

    return sorted(map(path, trace))


def told(span: Span) -> dict[str, str | int]:
    """Its attributes, without our prefix."""
    return {
        each.key.removeprefix("fundus_relay."): each.value.string_value or each.value.int_value
        for each in span.attributes
    }


def is_error(span: Span) -> bool:
    return bool(span.status.code == Status.STATUS_CODE_ERROR)


@contextmanager
def a_collector() -> Iterator[Collector]:
    """One that answers at `url` for as long as the context lasts."""
    collector = Collector()
    collector.open.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.open.wait()
            if collector.status == 200:
                head = {name.lower(): value for name, value in self.headers.items()}
                collector.take(head, self.path, gzip.decompress(body))
            self.send_response(collector.status)
            self.send_header("Content-Length", "0")
            if collector.location:
                self.send_header("Location", collector.location)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=[0.02], daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        collector.open.set()
        server.shutdown()
        server.server_close()
