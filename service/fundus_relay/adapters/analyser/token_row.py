"""The analyser's token in a row of the database: one for all processes, asked for by one of them at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from fundus_relay.adapters.database.pool import Connection, Pool, connected

from .tokens import Held, Turn

TURN = 0x46756E647573546B
"""Key of the advisory lock; not the row's own lock, for uploads are counted in that row meanwhile."""

PATIENTLY = """
    set local lock_timeout = '30s';
    set local idle_in_transaction_session_timeout = '120s';
"""


class TokenRow:
    """See `TokenStore`; the row `analyser` of table `account`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def look(self) -> Held:
        async with connected(self._pool) as connection:
            return await _read(connection)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Turn]:
        async with connected(self._pool) as connection:
            await connection.execute(PATIENTLY, prepare=False)  # several statements cannot be prepared
            await connection.execute("select pg_advisory_xact_lock(%s)", [TURN])
            yield _RowTurn(connection, await _read(connection))


class _RowTurn:
    def __init__(self, connection: Connection, held: Held) -> None:
        self._connection = connection
        self.held = held

    async def keep(self, held: Held, remaining: int | None, at: datetime) -> None:
        await self._connection.execute(
            "update account set token = %(token)s, token_valid_until = %(use_until)s,"
            " remaining = coalesce(%(told)s::int, remaining),"
            " remaining_at = case when %(told)s::int is null then remaining_at else %(at)s end"
            " where name = 'analyser'",
            {"token": held.token, "use_until": held.use_until, "told": remaining, "at": at},
        )


async def _read(connection: Connection) -> Held:
    rows = await connection.execute("select token, token_valid_until from account where name = 'analyser'")
    row = await rows.fetchone()
    assert row is not None  # noqa: S101 - a migration made the row
    return Held(row[0], row[1])
