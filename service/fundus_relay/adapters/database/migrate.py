"""Bring a database to the tables that this version needs: forward only, once each, one process at a time.

A file `NNNN_pre_name.sql` suits the code before it too and runs before the new code; `NNNN_post_name.sql` runs when no
old code is left. The engine's tables live in a schema of their own and come from the engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources

import psycopg

from .pool import KEEPALIVES, SERVER_KEEPALIVES, Connection, our_errors

TURN = 0x46756E6475735265
"""Key of the advisory lock."""

_SESSION = f"""
    set lock_timeout = '30s';
    set idle_session_timeout = '30s';
    set idle_in_transaction_session_timeout = '30s';
    {SERVER_KEEPALIVES}
"""
"""So that one who vanished in the middle keeps nobody from starting."""

_GROUND = """
    create schema if not exists relay;
    create schema if not exists engine;
    create table if not exists relay.migration (
        name text        primary key,
        at   timestamptz not null default now()
    );
"""


class Phase(StrEnum):
    """When a migration may run."""

    PRE = "pre"
    POST = "post"


@dataclass(frozen=True, slots=True)
class EngineSchema:
    """The engine's tables.

    Attributes:
        whole: SQL that makes all of them in an empty schema.
        steps: name → SQL that brings an older one forward, in order.
    """

    whole: str
    steps: Mapping[str, str]


async def migrate(
    url: str, engine: EngineSchema, *, phases: Sequence[Phase] = (Phase.PRE, Phase.POST)
) -> Sequence[str]:
    """Apply what is missing; returns the names of what was applied. Doing it twice, or at once, is doing it once.

    Raises: StoreUnavailable.
    """
    with our_errors("the database cannot be migrated now"):
        async with await psycopg.AsyncConnection.connect(
            url, autocommit=True, connect_timeout=5, **KEEPALIVES
        ) as connection:
            await connection.execute(_SESSION)
            await connection.execute("select pg_advisory_lock(%s)", [TURN])
            await connection.execute(_GROUND)
            return [
                *await _migrate_engine(connection, engine),
                *[name for phase, name, sql in _ours() if phase in phases and await _apply(connection, name, sql)],
            ]


async def missing(connection: Connection) -> str:
    """Name of the first migration that this version cannot work without and that was not applied, or nothing."""
    found = await (await connection.execute("select name from relay.migration")).fetchall()
    applied = {row[0] for row in found}
    return next((name for phase, name, _ in _ours() if phase is Phase.PRE and name not in applied), "")


@cache
def _ours() -> Sequence[tuple[Phase, str, str]]:
    """Phase, name and SQL, in order."""
    folder = resources.files(__package__) / "migrations"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return [(Phase(file.name.split("_")[1]), file.name, file.read_text(encoding="utf-8")) for file in files]


async def _migrate_engine(connection: Connection, engine: EngineSchema) -> Sequence[str]:
    if await _is_applied(connection, "engine"):
        return [name for name, sql in engine.steps.items() if await _apply(connection, f"engine {name}", sql, "engine")]
    async with connection.transaction():
        await _apply(connection, "engine", engine.whole, "engine")
        for name in engine.steps:  # all of them are in the whole
            await connection.execute("insert into relay.migration (name) values (%s)", [f"engine {name}"])
    return ["engine"]


async def _is_applied(connection: Connection, name: str) -> bool:
    found = await connection.execute("select 1 from relay.migration where name = %s", [name])
    return await found.fetchone() is not None


async def _apply(connection: Connection, name: str, sql: str, schema: str = "relay") -> bool:
    """Run it in `schema` and record it, in one commit; False when it was applied before."""
    if await _is_applied(connection, name):
        return False
    async with connection.transaction():
        await connection.execute("select set_config('search_path', %s, true)", [schema])
        await connection.execute(sql.encode())
        await connection.execute("insert into relay.migration (name) values (%s)", [name])
    return True
