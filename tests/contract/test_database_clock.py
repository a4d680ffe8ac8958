"""The clock that all processes share."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from fundus_relay.adapters.database.clock import database_clock
from fundus_relay.adapters.database.pool import Pool, connected


async def off_by(pool: Pool, now: object) -> timedelta:
    async with connected(pool) as connection:
        row = await (await connection.execute("select clock_timestamp() - %s::timestamptz", [now])).fetchone()
    assert row is not None
    difference = row[0]
    assert isinstance(difference, timedelta)
    return abs(difference)


async def test_it_is_the_database_s(pool: Pool) -> None:
    async with database_clock(pool) as clock:
        assert await off_by(pool, clock.now()) < timedelta(seconds=0.5)


async def test_it_is_set_again_and_again(pool: Pool) -> None:
    async with database_clock(pool, every=timedelta(milliseconds=10)) as clock:
        clock._told -= timedelta(hours=1)  # type: ignore[operator]  # as a machine that slept
        async with asyncio.timeout(5):
            while await off_by(pool, clock.now()) > timedelta(seconds=0.5):  # noqa: ASYNC110 - it is a clock
                await asyncio.sleep(0)
