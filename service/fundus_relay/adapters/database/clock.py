"""The database's clock, which is the one that all processes share.

How this works. The database is asked for the time now and then; between two answers the time that passed is measured by
a clock that nobody can set. So a machine whose clock is wrong, or is set while we run, neither hurries nor delays
anything, and what one process writes as `due_at` means the same to every other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

from fundus_relay.domain.errors import StoreUnavailable

from .pool import Pool, connected

ASK_EVERY = timedelta(seconds=10)

_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Goes on while the machine sleeps, where there is such a clock."""


class DatabaseClock:
    """See `ports.Clock`; asked for the time before the first answer it raises."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._told: datetime | None = None
        self._told_at = 0.0

    def now(self) -> datetime:
        assert self._told is not None, "the database was not asked yet"  # noqa: S101 - `database_clock` asks
        return self._told + timedelta(seconds=_steady() - self._told_at)

    async def wait(self, span: timedelta) -> None:
        await asyncio.sleep(span.total_seconds())

    async def ask(self) -> None:
        """Set this clock by the database's. Raises StoreUnavailable."""
        async with connected(self._pool) as connection:
            await connection.execute("select")  # begins the transaction: its answer is not to count as the way
            asked_at = _steady()
            row = await (await connection.execute("select clock_timestamp()")).fetchone()
            answered_at = _steady()
        assert row is not None  # noqa: S101 - one row
        self._told, self._told_at = row[0].astimezone(UTC), (asked_at + answered_at) / 2


@asynccontextmanager
async def database_clock(pool: Pool, *, every: timedelta = ASK_EVERY) -> AsyncIterator[DatabaseClock]:
    """A clock that is set, and is set again and again while the context lasts. Raises StoreUnavailable at its start."""
    clock = DatabaseClock(pool)
    await clock.ask()
    keeping = asyncio.create_task(_keep_setting(clock, every))
    try:
        yield clock
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])


async def _keep_setting(clock: DatabaseClock, every: timedelta) -> None:
    while True:
        await asyncio.sleep(every.total_seconds())
        with suppress(StoreUnavailable):  # it goes on by itself until the database is back
            await clock.ask()


def _steady() -> float:
    return time.clock_gettime(_STEADY)
