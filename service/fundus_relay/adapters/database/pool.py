"""Connections to PostgreSQL: pooled, checked before use, and with our errors instead of its."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from fundus_relay.domain.errors import StoreUnavailable

Connection = psycopg.AsyncConnection[TupleRow]
Pool = AsyncConnectionPool[Connection]

LONGEST_WAIT = 5.0
"""Seconds for a connection; then the database counts as out of reach."""

SESSION = """
    set search_path = relay, engine;
    set statement_timeout = '30s';
    set lock_timeout = '10s';
    set idle_in_transaction_session_timeout = '60s';
    set timezone = 'UTC';
"""

OUT_OF_REACH = (
    psycopg.OperationalError,  # also deadlocks, time-outs and a full disk: the same may succeed later
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,  # a standby, in the middle of a failover
    PoolTimeout,
    PoolClosed,
    TooManyRequests,
)


@asynccontextmanager
async def open_pool(url: str, *, size: int = 10) -> AsyncIterator[Pool]:
    """Connections for as long as the context lasts; a database that is away or restarts is survived."""
    pool = Pool(
        url,
        min_size=min(2, size),
        max_size=size,
        timeout=LONGEST_WAIT,
        kwargs={"connect_timeout": 3, "application_name": "fundus-relay", "prepare_threshold": 5},
        configure=_configure,
        check=Pool.check_connection,
        reconnect_timeout=30,
        open=False,
        name="fundus-relay",
    )
    await pool.open(wait=False)
    try:
        yield pool
    finally:
        await pool.close()


async def _configure(connection: Connection) -> None:
    """Set the session; by statement, since some poolers refuse start-up options."""
    await connection.set_autocommit(True)
    await connection.execute(SESSION)
    await connection.set_autocommit(False)


@asynccontextmanager
async def connected(pool: Pool) -> AsyncIterator[Connection]:
    """One connection and one transaction: committed at the end, rolled back on any exception.

    Raises:
        StoreUnavailable: the database cannot be reached, gave up, or went away meanwhile.
    """
    try:
        async with pool.connection() as connection:
            yield connection
    except OUT_OF_REACH as exc:
        raise StoreUnavailable(f"the database cannot serve now ({type(exc).__name__})") from exc
