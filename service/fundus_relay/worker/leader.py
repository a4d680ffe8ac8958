"""One process of all does the rounds: poll, reconcile, rescue.

How this works. Leader is whose connection holds an advisory lock. The lock goes with the connection, so a killed leader
is followed at once; a leader that hangs stops looking after its connection, and the server closes it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from procrastinate.exceptions import ConnectorException

from fundus_relay import metrics
from fundus_relay.adapters.database.pool import Connection, Pool, connected, our_errors
from fundus_relay.domain.errors import StoreUnavailable, Unavailable

LEADERSHIP = 0x46756E6475734C64
"""Key of the advisory lock."""

BEAT = 2.0
"""Seconds between two signs of life on the connection."""

SESSION = "set idle_session_timeout = '10s'"

Round = Callable[[], Awaitable[object]]

log = logging.getLogger(__name__)


async def lead(pool: Pool, rounds: Mapping[Round, float]) -> None:
    """Become leader, and do each round every so many seconds, for as long as one is. Never returns."""
    while True:
        try:
            async with connected(pool) as connection:
                await _lead_on(connection, rounds)
        except* StoreUnavailable:
            log.warning("leadership-lost")
        await asyncio.sleep(1)


async def _lead_on(connection: Connection, rounds: Mapping[Round, float]) -> None:
    """Lead until the connection fails, which is raised."""
    try:
        await connection.set_autocommit(True)
        await connection.execute(SESSION)
        while not await _is_leader(connection):  # noqa: ASYNC110 - it is another process that we wait for
            await asyncio.sleep(1)
        log.info("leader")
        async with asyncio.TaskGroup() as group:
            group.create_task(_stay_alive(connection))
            for round, seconds in rounds.items():
                group.create_task(repeat(round, seconds))
    finally:
        await connection.close()  # the lock goes with it, and the pool makes another


async def _is_leader(connection: Connection) -> bool:
    row = await (await connection.execute("select pg_try_advisory_lock(%s)", [LEADERSHIP])).fetchone()
    return row is not None and bool(row[0])


async def _stay_alive(connection: Connection) -> None:
    with our_errors("the leader's connection is gone"):
        while not is_told_to_end():
            await asyncio.sleep(BEAT)
            await connection.execute("select 1")


async def repeat(round: Round, seconds: float) -> None:
    """Do the round till told to end; a bug in it is told and does not end the other rounds."""
    task = getattr(round, "__name__", "")
    while not is_told_to_end():
        outcome = "ok"
        try:
            await round()
        except (Unavailable, ConnectorException) as exc:
            outcome = type(exc).__name__
            log.warning("round-put-off", extra={"task": task, "code": outcome})
        except Exception as exc:
            outcome = type(exc).__name__
            log.exception("round-failed", extra={"task": task, "code": outcome})
        metrics.rounds.labels(task, outcome).inc()
        await asyncio.sleep(seconds)


def is_told_to_end() -> bool:
    """Whether this task was cancelled, even if what it awaited swallowed that.

    Source: CPython issue 86296, `asyncio.wait_for` before Python 3.12; psycopg_pool waits by it.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def end(*tasks: asyncio.Task[None]) -> None:
    """Cancel tasks until they have ended."""
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=1)
