"""A worker whose PostgreSQL goes away while an upload is under way, and comes back."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from tests.fakes.analyser import FakeAnalyser
from tests.fakes.study_archive import FakeStudyArchive
from tests.interruption import Interruption
from tests.system.dying_worker import QUICK
from tests.unit.imaging.pictures import a_jpeg

from fundus_relay.adapters.blobs import DirectoryBlobs
from fundus_relay.adapters.clock import SystemClock
from fundus_relay.adapters.database.embedded import embedded_postgres
from fundus_relay.adapters.database.ledger import PostgresLedger
from fundus_relay.adapters.database.migrate import migrate
from fundus_relay.adapters.database.pool import Pool, connected, open_pool
from fundus_relay.adapters.database.retention import PostgresRetention
from fundus_relay.domain.states import ImageState
from fundus_relay.domain.values import Entry, Image, StoredPicture, Submitted
from fundus_relay.imaging.format import examine
from fundus_relay.pipeline.accept import accept
from fundus_relay.pipeline.journey import advance_image
from fundus_relay.pipeline.ports import Job, Ports
from fundus_relay.pipeline.rules import Rules
from fundus_relay.worker.engine import Engine
from fundus_relay.worker.runner import run_worker
from fundus_relay.worker.schema import engine_schema

pytestmark = pytest.mark.slow

PACE = replace(QUICK, grace=4, dead_after=6)
AWAY_FOR_WAITS = 3
"""Longer than a lane's heartbeat, its grace, and the time after which its jobs may be taken over."""


class WaitingRoom(SystemClock):
    """The machine's clock; the database is back after some waits."""

    def __init__(self, server: Interruption) -> None:
        self._server = server
        self._waits = 0

    async def wait(self, span: timedelta) -> None:
        await super().wait(span)
        self._waits += 1
        if self._waits == AWAY_FOR_WAITS:
            await asyncio.to_thread(self._server.start)


async def submit(ports: Ports, patient: str) -> None:
    picture = a_jpeg()
    sha256 = await ports.blobs.put(picture)
    media = {
        "resourceType": "Media",
        "status": "completed",
        "subject": {"reference": f"Patient/{patient}"},
        "content": {"contentType": "image/jpeg"},
    }
    stored = StoredPicture(sha256, "image/jpeg", len(picture), examine(picture).size)
    await accept(
        Submitted((Entry(media, picture=stored, element="Media"),)),
        ports.ledger,
        ports.blobs,
        ports.archive,
        ports.clock,
    )


async def images(pool: Pool, ports: Ports) -> list[Image | None]:
    async with connected(pool) as connection:
        rows = await (await connection.execute("select id::text from image order by arrival")).fetchall()
    async with ports.ledger.transaction() as tx:
        return [await tx.image(row[0]) for row in rows]


async def test_an_answer_outlives_the_lane_that_stops_because_the_database_is_away(tmp_path: Path) -> None:
    server, stop, ended = Interruption(tmp_path / "database"), asyncio.Event(), asyncio.Semaphore(0)
    with embedded_postgres(tmp_path / "database") as url:
        await migrate(url, engine_schema())
        async with open_pool(url) as pool:
            clock, analyser = WaitingRoom(server), FakeAnalyser()
            ledger = PostgresLedger(pool, clock, Engine().enqueue)
            ports = Ports(
                ledger,
                DirectoryBlobs(tmp_path / "blobs"),
                FakeStudyArchive(),
                analyser,
                {},
                clock,
                PostgresRetention(pool, clock),
            )
            rules = Rules("http://relay.test/fhir", "Test clinic", {})
            analyser.when_taken = partial(asyncio.to_thread, server.stop)

            async def carry(image_id: str) -> None:
                try:
                    await advance_image(image_id, ports, rules)
                finally:
                    ended.release()

            async def nothing(*_: str) -> None: ...

            handlers = {Job.IMAGE: carry, Job.STUDY: nothing, Job.DELIVERY: nothing}
            worker = asyncio.create_task(run_worker(pool, ledger, clock, handlers, *[nothing] * 3, stop, pace=PACE))
            await submit(ports, "first")
            async with asyncio.timeout(90):
                await ended.acquire()
                analyser.when_taken = None
                await submit(ports, "second")
                await ended.acquire()
            stop.set()
            await worker

            first, second = await images(pool, ports)
            async with connected(pool) as connection:
                lost = await connection.execute("select 1 from transition where reason = 'upload-ambiguous'")
                assert await lost.fetchall() == []

    assert first is not None and second is not None
    assert (first.state, first.job_id) == (ImageState.ANALYSING, "job-1")
    assert (second.state, second.job_id) == (ImageState.ANALYSING, "job-2")
