"""Connections to PostgreSQL: pooled, checked before use, and with our errors instead of its."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from select import POLLIN, poll

import psycopg
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from fundus_relay.domain.errors import Rejected, StoreUnavailable

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

PASSING = (
    "08",  # the connection
    "28",  # the account: mended by an operator, not by the sender
    "40",  # deadlocks and lost races
    "53",  # a full disk, too many connections
    "55",  # a lock not had in time
    "57",  # a time-out, a restart
    "58",  # its file system
    "25006",  # a standby, in the middle of a failover
    "25P03",  # a transaction that rested too long
    "25P04",  # a transaction that took too long
)
"""How the states begin in which the same may succeed later. Source: PostgreSQL 16, Appendix A."""

BEYOND_LIMITS = "54"
"""Too long for an index, too deep for the parser: the same never succeeds."""


class StoreLimitExceeded(Rejected):
    """Longer, deeper or more complex than the database takes."""

    code = "store-limit-exceeded"


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
        check=_check,
        reconnect_timeout=30,
        open=False,
        name="fundus-relay",
    )
    await pool.open(wait=False)
    try:
        yield pool
    finally:
        await pool.close()


async def _check(connection: Connection) -> None:
    """Ask a connection whether it lives, when there is something to be read: a server says so before it goes."""
    socket = poll()
    socket.register(connection, POLLIN)
    if socket.poll(0):
        await Pool.check_connection(connection)


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
        StoreLimitExceeded: it will never take this.
    """
    with our_errors("the database cannot serve now"):
        async with pool.connection() as connection:
            yield connection


@contextmanager
def our_errors(text: str) -> Iterator[None]:
    """The database's errors as ours, `text` being what StoreUnavailable says; a bug of ours stays as it is."""
    try:
        yield
    except psycopg.Error as exc:
        if (exc.sqlstate or "").startswith(BEYOND_LIMITS):
            raise StoreLimitExceeded from exc
        if _may_pass(exc):
            raise StoreUnavailable(f"{text} ({type(exc).__name__})") from exc
        raise


def _may_pass(error: psycopg.Error) -> bool:
    """Whether the same may succeed later; without a state, the server did not even answer."""
    if error.sqlstate is None:
        return isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
    return error.sqlstate.startswith(PASSING)
