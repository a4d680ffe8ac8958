"""(c) Processor share of a worker with 10,000 images waiting for a poll of 90 s, beside one with none."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg

from fundus_relay.adapters.database.embedded import embedded_postgres

from .processes import free_port, started

IMAGES = 10_000
SECONDS = 90

_FILL = """
    insert into relay.study (id, key, subject, context, state)
        select gen_random_uuid(), 'waiting-' || n, '{"reference": "Patient/1"}', '{}', 'collecting'
          from generate_series(1, %(count)s) as n;
    insert into relay.image (id, study_id, media_id, source, source_sha256, state, since, job_id, analysing_since,
                             due_at, prepared)
        select gen_random_uuid(), id, 'none', jsonb_build_object('sha256', repeat('a', 64),
                   'media_type', 'image/jpeg', 'byte_count', 1,
                   'size', jsonb_build_object('columns', 1280, 'rows', 1024)),
               repeat('a', 64), 'analysing', now(), 'job-' || row_number() over (), now(),
               now() + random() * interval '90 seconds', null
          from relay.study where key like 'waiting-%%'
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A worker's share of one core, and the questions that it asked."""

    waiting: int
    share: float
    asked_per_s: float


def measure() -> list[Row]:
    """First none, then ten thousand waiting, each for one poll interval."""
    return [_run(0), _run(IMAGES)]


def _run(count: int) -> Row:
    port, idle = free_port(), free_port()
    with (
        tempfile.TemporaryDirectory(prefix="fundus-relay-bench-") as name,
        embedded_postgres(Path(name) / "pg") as url,
        started(["tests.bench.references", "queued", str(port), name], port, "/asked") as analyser,
    ):
        environment = {
            "FUNDUS_RELAY_HTTP__PORT": str(idle),
            "FUNDUS_RELAY_DATA_DIR": name,
            "FUNDUS_RELAY_DATABASE__URL": url,
            "FUNDUS_RELAY_ANALYSER__BASE_URL": f"http://127.0.0.1:{port}/v1",
            "FUNDUS_RELAY_ANALYSER__USERNAME": "bench",
            "FUNDUS_RELAY_ANALYSER__PASSWORD": "bench",
            "FUNDUS_RELAY_RECORD__BASE_URL": "http://127.0.0.1:9/fhir",
        }
        with started(["fundus_relay", "serve"], idle, "/readyz", environment) as worker:
            if count:
                with psycopg.connect(url) as connection:
                    for statement in _FILL.split(";"):
                        connection.execute(statement.encode(), {"count": count})
            time.sleep(5)
            cpu, asked, began = worker.cpu_s, _asked(analyser.port), time.monotonic()
            time.sleep(SECONDS)
            seconds = time.monotonic() - began
            return Row(count, (worker.cpu_s - cpu) / seconds, (_asked(analyser.port) - asked) / seconds)


def _asked(port: int) -> int:
    import httpx

    return int(httpx.get(f"http://127.0.0.1:{port}/asked", trust_env=False).text)


def table(rows: list[Row]) -> str:
    """As Markdown."""
    lines = ["| images waiting | share of one core | questions/s |", "| --- | --- | --- |"]
    lines += [f"| {row.waiting} | {100 * row.share:.1f} % | {row.asked_per_s:.0f} |" for row in rows]
    return "\n".join(lines)
