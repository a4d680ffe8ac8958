"""What is counted and measured, by name; `service/docs/observability.md` lists all of it.

No label holds an id or anything that a sender wrote: states, codes, operations and endpoints alone. What waits in the
database is looked at by `adapters.database.census` from time to time, never when somebody asks for the metrics.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from fundus_relay.domain.errors import RelayError

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

_SECONDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

http_requests = Counter(
    "fundus_relay_http_requests", "Requests that were answered", ["route", "method", "status"], registry=REGISTRY
)
http_seconds = Histogram(
    "fundus_relay_http_request_seconds",
    "From a request's head to the end of its answer",
    ["route"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
analyser_seconds = Histogram(
    "fundus_relay_analyser_call_seconds",
    "Calls to the analyser",
    ["operation", "outcome"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
record_seconds = Histogram(
    "fundus_relay_record_call_seconds",
    "Calls to the EHR",
    ["operation", "outcome"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
archive_seconds = Histogram(
    "fundus_relay_archive_call_seconds",
    "Calls to image archives",
    ["operation", "outcome"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
token_requests = Counter("fundus_relay_analyser_token_requests", "Tokens asked for", registry=REGISTRY)
ambiguous_uploads = Counter(
    "fundus_relay_ambiguous_uploads", "Uploads that left and whose answer was lost", registry=REGISTRY
)
tokens_unusable = Gauge(
    "fundus_relay_tokens_unusable",
    "1 while the file of tokens cannot be used, so that those of before are still let in",
    registry=REGISTRY,
)
spans = Counter(
    "fundus_relay_spans", "Spans that the collector of traces took, or that were lost", ["outcome"], registry=REGISTRY
)
moves = Counter("fundus_relay_moves", "Rows that came into a state", ["subject", "state"], registry=REGISTRY)
purged_studies = Counter(
    "fundus_relay_purged_studies", "Studies that lost a class of what was kept", ["kept"], registry=REGISTRY
)
discarded_files = Counter("fundus_relay_discarded_files", "Files that were removed", ["kept"], registry=REGISTRY)
discarded_bytes = Counter("fundus_relay_discarded_bytes", "Bytes that these had", ["kept"], registry=REGISTRY)
rounds = Counter(
    "fundus_relay_rounds",
    "What one process of all does again and again, each time",
    ["task", "outcome"],
    registry=REGISTRY,
)
retention_classes = Gauge(
    "fundus_relay_retention_classes",
    "Classes of what is kept that are purged by their age; none by 0",
    registry=REGISTRY,
)
pool_connections = Gauge(
    "fundus_relay_database_connections", "Connections of this process: open, idle", ["kind"], registry=REGISTRY
)
pool_waiting = Gauge("fundus_relay_database_waiting", "Tasks that wait for a connection", registry=REGISTRY)

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})


def method_known(method: str) -> str:
    """The method, or `other` for one that a caller made up: callers must make no label, and put nothing into a log."""
    return method if method in _METHODS else "other"


def answered(route: str | None, method: str, status: int, seconds: float) -> None:
    """Count a request."""
    route = route or "none"
    http_requests.labels(route, method_known(method), str(status)).inc()
    http_seconds.labels(route).observe(seconds)


def sent_away(method: str) -> None:
    """Count a request that came when there were connections enough."""
    http_requests.labels("too-many-connections", method_known(method), "503").inc()


@contextmanager
def timed(histogram: Histogram, operation: str) -> Iterator[None]:
    """Measure a call; its outcome is `ok`, the code of our error, or the name of another one."""
    began, outcome = time.perf_counter(), "ok"
    try:
        yield
    except RelayError as why:
        outcome = why.code
        raise
    except BaseException as why:
        outcome = type(why).__name__
        raise
    finally:
        histogram.labels(operation, outcome).observe(time.perf_counter() - began)


class Snapshot(Collector):
    """Gauges over the database as they were when it was last looked at; replaced all at once."""

    def __init__(self) -> None:
        self._families: Sequence[GaugeMetricFamily] = ()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield from self._families

    def replace(self, families: Sequence[GaugeMetricFamily]) -> None:
        self._families = families


snapshot = Snapshot()
REGISTRY.register(snapshot)


def page() -> bytes:
    """All of it in Prometheus' text format."""
    return generate_latest(REGISTRY)
