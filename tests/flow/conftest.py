"""A world for each test: real PostgreSQL and blobs, a fake analyser, the demonstration EHR."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from tests.fakes.analyser import FakeAnalyser
from tests.flow.world import ManualClock, World

from fundus_relay.adapters.blobs import DirectoryBlobs
from fundus_relay.adapters.database.embedded import embedded_postgres
from fundus_relay.adapters.database.ledger import PostgresLedger
from fundus_relay.adapters.database.migrate import migrate
from fundus_relay.adapters.database.pool import Connection, Pool, open_pool
from fundus_relay.adapters.health_record.transaction import FhirTransactionRecord
from fundus_relay.demonstration.ehr import demonstration_ehr
from fundus_relay.pipeline.ports import Job, Ports
from fundus_relay.settings import Destination
from fundus_relay.worker.schema import engine_schema


@pytest.fixture
async def world(pool: Pool, tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(pool, tmp_path) as made:
        yield made


@pytest.fixture
def own_database() -> Iterator[Path]:
    """A folder that no other run of pytest closes to the server's user, as it does with all of `tmp_path`."""
    with tempfile.TemporaryDirectory(prefix="fundus-relay-tests-") as folder:
        yield Path(folder)


@pytest.fixture
async def brittle_world(own_database: Path, tmp_path: Path) -> AsyncIterator[World]:
    """A world on a PostgreSQL server of its own, in `own_database`, that the test may stop and start."""
    with embedded_postgres(own_database) as url:
        await migrate(url, engine_schema())
        async with open_pool(url) as pool, a_world(pool, tmp_path) as made:
            yield made


@asynccontextmanager
async def a_world(pool: Pool, folder: Path) -> AsyncIterator[World]:
    clock, queue, analyser = ManualClock(), deque[tuple[Job, str]](), FakeAnalyser()

    async def enqueue(_: Connection, jobs: Sequence[tuple[Job, str]], *, is_first: bool = False) -> None:
        queue.extend(job for job in jobs if job not in queue)

    destination = Destination(base_url="http://ehr.test/fhir")
    transport = httpx.ASGITransport(app=demonstration_ehr())
    async with (
        httpx.AsyncClient(transport=transport, base_url="http://ehr.test") as ehr,
    ):
        ports = Ports(
            ledger=PostgresLedger(pool, clock, enqueue),
            blobs=DirectoryBlobs(folder),
            analyser=analyser,
            records={"ehr": FhirTransactionRecord(destination, ehr)},
            clock=clock,
        )
        yield World(ports, clock, queue, pool, analyser, ehr)
