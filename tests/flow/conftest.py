"""A world for each test: real PostgreSQL and blobs, a fake analyser, the demonstration EHR."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from tests.flow.world import RELAY, World, a_world
from tests.said import Heard
from tests.serving import an_application

from fundus_relay.adapters.database.embedded import embedded_postgres
from fundus_relay.adapters.database.migrate import migrate
from fundus_relay.adapters.database.pool import Pool, open_pool
from fundus_relay.demonstration.ehr import demonstration_ehr
from fundus_relay.worker.schema import engine_schema


@pytest.fixture
async def world(pool: Pool, tmp_path: Path) -> AsyncIterator[World]:
    async with _with_an_ehr(pool, tmp_path) as made:
        yield made


@pytest.fixture
async def order_at_ehr(world: World) -> None:
    """The order that photographs are `basedOn`, where the EHR looks for it."""
    order = {"resourceType": "ServiceRequest", "id": "77", "status": "active", "intent": "order"}
    await world.ehr.put("/fhir/ServiceRequest/77", json=order)


@pytest.fixture
async def relay(world: World, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Our own endpoint, on the world's database, queue and blobs."""
    transport = httpx.ASGITransport(app=an_application(world.ports.ledger, tmp_path, public_url=RELAY))
    headers = {"Content-Type": "application/fhir+json"}
    async with httpx.AsyncClient(transport=transport, base_url=RELAY, headers=headers) as client:
        yield client


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
        async with open_pool(url) as pool, _with_an_ehr(pool, tmp_path) as made:
            yield made


@asynccontextmanager
async def _with_an_ehr(pool: Pool, folder: Path) -> AsyncIterator[World]:
    transport = httpx.ASGITransport(app=Heard(demonstration_ehr(), requests=True))
    async with httpx.AsyncClient(transport=transport, base_url="http://ehr.test") as ehr:
        yield a_world(pool, folder, ehr)
