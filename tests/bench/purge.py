"""(i) What a purge gives back: bytes of the blob directory and of the database, before, after, and after a vacuum."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
import psycopg
from tests.flow.aging import come_to_the_present, files_of, grow_older
from tests.flow.world import World, a_photograph, a_world
from tests.unit.imaging.pictures import a_jpeg

from fundus_relay.adapters.database.embedded import embedded_postgres
from fundus_relay.adapters.database.migrate import migrate
from fundus_relay.adapters.database.pool import open_pool
from fundus_relay.demonstration.ehr import demonstration_ehr
from fundus_relay.domain.policy import Kept
from fundus_relay.pipeline.purge import Purge
from fundus_relay.worker.schema import engine_schema

COUNT = 100
"""Photographs, each a study of its own."""

PIXELS = (Kept.SOURCE, Kept.PREPARED, Kept.PAGES)


@dataclass(frozen=True, slots=True)
class Row:
    """Bytes at one moment, and how long what led to it took."""

    moment: str
    blobs: int
    database: int
    seconds: float


def measure() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="fundus-relay-bench-") as name, embedded_postgres(Path(name) / "pg") as url:
        return asyncio.run(_measure(url, Path(name) / "blobs"))


async def _measure(url: str, blobs: Path) -> list[Row]:
    await migrate(url, engine_schema())
    transport = httpx.ASGITransport(app=demonstration_ehr())
    async with open_pool(url) as pool, httpx.AsyncClient(transport=transport, base_url="http://ehr.test") as ehr:
        world = a_world(pool, blobs, ehr)
        come_to_the_present(world)
        for number in range(COUNT):
            await world.accept(await a_photograph(world, a_jpeg(noise=number + 1)))
        await world.finish(rounds=3)
        await grow_older(world, blobs, timedelta(days=400))
        await _vacuum(url)
        rows = [await _row("everything kept", url, blobs, 0)]
        for ages in (dict.fromkeys(PIXELS, timedelta(days=30)), {Kept.LEDGER: timedelta(days=366)}):
            what = "ledgers" if Kept.LEDGER in ages else "pixels"
            began = time.perf_counter()
            await _purge(world, ages)
            rows.append(await _row(f"{what} purged", url, blobs, time.perf_counter() - began))
            await _vacuum(url)
            rows.append(await _row(f"{what} purged, vacuumed", url, blobs, 0))
        await _vacuum(url, "full")
        return [*rows, await _row("vacuum full", url, blobs, 0)]


async def _purge(world: World, ages: dict[Kept, timedelta]) -> None:
    purging = Purge(world.ports, ages)
    for _ in range(1 + COUNT // 50):
        await purging.round()


async def _vacuum(url: str, how: str = "") -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(f"vacuum {how}".encode())


async def _row(moment: str, url: str, blobs: Path, seconds: float) -> Row:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        found = await (await connection.execute("select pg_database_size(current_database())")).fetchone()
    assert found is not None
    return Row(moment, sum(file.stat().st_blocks * 512 for file in files_of(blobs)), found[0], seconds)


def table(rows: Sequence[Row]) -> str:
    lines = [f"| {COUNT} studies | blobs, MiB | database, MiB | took, s |", "| --- | --- | --- | --- |"]
    for row in rows:
        took = f"{row.seconds:.1f}" if row.seconds else ""
        lines.append(f"| {row.moment} | {row.blobs / 2**20:.1f} | {row.database / 2**20:.1f} | {took} |")
    return "\n".join(lines)
