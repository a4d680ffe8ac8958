"""Gauges over the database: what they count, what they cost, and that every metric is explained."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

import fundus_relay
from fundus_relay import metrics
from fundus_relay.adapters.database.census import _WAITING, UNFINISHED, count, look
from fundus_relay.adapters.database.ledger import PostgresLedger
from fundus_relay.adapters.database.pool import Pool, connected, open_pool
from fundus_relay.adapters.database.schema import Phase, migrations
from fundus_relay.domain.credits import Spent

DOCUMENT = Path(fundus_relay.__path__[0]).parent / "docs" / "observability.md"

IMAGES = """
    with visit as (
        insert into study (id, key, subject, context, state)
        values (gen_random_uuid(), %(key)s, '{}', '{}', 'collecting') returning id
    )
    insert into image (id, study_id, media_id, source, source_sha256, state, since, reason)
    select gen_random_uuid(), visit.id, '', '{}', %(key)s || n, %(state)s, now() - %(age)s * interval '1 s', %(reason)s
      from visit, generate_series(1, %(count)s) as n
"""


async def add(pool: Pool, state: str, number: int, *, age: float = 0, reason: str | None = None) -> None:
    async with connected(pool) as connection:
        values = {"key": f"{state}{reason}{age}", "state": state, "count": number, "age": age, "reason": reason}
        await connection.execute(IMAGES, values)


def value(name: str, **labels: str) -> float | None:
    return metrics.REGISTRY.get_sample_value(f"fundus_relay_{name}", labels)


async def test_a_census_counts_what_is_unfinished_by_state_age_and_reason(pool: Pool) -> None:
    await add(pool, "answered", 5, age=9999)
    await add(pool, "received", 2, age=10)
    await add(pool, "received", 1, age=500, reason="store-unavailable")
    await add(pool, "parked", 2, age=50, reason="analyser-declined: LC-ERR-0099")
    await add(pool, "parked", 1, age=60, reason="analyser-declined: LC-ERR-0098")
    async with connected(pool) as connection:
        await connection.execute("update account set remaining = 41, remaining_at = to_timestamp(1700000000)")

    await count(pool)

    assert value("rows", subject="image", state="received") == 3
    assert value("rows", subject="image", state="parked") == 3
    assert value("rows", subject="delivery", state="due") == 0
    assert value("rows", subject="image", state="answered") is None
    assert value("oldest_waiting_seconds", subject="image", state="received") == pytest.approx(500, abs=30)
    assert value("oldest_waiting_seconds", subject="image", state="sending") == 0
    assert value("waiting", subject="image", reason="store-unavailable") == 1
    assert value("parked", subject="image", reason="analyser-declined") == 3
    assert value("credits_remaining") == 41
    assert value("credits_timestamp_seconds") == 1700000000


async def test_what_was_meant_to_lie_hides_nothing_that_should_move(pool: Pool) -> None:
    await add(pool, "prepared", 1, age=9999, reason="analyser-credits-reserved")
    await add(pool, "prepared", 1, age=200)

    await count(pool)

    assert value("rows", subject="image", state="prepared") == 2
    assert value("oldest_waiting_seconds", subject="image", state="prepared") == pytest.approx(200, abs=30)


async def test_a_census_tells_what_was_spent_and_how_long_the_rest_lasts(pool: Pool, ledger: PostgresLedger) -> None:
    async with ledger.transaction() as tx:
        for _ in range(3):
            await tx.account.confirm_upload(20)
    async with connected(pool) as connection:
        await connection.execute(
            "insert into credits_spent select now() - ago * interval '1 day', 4 from unnest(array[2, 6, 30]) as ago"
        )

    await count(pool)
    told = await ledger.census()

    assert (value("credits_spent", window="1d"), value("credits_spent", window="7d")) == (3, 11)
    assert value("credits_exhausted_in_seconds") == pytest.approx(20 / 3 * 86400)
    assert told.credits_spent == Spent(3, 11)
    assert told.credits_last_for == timedelta(days=20 / 3)


async def test_since_the_analyser_said_so_there_are_none(pool: Pool, ledger: PostgresLedger) -> None:
    async with ledger.transaction() as tx:
        await tx.account.confirm_upload(20)
    async with connected(pool) as connection:
        await connection.execute("update account set remaining = 20, remaining_at = now() - interval '1 s'")
    async with ledger.transaction() as tx:
        await tx.account.note_exhausted()

    await count(pool)

    assert (value("credits_remaining"), value("credits_exhausted_in_seconds")) == (0, 0)
    assert (await ledger.census()).credits == 0


async def test_what_waits_no_more_is_gone_from_the_next_census(pool: Pool) -> None:
    await add(pool, "parked", 1, reason="picture-lost")
    await count(pool)
    async with connected(pool) as connection:
        await connection.execute("update image set state = 'answered', reason = null")

    await count(pool)

    assert value("parked", subject="image", reason="picture-lost") is None
    assert value("rows", subject="image", state="parked") == 0


async def test_a_census_reads_no_history(pool: Pool) -> None:
    await add(pool, "answered", 20_000)
    await add(pool, "received", 20)
    async with connected(pool) as connection:
        await connection.execute("analyze image")
        plan = await (await connection.execute(f"explain (analyze, costs off) {_WAITING}".encode())).fetchall()

    told = "\n".join(row[0] for row in plan)
    assert "Seq Scan on image" not in told, told


async def test_every_state_that_the_query_knows_is_shown_and_none_else() -> None:
    assert set(re.findall(r"'([a-z]+)'", _WAITING)) == {
        *UNFINISHED,
        *(str(state) for states in UNFINISHED.values() for state in states),
    }


async def test_every_metric_is_explained_and_nothing_else_is(pool: Pool) -> None:
    async with connected(pool) as connection:
        await connection.execute("update account set remaining = 1, remaining_at = now()")
        await connection.execute("insert into credits_spent values (now(), 1)")
    await count(pool)

    there = {each.name for each in metrics.REGISTRY.collect() if each.name.startswith("fundus_relay_")}

    assert set(re.findall(r"^\| `(fundus_relay_\w+)`", DOCUMENT.read_text(), re.MULTILINE)) == there


async def test_a_database_that_is_migrated_is_told_from_one_that_is_not_and_one_that_is_away(pool: Pool) -> None:
    assert await look(pool) == ""

    newest = [each.name for each in migrations() if each.phase is Phase.PRE][-1]
    async with connected(pool) as connection:
        await connection.execute("delete from migration where name = %s", [newest])
    assert newest in await look(pool)

    async with open_pool("postgresql://nobody@127.0.0.1:1/none") as away:
        assert await look(away) == "the database does not answer"
