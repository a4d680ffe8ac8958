"""The analyser's token in a row of the database: one for all processes, fetched by one of them at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from fundus_relay.adapters.database.pool import Connection, Pool, connected

TURN = 0x46756E647573546B
"""Key of the advisory lock."""

_PATIENTLY = "set local lock_timeout = '100s'; set local idle_in_transaction_session_timeout = '120s'"


@dataclass(frozen=True, slots=True)
class Held:
    """The token as it stands in the row; `repr` does not show it."""

    token: str | None
    valid_until: datetime | None

    def __repr__(self) -> str:
        return f"Held(valid_until={self.valid_until!r})"


class Turn(Protocol):
    """Exclusive access to the row."""

    held: Held

    async def keep(self, token: str, valid_until: datetime, remaining: int | None, at: datetime) -> None:
        """Put a new token there, with the credits that came with it."""
        ...


class TokenStore(Protocol):
    """Where the token lies."""

    async def look(self) -> Held:
        """The token as it is now; waits for nobody."""
        ...

    def turn(self) -> AbstractTurn:
        """Exclusive access; waits until nobody else has it."""
        ...


class AbstractTurn(Protocol):
    async def __aenter__(self) -> Turn: ...

    async def __aexit__(self, *_: object) -> bool | None: ...


class TokenRow:
    """See `TokenStore`; the row `analyser` of table `account`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def look(self) -> Held:
        async with connected(self._pool) as connection:
            return await _read(connection)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[_RowTurn]:
        async with connected(self._pool) as connection:
            await connection.execute(_PATIENTLY)
            await connection.execute("select pg_advisory_xact_lock(%s)", [TURN])  # not the row: uploads count there
            yield _RowTurn(connection, await _read(connection))


class _RowTurn:
    def __init__(self, connection: Connection, held: Held) -> None:
        self._connection = connection
        self.held = held

    async def keep(self, token: str, valid_until: datetime, remaining: int | None, at: datetime) -> None:
        await self._connection.execute(
            "update account set token = %s, token_valid_until = %s, remaining = coalesce(%s, remaining),"
            " remaining_at = %s where name = 'analyser'",
            [token, valid_until, remaining, at],
        )


async def _read(connection: Connection) -> Held:
    rows = await connection.execute("select token, token_valid_until from account where name = 'analyser'")
    row = await rows.fetchone()
    assert row is not None  # noqa: S101 - a migration made the row
    return Held(row[0], row[1])
