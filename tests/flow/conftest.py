"""A world for each test: real PostgreSQL and blobs, a fake analyser, the demonstration EHR."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import httpx
import pytest
from tests.fakes.analyser import FakeAnalyser
from tests.flow.world import ManualClock, World

from fundus_relay.adapters.blobs import DirectoryBlobs
from fundus_relay.adapters.database.ledger import PostgresLedger
from fundus_relay.adapters.database.pool import Connection, Pool
from fundus_relay.adapters.health_record.transaction import FhirTransactionRecord
from fundus_relay.demonstration.ehr import demonstration_ehr
from fundus_relay.pipeline.ports import Job, Ports
from fundus_relay.settings import Destination


@pytest.fixture
async def world(pool: Pool, tmp_path: Path) -> AsyncIterator[World]:
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
            blobs=DirectoryBlobs(tmp_path),
            analyser=analyser,
            records={"ehr": FhirTransactionRecord(destination, ehr)},
            clock=clock,
        )
        yield World(ports, clock, queue, pool, analyser, ehr)
