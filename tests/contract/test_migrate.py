"""Migrations of two phases on a real server: what runs when, who is shut out, and who keeps whom waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest
from tests.conftest import an_empty_database

from fundus_relay.adapters.database.census import TOO_OLD, look
from fundus_relay.adapters.database.migrate import (
    CannotMigrate,
    EngineSchema,
    OlderVersionsRun,
    VersionTooOld,
    migrate,
    pending,
)
from fundus_relay.adapters.database.pool import Pool, connected, open_pool
from fundus_relay.adapters.database.schema import Migration, Phase, migrations, newest
from fundus_relay.domain.errors import StoreUnavailable
from fundus_relay.worker.schema import engine_schema

BOTH = (Phase.PRE, Phase.POST)
PRE = Migration("9001_pre_note.sql", "alter table image add column note text;")
POST = Migration("9002_post_note.sql", "alter table image alter column note set default '';")
INDEX = Migration(
    "9003_pre_index.sql",
    "drop index concurrently if exists image_by_note; create index concurrently image_by_note on image (note);",
)
NEXT = [*migrations(), PRE, POST]
"""The migrations of a version that is still to come."""

SLEEPING = "select 1 from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()"
WAITING = "select 1 from pg_locks where relation = 'image'::regclass and not granted"

SHAPE = """
    select table_schema, table_name, column_name, data_type, is_nullable, column_default
      from information_schema.columns where table_schema in ('relay', 'engine')
    union all
    select schemaname, tablename, indexname, indexdef, '', '' from pg_indexes
     where schemaname in ('relay', 'engine')
    union all
    select nspname, proname, pg_get_function_identity_arguments(p.oid), md5(prosrc), '', ''
      from pg_proc as p join pg_namespace as n on n.oid = pronamespace where nspname in ('relay', 'engine')
    union all
    select n.nspname, c.relname, conname, pg_get_constraintdef(k.oid), '', '' from pg_constraint as k
      join pg_class as c on c.oid = conrelid join pg_namespace as n on n.oid = k.connamespace
     where n.nspname in ('relay', 'engine')
    union all
    select n.nspname, c.relname, tgname, pg_get_triggerdef(t.oid), '', '' from pg_trigger as t
      join pg_class as c on c.oid = tgrelid join pg_namespace as n on n.oid = relnamespace
     where n.nspname in ('relay', 'engine') and not tgisinternal
    union all
    select n.nspname, typname, '', string_agg(enumlabel, ',' order by enumlabel), '', '' from pg_enum
      join pg_type as t on t.oid = enumtypid join pg_namespace as n on n.oid = typnamespace
     where n.nspname in ('relay', 'engine') group by 1, 2
"""
"""Everything that is in our two schemas, but for the order of a table's columns."""


@pytest.fixture
async def empty_url(postgres_url: str) -> AsyncIterator[str]:
    async with an_empty_database(postgres_url) as url:
        yield url


async def rows(url: str, query: str) -> list[tuple[object, ...]]:
    async with await psycopg.AsyncConnection.connect(url, options="-c search_path=relay,engine") as connection:
        return await (await connection.execute(query.encode())).fetchall()


async def use(pool: Pool, *, times: int = 1) -> None:
    for _ in range(times):  # from the fifth on psycopg prepares it
        async with connected(pool) as connection:
            await connection.execute("select * from image")


async def shape(url: str) -> set[tuple[object, ...]]:
    return set(await rows(url, SHAPE))


async def test_what_is_only_for_later_is_not_done_by_itself(database_url: str) -> None:
    async with open_pool(database_url, size=1) as older, connected(older):
        assert await migrate(database_url, engine_schema(), ours=NEXT) == [PRE.name]
        assert await migrate(database_url, engine_schema(), ours=NEXT) == []
    assert await pending(database_url, engine_schema(), ours=NEXT) == [(Phase.POST, POST.name)]


async def test_a_new_database_gets_everything_and_looking_at_one_changes_nothing(empty_url: str) -> None:
    left = await pending(empty_url, engine_schema(), ours=NEXT)

    assert [name for _, name in left if not name.startswith("engine")] == [each.name for each in NEXT]
    assert await rows(empty_url, "select nspname from pg_namespace where nspname in ('relay', 'engine')") == []
    assert await migrate(empty_url, engine_schema(), ours=NEXT) == ["engine", *(each.name for each in NEXT)]
    assert await pending(empty_url, engine_schema(), ours=NEXT) == []


async def test_the_second_phase_waits_until_no_older_version_is_connected(database_url: str) -> None:
    await migrate(database_url, engine_schema(), ours=NEXT)
    for version in (newest(), 0):
        async with open_pool(database_url, size=1, version=version) as older:
            async with connected(older):
                with pytest.raises(OlderVersionsRun, match=f"fundus-relay {version:04d}"):
                    await migrate(database_url, engine_schema(), ours=NEXT, phases=[Phase.POST])
            assert await look(older) == ""  # and is let alone after the refusal
    async with open_pool(database_url, size=1, version=newest(NEXT)) as same, connected(same):
        assert await migrate(database_url, engine_schema(), ours=NEXT, phases=[Phase.POST]) == [POST.name]


async def test_a_second_phase_that_died_before_it_looked_shuts_nobody_out_once_another_is_refused(
    database_url: str,
) -> None:
    await migrate(database_url, engine_schema(), ours=NEXT)
    async with open_pool(database_url, size=1) as older, connected(older):
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as died:
            await died.execute("insert into relay.floor (number) values (%s)", [newest(NEXT)])

        with pytest.raises(OlderVersionsRun):
            await migrate(database_url, engine_schema(), ours=NEXT, phases=[Phase.POST])

        assert await rows(database_url, "select number from relay.floor") == []


async def test_versions_from_before_connections_told_theirs_are_older_than_any(database_url: str) -> None:
    await migrate(database_url, engine_schema(), ours=NEXT)

    async with await psycopg.AsyncConnection.connect(database_url, application_name="fundus-relay"):
        with pytest.raises(OlderVersionsRun):
            await migrate(database_url, engine_schema(), ours=NEXT, phases=BOTH)
    async with await psycopg.AsyncConnection.connect(database_url, application_name="psql"):
        assert await migrate(database_url, engine_schema(), ours=NEXT, phases=BOTH) == [POST.name]


async def test_the_second_phase_comes_after_the_first(database_url: str) -> None:
    with pytest.raises(CannotMigrate, match=PRE.name):
        await migrate(database_url, engine_schema(), ours=NEXT, phases=[Phase.POST])


async def test_an_older_version_is_shut_out_for_good_and_told_why(database_url: str) -> None:
    await migrate(database_url, engine_schema(), ours=NEXT, phases=BOTH)

    with pytest.raises(VersionTooOld, match="is too old"):
        await migrate(database_url, engine_schema())
    with pytest.raises(VersionTooOld, match="is too old"):
        await pending(database_url, engine_schema())
    async with open_pool(database_url, size=1) as cut_off:  # that was not connected when we looked, say
        assert await look(cut_off) == TOO_OLD
    async with open_pool(database_url, size=1, version=newest(NEXT)) as newer:
        assert await look(newer) == ""


async def test_the_first_phase_alone_lets_the_older_version_come_back(database_url: str) -> None:
    await migrate(database_url, engine_schema(), ours=NEXT)

    assert await migrate(database_url, engine_schema()) == []
    async with open_pool(database_url, size=1) as older:
        assert await look(older) == ""


async def test_eight_that_finish_at_once_do_it_once(database_url: str) -> None:
    applied = await asyncio.gather(*(migrate(database_url, engine_schema(), ours=NEXT, phases=BOTH) for _ in range(8)))

    assert sorted(len(names) for names in applied) == [0] * 7 + [2]


async def test_an_index_is_made_in_no_transaction_and_again_after_one_that_failed(database_url: str) -> None:
    await migrate(database_url, engine_schema(), ours=[*migrations(), PRE])
    made = "select indisvalid from pg_index where indexrelid = 'image_by_note'::regclass"
    async with await psycopg.AsyncConnection.connect(database_url, options="-c search_path=relay") as connection:
        await connection.execute("create index image_by_note on image (note)")
        await connection.execute("update pg_index set indisvalid = false where indexrelid = 'image_by_note'::regclass")
    assert await rows(database_url, made) == [(False,)]

    ours = [*migrations(), PRE, INDEX]
    applied = await asyncio.gather(*(migrate(database_url, engine_schema(), ours=ours) for _ in range(4)))

    assert sorted(len(names) for names in applied) == [0, 0, 0, 1]
    assert await rows(database_url, made) == [(True,)]


async def test_connections_that_prepared_for_the_tables_before_are_replaced_unseen(database_url: str) -> None:
    async with open_pool(database_url, size=3) as pool:
        await use(pool, times=6)
        with pytest.raises(StoreUnavailable):
            async with connected(pool) as at_work:
                working = asyncio.create_task(at_work.execute("select pg_sleep(1)"))
                async with asyncio.timeout(20):
                    while not await rows(database_url, SLEEPING):  # noqa: ASYNC110 - as below
                        await asyncio.sleep(0.05)
                assert await migrate(database_url, engine_schema(), ours=NEXT) == [PRE.name]
                await working  # who was in the middle of a statement may end it
                await at_work.execute("select 1")
        await use(pool, times=6)


async def test_a_connection_that_prepared_for_the_tables_before_is_closed(database_url: str) -> None:
    async with open_pool(database_url, size=1) as pool:
        await use(pool, times=6)
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as somebody:
            await somebody.execute("alter table relay.image add column word text")
        with pytest.raises(StoreUnavailable):
            await use(pool)
        await use(pool, times=6)


@pytest.mark.slow  # five seconds are what it waits
async def test_a_migration_that_waits_for_a_table_gives_up_before_those_who_wait_behind_it(database_url: str) -> None:
    async with open_pool(database_url, size=2) as pool, connected(pool) as reader:
        await reader.execute("select 1 from image")
        migrating = asyncio.create_task(migrate(database_url, engine_schema(), ours=NEXT))
        async with asyncio.timeout(20):
            while not await rows(database_url, WAITING):  # noqa: ASYNC110 - it is the server that we wait for
                await asyncio.sleep(0.05)
            async with connected(pool) as behind:
                await behind.execute("select 1 from image")
            with pytest.raises(StoreUnavailable):
                await migrating

    assert await migrate(database_url, engine_schema(), ours=NEXT) == [PRE.name]


async def test_the_phases_one_after_the_other_come_to_the_tables_of_a_new_database(
    database_url: str, empty_url: str
) -> None:
    ours = migrations()
    first = [each for each in ours if each.number == 1]
    await migrate(empty_url, engine_schema(), ours=first)

    await migrate(empty_url, engine_schema(), ours=ours, phases=BOTH)

    assert await shape(empty_url) == await shape(database_url)


async def an_older_engine(url: str, up_to: str) -> EngineSchema:
    """A database with the engine's tables as they were, made by its own steps; and that engine."""
    steps = engine_schema().steps
    older = {name: sql for name, sql in steps.items() if name[: len(up_to)] <= up_to}
    assert 0 < len(older) < len(steps)
    first, *others = older
    await migrate(url, EngineSchema(older[first], {first: older[first]}))
    async with await psycopg.AsyncConnection.connect(
        url, autocommit=True, options="-c search_path=engine"
    ) as connection:
        for name in others:
            await connection.execute(older[name].encode())
            await connection.execute("insert into relay.migration (name) values (%s)", [f"engine {name}"])
    return EngineSchema("", older)


@pytest.mark.parametrize("since", ["00.00.00_01", "02.06.00_01", "03.00.00_50", "03.04.00_01"])
async def test_an_engine_of_an_older_version_comes_to_the_tables_of_the_new_one(
    database_url: str, empty_url: str, since: str
) -> None:
    older, whole = await an_older_engine(empty_url, since), engine_schema()

    applied = await migrate(empty_url, whole, phases=BOTH)

    assert set(applied) == {f"engine {name}" for name in whole.steps.keys() - older.steps.keys()}
    assert await shape(empty_url) == await shape(database_url)


async def test_an_engine_whose_last_steps_are_for_later_leaves_them(empty_url: str) -> None:
    whole = engine_schema()
    await an_older_engine(empty_url, "03.03")

    applied = await migrate(empty_url, whole)

    assert applied == ["engine 03.04.00_01_pre_add_retry_failed_job_procedure.sql"]
    async with open_pool(empty_url, size=1, version=newest() - 1) as older, connected(older):
        with pytest.raises(OlderVersionsRun):
            await migrate(empty_url, whole, phases=[Phase.POST])


def test_an_engine_with_new_steps_comes_with_a_new_number() -> None:
    """Versions are told apart by our numbers alone: new steps need a file of ours, for which a comment will do."""
    newest_step, came_with = "03.04.00_50_post_add_retry_failed_job_procedure.sql", 1

    assert max(engine_schema().steps) == newest_step
    assert came_with in {each.number for each in migrations()}
