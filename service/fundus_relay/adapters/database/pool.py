"""Connections to PostgreSQL: pooled, checked before use, and with our errors instead of its.

How this works. A server that restarts resets its connections, and new ones are tried for every few seconds. A peer that
vanishes without a word is noticed by both sides' keepalives. What neither can tell is a proxy that keeps our connection
and has lost the server's: there a statement is out whose answer never comes, and after `LONGEST_SILENCE` we hang up.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from select import POLLIN, poll
from typing import Any, Self, cast

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow, TupleRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from fundus_relay.domain.errors import Rejected, StoreUnavailable

from .schema import APPLICATION, TOO_OLD, application_name, newest, refuse_below_floor
from .why import reason

Connection = psycopg.AsyncConnection[TupleRow]

LONGEST_WAIT = 5.0
"""Seconds for a connection; then the database counts as out of reach."""

RECONNECT_FOR = 3.0
"""Seconds of growing pauses between attempts; then the next who wants a connection begins anew, with a short pause."""

LONGEST_SILENCE = timedelta(seconds=35)
"""That a statement may be without an answer: longer than any may take by the session's settings."""

KEEPALIVES: Mapping[str, Any] = {
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 12_000,
}
"""A server that vanished is noticed within twelve seconds. Source: libpq, Parameter Key Words. Any: as `connect`."""

SERVER_KEEPALIVES = """
    set tcp_keepalives_idle = 5;
    set tcp_keepalives_interval = 2;
    set tcp_keepalives_count = 3;
    set tcp_user_timeout = 12000;
"""
"""The same of us: the locks of a process that vanished are free within twelve seconds."""

SESSION = f"""
    set search_path = relay, engine;
    set statement_timeout = '30s';
    set lock_timeout = '10s';
    set idle_in_transaction_session_timeout = '20s';
    set timezone = 'UTC';
    set max_parallel_workers_per_gather = 0;
    set jit = off;
    {SERVER_KEEPALIVES}
"""
"""Our statements read a few rows: starting helpers for one, or compiling it, takes longer than running it."""

PASSING = (
    "08",  # the connection
    "0A",  # prepared as `select *` before a migration added a column; see `connected`
    "28",  # the account: mended by an operator, not by the sender
    "42501",  # what the account may do: likewise
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


class Pool(AsyncConnectionPool[Connection]):
    """Connections.

    Attributes:
        is_refused: the database takes newer versions only, so that no connection can be had any more.
    """

    is_refused = False


class Watched(psycopg.AsyncConnection[TupleRow]):
    """A connection that is hung up when an answer is overdue."""

    longest_silence = LONGEST_SILENCE
    why_none = ""

    @classmethod
    async def connect(cls, *arguments: Any, **named: Any) -> Self:  # Any: as psycopg
        """As psycopg; keeps in mind why none could be made when it was last tried."""
        try:
            connection = await super().connect(*arguments, **named)
        except psycopg.Error as exc:
            cls.why_none = reason(exc)
            raise
        cls.why_none = ""
        return connection

    async def wait(self, *arguments: Any, **named: Any) -> Any:  # Any: as psycopg
        """As psycopg; it reads an end of the connection then, and raises OperationalError."""
        watch = asyncio.get_running_loop().call_later(self.longest_silence.total_seconds(), self._hang_up)
        try:
            return await super().wait(*arguments, **named)
        finally:
            watch.cancel()

    def _hang_up(self) -> None:
        if self.pgconn.transaction_status != TransactionStatus.ACTIVE:
            return  # it listens, and nobody owes it an answer
        with suppress(OSError), socket.socket(fileno=os.dup(self.pgconn.socket)) as wire:
            wire.shutdown(socket.SHUT_RDWR)


@asynccontextmanager
async def open_pool(
    url: str, *, size: int = 10, longest_silence: timedelta = LONGEST_SILENCE, version: int | None = None
) -> AsyncIterator[Pool]:
    """Connections for as long as the context lasts; a database that is away or restarts is survived.

    Args:
        version: number of the version that connects; this one without.
    """
    number = newest() if version is None else version

    async def configure(connection: Connection) -> None:
        """Set the session; by statement, since some poolers refuse start-up options."""
        await connection.set_autocommit(True)
        try:
            await connection.execute(SESSION + refuse_below_floor(number))
        except psycopg.Error as exc:
            pool.is_refused = exc.sqlstate == TOO_OLD
            raise
        pool.is_refused = False
        await connection.set_autocommit(False)

    pool = Pool(
        url,
        min_size=min(2, size),
        max_size=size,
        timeout=LONGEST_WAIT,
        connection_class=type("Watched", (Watched,), {"longest_silence": longest_silence}),
        kwargs={
            "connect_timeout": 3,
            "application_name": application_name(number),
            "prepare_threshold": 5,
            **KEEPALIVES,
        },
        configure=configure,
        check=_check,
        reconnect_timeout=RECONNECT_FOR,
        open=False,
        name=APPLICATION,
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


@asynccontextmanager
async def connected(pool: Pool) -> AsyncIterator[Connection]:
    """One connection and one transaction: committed at the end, rolled back on any exception.

    Raises:
        StoreUnavailable: the database cannot be reached, gave up, or went away meanwhile.
        StoreLimitExceeded: it will never take this.
    """
    with our_errors("the database cannot serve now", pool):
        async with pool.connection() as connection:
            try:
                yield connection
            except psycopg.errors.FeatureNotSupported:
                await connection.close()  # what it has prepared will not do any more
                raise


async def rows_of(
    connection: Connection,
    query: Any,  # str or SQL: psycopg's own union is not exported
    values: Sequence[object] | Mapping[str, object] = (),
) -> Sequence[DictRow]:
    """Rows of a statement that gives some."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query, values)
        return await cursor.fetchall()


@contextmanager
def our_errors(text: str, pool: Pool | None = None) -> Iterator[None]:
    """The database's errors as ours, `text` being what StoreUnavailable says first; a bug of ours stays as it is."""
    try:
        yield
    except psycopg.Error as exc:
        if (exc.sqlstate or "").startswith(BEYOND_LIMITS):
            raise StoreLimitExceeded from exc
        if _may_pass(exc):
            raise StoreUnavailable(f"{text}: {_known(pool, exc) or reason(exc)}") from exc
        raise


def _known(pool: Pool | None, error: psycopg.Error) -> str:
    """Why the pool had no connection to give, which it does not say itself."""
    if pool is None or not isinstance(error, PoolTimeout):
        return ""
    return cast("type[Watched]", pool.connection_class).why_none  # of `open_pool`


def _may_pass(error: psycopg.Error) -> bool:
    """Whether the same may succeed later; without a state, the server did not even answer."""
    if error.sqlstate is None:
        return isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
    return error.sqlstate.startswith(PASSING)
