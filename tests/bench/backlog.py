"""(h) What the database takes for an image and for a round while 100 to 100,000 images wait and as many are history."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import psycopg

from fundus_relay.adapters.clock import SystemClock
from fundus_relay.adapters.database.embedded import embedded_postgres
from fundus_relay.adapters.database.ledger import PostgresLedger
from fundus_relay.adapters.database.migrate import migrate
from fundus_relay.adapters.database.pool import open_pool
from fundus_relay.domain.states import ImageState
from fundus_relay.domain.values import Image, StoredPicture
from fundus_relay.imaging.format import examine
from fundus_relay.pipeline.ports import Job
from fundus_relay.worker.engine import Engine
from fundus_relay.worker.schema import engine_schema

SIZES = (100, 1_000, 10_000, 100_000)
TIMES = 30

_FILL = """
    insert into relay.study (id, key, subject, context, state)
        select gen_random_uuid(), %(size)s || '-backlog-' || n, '{"reference": "Patient/1"}', '{}', 'collecting'
          from generate_series(1, %(size)s) as n;
    insert into relay.image (id, study_id, media_id, source, source_sha256, state, since, due_at)
        select gen_random_uuid(), id, 'none', '{}', md5(key) || md5(key), 'prepared', now(),
               now() + interval '1 day' * random()
          from relay.study where key like %(size)s || '-backlog-%%';
    insert into relay.image (id, study_id, media_id, source, source_sha256, state, since)
        select gen_random_uuid(), id, 'none', '{}', md5(key || 'h') || md5(key), 'answered', now()
          from relay.study where key like %(size)s || '-backlog-%%';
    insert into relay.delivery (id, study_id, revision, destination, state, resources, report_id, since)
        select gen_random_uuid(), id, 1, 'ehr', 'confirmed', '[]', 'none', now()
          from relay.study where key like %(size)s || '-backlog-%%';
    insert into relay.transition (at, subject, subject_id, to_state)
        select now(), 'image', id, to_state
          from relay.image, unnest(array['received', 'prepared', 'sending', 'answered']) as to_state
         where study_id in (select id from relay.study where key like %(size)s || '-backlog-%%');
"""
"""Waiting for credits, say, and answered before."""


@dataclass(frozen=True, slots=True)
class Row:
    """Medians in milliseconds, with so many waiting and as many answered."""

    size: int
    accept: float
    moves: float
    reconcile: float
    poll: float
    census: float


def measure() -> list[Row]:
    """One database that grows."""
    with tempfile.TemporaryDirectory(prefix="fundus-relay-bench-") as name, embedded_postgres(Path(name) / "pg") as url:
        return asyncio.run(_measure(url))


async def _measure(url: str) -> list[Row]:
    await migrate(url, engine_schema())
    rows, filled = [], 0
    async with open_pool(url) as pool:
        ledger = PostgresLedger(pool, SystemClock(), Engine().enqueue)
        for size in SIZES:
            with psycopg.connect(url) as connection:
                for statement in _FILL.split(";")[:-1]:
                    connection.execute(statement.encode(), {"size": size - filled})
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("vacuum analyze")
            filled = size
            rows.append(await _row(size, ledger))
    return rows


async def _row(size: int, ledger: PostgresLedger) -> Row:
    added: list[Image] = []

    async def accept() -> None:
        async with ledger.transaction() as tx:
            study = await tx.open_study(str(uuid4()), {"reference": "Patient/1"}, {})
            image, _ = await tx.add_image(_an_image(study.id))
            await tx.enqueue(Job.IMAGE, image.id)
        added.append(image)

    async def moves() -> None:
        """The five commits of a whole way, without what they wait for."""
        image: Image | None = added.pop()
        for state in (ImageState.PREPARED, ImageState.SENDING, ImageState.ANALYSING, ImageState.ANSWERED):
            async with ledger.transaction() as tx:
                assert image is not None
                image = await tx.move_image(image, state)
                await tx.enqueue(Job.IMAGE, image.id if image else "")

    def now() -> datetime:
        return datetime.now(UTC)

    return Row(
        size,
        await _median(accept),
        await _median(moves),
        await _median(lambda: ledger.overdue(now(), 500)),
        await _median(lambda: ledger.due_for_poll(now(), 500)),
        await _median(ledger.census),
    )


async def _median(act: Callable[[], Awaitable[object]]) -> float:
    taken = []
    for _ in range(TIMES):
        began = time.perf_counter()
        await act()
        taken.append(1000 * (time.perf_counter() - began))
    return statistics.median(taken)


def _an_image(study_id: str) -> Image:
    from .photographs import noisy_jpeg

    digest = uuid4().hex * 2
    size = examine(noisy_jpeg()).size
    return Image(
        id=str(uuid4()),
        study_id=study_id,
        media_id="none",
        source=StoredPicture(digest, "image/jpeg", 1, size),
        laterality=None,
        captured=None,
        state=ImageState.RECEIVED,
        since=datetime.now(UTC),
    )


def table(rows: list[Row]) -> str:
    """As Markdown."""
    lines = [
        "| waiting, and answered | accept ms | four moves ms | reconcile ms | poll ms | census ms |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        times = (row.accept, row.moves, row.reconcile, row.poll, row.census)
        lines.append(f"| {row.size:,} | {' | '.join(f'{ms:.1f}' for ms in times)} |")
    return "\n".join(lines)
