"""(g) Images a second with one, two and four worker processes on one PostgreSQL, and one API process beside them."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from fundus_relay.adapters.database.embedded import embedded_postgres

from .journey import through
from .processes import free_port, parties, started, surroundings

WORKERS = (1, 2, 4)
IMAGES = 80


@dataclass(frozen=True, slots=True)
class Row:
    """One number of workers, and how much processor they took together."""

    workers: int
    per_second: float
    cpu_s_per_image: float


def measure() -> list[Row]:
    """Each number on a fresh database."""
    return [_run(workers) for workers in WORKERS]


def _run(count: int) -> Row:
    port = free_port()
    with ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="fundus-relay-bench-"))
        url = stack.enter_context(embedded_postgres(Path(name) / "pg"))
        standin, ehr = stack.enter_context(parties("instant"))
        environment = {
            **surroundings(name, url, port=port, standin=standin, ehr=ehr, poll_s=0.1),
            "FUNDUS_RELAY_ANALYSER__CONCURRENCY": "16",
        }
        relay = stack.enter_context(
            started(["fundus_relay", "serve", "--only", "api"], port, "/readyz", environment),
        )
        workers = [
            stack.enter_context(started(["fundus_relay", "serve", "--only", "worker"], None, "", environment))
            for _ in range(count)
        ]
        asyncio.run(through(relay, 2 * count, 0, every=0))  # warm: all of them are there
        before = sum(worker.cpu_s for worker in workers)
        rate = asyncio.run(through(relay, IMAGES, 1000, every=0))
        return Row(count, rate, (sum(worker.cpu_s for worker in workers) - before) / IMAGES)


def table(rows: list[Row]) -> str:
    """As Markdown."""
    one = rows[0].per_second
    lines = ["| worker processes | images/s | of one | processor s an image |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {row.workers} | {row.per_second:.1f} | {row.per_second / one:.2f} | {row.cpu_s_per_image:.2f} |"
        for row in rows
    ]
    return "\n".join(lines)
