"""A world for each test: real PostgreSQL and blobs, a fake analyser, the demonstration EHR."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from tests.flow.world import World, a_world

from fundus_relay.adapters.database.pool import Pool
from fundus_relay.demonstration.ehr import demonstration_ehr


@pytest.fixture
async def world(pool: Pool, tmp_path: Path) -> AsyncIterator[World]:
    transport = httpx.ASGITransport(app=demonstration_ehr())
    async with httpx.AsyncClient(transport=transport, base_url="http://ehr.test") as ehr:
        yield a_world(pool, tmp_path, ehr)
