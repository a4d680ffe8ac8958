"""Bring a database to the tables that this version needs: forward only, once each, one process at a time.

How this works. In phase `pre` everything runs that older code can live with, so it may be at work meanwhile; phase
`post` refuses while older code is connected, and shuts it out for good (see `schema`). A database that is new gets
everything. The engine's tables live in a schema of their own and come from the engine, which marks its steps likewise.

A file with an index that is made `concurrently` runs statement by statement, since PostgreSQL does that in no
transaction; it has to be one that may be run again. Nobody waits in a statement for the turn, because such an index
waits for everybody's statements.

A statement that was prepared as `select *` fails once its table has another column, on its connection for ever. So the
connections from before are closed together with the change: those that rest without anybody's noticing (the pool looks
at a connection before it gives it), and those that wait for the changed table with an error that is tried again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg

from fundus_relay.domain.errors import StoreUnavailable

from .pool import KEEPALIVES, SERVER_KEEPALIVES, Connection, our_errors
from .schema import APPLICATION, Migration, Phase, migrations, newest, number_of

TURN = 0x46756E6475735265
"""Key of the advisory lock."""

TURN_WITHIN_S = 30.0
LOOKS_EVERY_S = 0.2

_SESSION = f"""
    set lock_timeout = '5s';
    set idle_session_timeout = '30s';
    set idle_in_transaction_session_timeout = '30s';
    {SERVER_KEEPALIVES}
"""
"""So that one who vanished in the middle keeps nobody from starting. Whoever waits for a table's lock holds up all who
come after, so that is given up before their statements are (`pool.SESSION`), and tried again."""

_GROUND = """
    create schema if not exists relay;
    create schema if not exists engine;
    create table if not exists relay.migration (
        name text        primary key,
        at   timestamptz not null default now()
    );
    create table if not exists relay.floor (
        number integer     primary key,
        at     timestamptz not null default now()
    );
"""

_CONNECTED = """
    select application_name, coalesce(host(client_addr), 'this machine'), pid from pg_stat_activity
     where datname = current_database() and pid <> pg_backend_pid() and starts_with(application_name, %s)
"""
"""Names are shown to every role, other than what a session does. Source: PostgreSQL 16, pg_stat_get_activity."""

_HANG_UP = """
    select count(*) filter (where is_at_work), count(pg_terminate_backend(pid)) filter (where not is_at_work) from (
        select pid, state = 'active' and wait_event_type is distinct from 'Lock' and not %(all)s as is_at_work
          from pg_stat_activity
         where datname = current_database() and pid <> pg_backend_pid() and starts_with(application_name, %(name)s)
           and backend_start < %(before)s and pg_has_role(usesysid, 'member')
    ) as connected
"""
"""Of those whom this role may end. Who is in the middle of a statement may end it."""

LET_END_FOR_S = 5.0

ENGINE = "engine"


class CannotMigrate(Exception):
    """This version, or this phase, is not for this database as it is now; the text says why."""


class VersionTooOld(CannotMigrate):
    """The database is for newer versions only."""


class OlderVersionsRun(CannotMigrate):
    """Somebody is connected who cannot live with what is to be done."""


@dataclass(frozen=True, slots=True)
class EngineSchema:
    """The engine's tables.

    Attributes:
        whole: SQL that makes all of them in an empty schema.
        steps: name → SQL that brings an older one forward, in order; `_post_` in a name is our phase.
    """

    whole: str
    steps: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Step:
    """What runs once: a migration of ours, or a step of the engine's. `needs` is the version that it is for."""

    name: str
    sql: str
    phase: Phase
    needs: int
    schema: str


async def migrate(
    url: str,
    engine: EngineSchema,
    *,
    phases: Sequence[Phase] = (Phase.PRE,),
    ours: Sequence[Migration] | None = None,
) -> Sequence[str]:
    """Apply what is missing; returns the names of what was applied. Doing it twice, or at once, is doing it once.

    Args:
        phases: of a database that has tables; a new one gets all.
        ours: of the version that migrates; this one without.

    Raises:
        StoreUnavailable.
        VersionTooOld: nothing was done.
        OlderVersionsRun: nothing was done of phase `post`.
        CannotMigrate: `post` was asked for before `pre` was done.
    """
    ours = migrations() if ours is None else ours
    with our_errors("the database cannot be used now"):
        async with await psycopg.AsyncConnection.connect(
            url, autocommit=True, connect_timeout=5, **KEEPALIVES
        ) as connection:
            await connection.execute(_SESSION)
            await _take_turn(connection)
            await connection.execute(_GROUND)
            await _refuse_if_too_old(connection, newest(ours))
            if not await _applied(connection):
                return await _found(connection, engine, ours)
            left = await _left(connection, engine, ours)
            done: list[str] = []
            if Phase.PRE in phases:
                done += await _apply(connection, [step for step in left if step.phase is Phase.PRE])
                left = [step for step in left if step.phase is Phase.POST]
            if Phase.POST in phases and left:
                done += await _finish(connection, left)
            return done


async def pending(
    url: str, engine: EngineSchema, *, ours: Sequence[Migration] | None = None
) -> Sequence[tuple[Phase, str]]:
    """Phase and name of what is not applied yet; changes nothing. Raises StoreUnavailable, VersionTooOld."""
    ours = migrations() if ours is None else ours
    with our_errors("the database cannot be used now"):
        async with await psycopg.AsyncConnection.connect(url, connect_timeout=5, **KEEPALIVES) as connection:
            if await _is_there(connection, "relay.floor"):
                await _refuse_if_too_old(connection, newest(ours))
            left = await _left(connection, engine, ours)
            return [(step.phase, step.name) for step in left]


async def missing(connection: Connection) -> str:
    """Name of the first migration that this version cannot work without and that was not applied, or nothing."""
    applied = await _applied(connection)
    return next((each.name for each in migrations() if each.phase is Phase.PRE and each.name not in applied), "")


async def _take_turn(connection: Connection) -> None:
    until = time.monotonic() + TURN_WITHIN_S
    while True:
        row = await (await connection.execute("select pg_try_advisory_lock(%s)", [TURN])).fetchone()
        if row is not None and row[0]:
            return
        if time.monotonic() > until:
            raise StoreUnavailable("another process has been migrating the database for long")
        await asyncio.sleep(LOOKS_EVERY_S)


async def _refuse_if_too_old(connection: Connection, number: int) -> None:
    row = await (await connection.execute("select coalesce(max(number), 0) from relay.floor")).fetchone()
    if row is not None and row[0] > number:
        raise VersionTooOld(
            f"this version ({number:04d}) is too old for the database, which has been migrated for versions from"
            f" {row[0]:04d} on: run a newer one"
        )


async def _found(connection: Connection, engine: EngineSchema, ours: Sequence[Migration]) -> Sequence[str]:
    """Everything, in a database that is new."""
    async with connection.transaction():
        await _run(connection, _Step(ENGINE, engine.whole, Phase.PRE, 0, ENGINE))
        for name in engine.steps:  # all of them are in the whole
            await connection.execute("insert into relay.migration (name) values (%s)", [f"{ENGINE} {name}"])
        for each in ours:
            await _run(connection, _step(each), as_one=True)
        await _raise_floor(connection, max((each.number for each in ours if each.phase is Phase.POST), default=0))
    return [ENGINE, *(each.name for each in ours)]


async def _left(connection: Connection, engine: EngineSchema, ours: Sequence[Migration]) -> Sequence[_Step]:
    """What was not applied, in order: the engine's first."""
    applied = await _applied(connection)
    steps = [
        _Step(f"{ENGINE} {name}", sql, Phase.POST if "_post_" in name else Phase.PRE, newest(ours), ENGINE)
        for name, sql in engine.steps.items()
    ]
    return [step for step in [*steps, *(_step(each) for each in ours)] if step.name not in applied]


def _step(migration: Migration) -> _Step:
    return _Step(migration.name, migration.sql, migration.phase, migration.number, "relay")


async def _finish(connection: Connection, left: Sequence[_Step]) -> Sequence[str]:
    """Phase `post`: shut older versions out, see that none is in, and apply."""
    if before := [step.name for step in left if step.phase is Phase.PRE]:
        raise CannotMigrate(f"{before[0]} comes first: it is of phase pre")
    needs = max(step.needs for step in left)
    await _raise_floor(connection, needs)
    if older := await _older(connection, needs):
        # also one of somebody who died before looking: had a step been done below it, nobody older could be connected
        await connection.execute("delete from relay.floor where number = %s", [needs])
        raise OlderVersionsRun(f"older versions are connected: {'; '.join(older)}. Stop them first")
    return await _apply(connection, left)


async def _raise_floor(connection: Connection, number: int) -> None:
    """Let no version below this number open a connection."""
    if number:
        await connection.execute("insert into relay.floor (number) values (%s) on conflict do nothing", [number])


async def _older(connection: Connection, number: int) -> Sequence[str]:
    """Who is connected with a version below this number."""
    found = await connection.execute(_CONNECTED, [APPLICATION])
    return [
        f"{name!r} from {address}, process {pid} of the server"
        for name, address, pid in await found.fetchall()
        if number_of(name) < number
    ]


async def _applied(connection: Connection) -> set[str]:
    if not await _is_there(connection, "relay.migration"):
        return set()
    return {row[0] for row in await (await connection.execute("select name from relay.migration")).fetchall()}


async def _is_there(connection: Connection, table: str) -> bool:
    row = await (await connection.execute("select to_regclass(%s)", [table])).fetchone()
    return row is not None and row[0] is not None


async def _apply(connection: Connection, steps: Sequence[_Step]) -> Sequence[str]:
    for step in steps:
        await _run(connection, step)
    return [step.name for step in steps]


async def _run(connection: Connection, step: _Step, *, as_one: bool = False) -> None:
    """Run it in its schema and record it, in one commit.

    Args:
        as_one: in the transaction that there is; nobody uses the tables, so that an index may keep them locked.
    """
    if is_concurrent(step.sql) and not as_one:
        await connection.execute("select set_config('search_path', %s, false)", [step.schema])
        for statement in statements(step.sql):
            await connection.execute(statement.encode())
        await connection.execute("reset search_path")
        await connection.execute("insert into relay.migration (name) values (%s)", [step.name])
        return
    sql = step.sql.replace(" concurrently", "") if as_one else step.sql
    async with connection.transaction():
        await connection.execute("select set_config('search_path', %s, true)", [step.schema])
        await connection.execute(sql.encode())
        await connection.execute("insert into relay.migration (name) values (%s)", [step.name])
        if is_changing := "alter table" in sql.lower() and not as_one:
            await _hang_up(connection)
    if is_changing:
        await _hang_up_on_all(connection)


async def _hang_up_on_all(connection: Connection) -> None:
    """End every connection of ours that was there when a table changed."""
    row = await (await connection.execute("select clock_timestamp()")).fetchone()
    assert row is not None  # noqa: S101 - a row was asked for
    until = time.monotonic() + LET_END_FOR_S
    while await _hang_up(connection, before=row[0], all=time.monotonic() > until):  # noqa: ASYNC110 - others end
        await asyncio.sleep(LOOKS_EVERY_S)


async def _hang_up(connection: Connection, *, before: datetime | None = None, all: bool = False) -> int:
    """End those that are not at work, or all; how many are left."""
    values = {"name": APPLICATION, "before": before or datetime.max.replace(tzinfo=UTC), "all": all}
    row = await (await connection.execute(_HANG_UP, values)).fetchone()
    return int(row[0]) if row else 0


def is_concurrent(sql: str) -> bool:
    """Whether PostgreSQL would run it in no transaction."""
    return any(" concurrently " in statement for statement in statements(sql))


def statements(sql: str) -> Sequence[str]:
    """Each statement in one line, without comments; its texts must hold neither `;` nor `--`."""
    lines = (line.partition("--")[0] for line in sql.splitlines())
    return [" ".join(each.split()) for each in " ".join(lines).split(";") if each.strip()]
