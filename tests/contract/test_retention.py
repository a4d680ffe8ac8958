"""Whatever the history: what has ended, is old enough and is not held goes; of everything else not a row is touched."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

import pytest

from fundus_relay.adapters.clock import SystemClock
from fundus_relay.adapters.database.pool import Connection, Pool, connected
from fundus_relay.adapters.database.retained import place
from fundus_relay.adapters.database.retention import PostgresRetention, old_of
from fundus_relay.domain.policy import Kept
from fundus_relay.domain.states import AcquisitionState, DeliveryState, ImageState

CLASSES = (Kept.SOURCE, Kept.PREPARED, Kept.PAGES, Kept.LEDGER)
ENDED = frozenset({"answered", "rejected", "cancelled", "confirmed", "superseded", "complete"})
AGES = (0, 29, 31, 99, 101, 400, 500)
TABLES = ("study", "image", "submission", "delivery", "acquisition", "study_look", "legal_hold")
AGO = "now() - make_interval(days => %s)"
SEED = 8


@dataclass(frozen=True, slots=True)
class History:
    """A study: state and age in days of each of its rows, and what else speaks for keeping it."""

    opened: int
    accepted: int
    images: Sequence[tuple[str, int]]
    deliveries: Sequence[tuple[str, int]]
    acquisitions: Sequence[tuple[str, int]]
    sent_again: int | None
    is_held: bool
    was_held: bool
    has_look: bool
    has_job: bool

    def may_go(self, limit: int) -> bool:
        rows = [*self.images, *self.deliveries, *self.acquisitions]
        ages = [self.opened, self.accepted, *(age for _, age in rows)]
        ages += [self.sent_again] if self.sent_again is not None and self.images else []
        is_finished = all(state in ENDED for state, _ in rows) and not (self.has_look or self.has_job)
        return is_finished and not self.is_held and min(ages) >= limit


def a_history(chance: random.Random) -> History:
    """Mostly of what is old and has ended, with one thing or another that speaks against purging."""

    def age() -> int:
        return chance.choice(AGES[chance.choice((0, 3, 5)) :])

    def rows(states: type[ImageState] | type[DeliveryState] | type[AcquisitionState]) -> list[tuple[str, int]]:
        every = [str(each) for each in states]
        ended = [state for state in every if state in ENDED]
        return [(chance.choice(ended * 6 + every), age()) for _ in range(chance.randrange(3))]

    def seldom() -> bool:
        return chance.random() < 0.1

    return History(
        opened=age(),
        accepted=age(),
        images=rows(ImageState),
        deliveries=rows(DeliveryState),
        acquisitions=rows(AcquisitionState),
        sent_again=age() if seldom() else None,
        is_held=seldom(),
        was_held=seldom(),
        has_look=seldom(),
        has_job=seldom(),
    )


async def write(history: History, connection: Connection) -> str:
    study = str(uuid4())

    async def put(statement: str, *values: object) -> None:
        await connection.execute(statement.replace("AGO", AGO).encode(), values)

    await put(
        "insert into study (id, key, subject, context, state, opened_at) values (%s, %s, '{}', '{}', 'reported', AGO)",
        *(study, study, history.opened),
    )
    for state, age in history.images:
        await put(
            "insert into image (id, study_id, media_id, source, source_sha256, prepared, state, since)"
            " values (gen_random_uuid(), %s, 'm', '{}', %s, %s, %s, AGO)",
            *(study, uuid4().hex * 2, json.dumps({"sha256": uuid4().hex * 2}), state, age),
        )
    for revision, (state, age) in enumerate(history.deliveries):
        await put(
            "insert into delivery (id, study_id, revision, destination, state, resources, report_id, since)"
            " values (gen_random_uuid(), %s, %s, 'ehr', %s, '[]', 'r', AGO)",
            *(study, revision, state, age),
        )
    for number, (state, age) in enumerate(history.acquisitions):
        await put(
            "insert into acquisition (id, study_id, submission_id, imaging_study, address, study_uid, state, since,"
            " asked_at) values (gen_random_uuid(), %s, gen_random_uuid(), 'i', 'a', %s, %s, AGO, AGO)",
            *(study, str(number), state, age, age),
        )
    await put(
        "insert into submission (id, study_id, accepted_at, image_media) values (gen_random_uuid(), %s, AGO, '{}')",
        *(study, history.accepted),
    )
    if history.sent_again is not None:
        await put("update image set sent_again_at = AGO where study_id = %s", history.sent_again, study)
    if history.is_held:
        await put("insert into legal_hold (study_id, at, who, why) values (%s, now(), '', '')", study)
    if history.was_held:
        await put("insert into legal_hold (study_id, at, who, why, ended_at) values (%s, now(), '', '', now())", study)
    if history.has_look:
        await put("insert into study_look (study_id) values (%s)", study)
    if history.has_job:
        await put(
            "insert into engine.procrastinate_jobs (queue_name, task_name, queueing_lock, args)"
            " values ('report', 'study', %s, '{}')",
            f"study:{study}",
        )
    return study


async def all_rows(pool: Pool) -> Mapping[str, str]:
    """Everything of each study, as text."""
    parts = [
        f"select {'id' if table == 'study' else 'study_id'} as study, to_jsonb({table})::text as told from {table}"  # noqa: S608
        for table in TABLES
    ]
    async with connected(pool) as connection:
        rows = " union all ".join(parts)
        query = f"select study::text, string_agg(told, ' ' order by told) from ({rows}) as rows group by study"  # noqa: S608
        found = await connection.execute(query.encode())
        return dict(await found.fetchall())


async def those_that_keep(kept: Kept, pool: Pool) -> set[str]:
    """Studies of which something of a class is left."""
    left = {
        Kept.SOURCE: "select study_id from image where source_purged_at is null",
        Kept.PREPARED: "select study_id from image where prepared_purged_at is null",
        Kept.PAGES: "select study_id from delivery where pages_purged_at is null",
        Kept.LEDGER: "select id from study",
    }
    async with connected(pool) as connection:
        found = await (await connection.execute(left[kept].encode())).fetchall()
        return {str(row[0]) for row in found}


@pytest.mark.parametrize("kept", CLASSES)
async def test_what_may_go_goes_and_nothing_else_is_touched(pool: Pool, kept: Kept) -> None:
    chance = random.Random(SEED)  # noqa: S311 - to be the same each time
    async with connected(pool) as connection, connection.pipeline():
        studies = {await write(history, connection): history for history in [a_history(chance) for _ in range(120)]}
    before = await all_rows(pool)
    retention, now = PostgresRetention(pool, SystemClock()), SystemClock().now()
    gone: set[str] = set()
    for limit in (450, 100, 30):  # time passes
        after = None
        while found := await retention.old(kept, now - timedelta(days=limit), after, 20):
            await retention.purge(kept, [each.study_id for each in found], now - timedelta(days=limit))
            after = found[-1]

        going = {study for study, history in studies.items() if history.may_go(limit)}
        assert going > gone
        assert not going & await those_that_keep(kept, pool)
        left = await all_rows(pool)
        assert {study: left.get(study) for study in studies.keys() - going} == {
            study: before[study] for study in studies.keys() - going
        }
        gone = going


@pytest.mark.parametrize("kept", CLASSES)
async def test_a_look_costs_the_same_however_long_the_history_is(pool: Pool, kept: Kept) -> None:
    """20,000 studies of which all but a few were purged, or are too young."""
    many = """
        insert into study (id, key, subject, context, state, opened_at)
        select gen_random_uuid(), 'k' || n, '{}', '{}', 'reported',
               now() - make_interval(days => case when %(is_ledger)s and n > 20 then 1 else 50 end)
          from generate_series(1, 20000) as n;
    """
    async with connected(pool) as connection:
        await connection.execute(many.replace("%(is_ledger)s", str(kept is Kept.LEDGER).lower()).encode())
        await connection.execute(
            "insert into image (id, study_id, media_id, source, source_sha256, prepared, state, since,"
            " source_purged_at, prepared_purged_at) select gen_random_uuid(), id, 'm', '{}', key,"
            " jsonb_build_object('sha256', key), 'answered', opened_at, gone, gone"
            " from (select *, case when right(key, 3) <> '777' then now() end as gone from study) as study"
        )
        await connection.execute(
            "insert into delivery (id, study_id, revision, destination, state, resources, report_id, since,"
            " pages_purged_at) select gen_random_uuid(), id, 1, 'ehr', 'confirmed', '[]', 'r', opened_at,"
            " case when right(key, 3) <> '777' then now() end from study"
        )
    async with connected(pool) as connection:
        await connection.execute("analyze study, image, delivery")
        now = SystemClock().now()
        found = await connection.execute(
            f"explain (analyze, buffers, format json) {old_of(kept)}".encode(),
            place(now - timedelta(days=30), None, 50),
        )
        row = await found.fetchone()

    assert row is not None
    (told,) = row[0]
    plan = told["Plan"]
    assert plan["Actual Rows"] == 20
    assert "Seq Scan" not in json.dumps(plan)
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 100


async def test_files_are_looked_up_by_indexes(pool: Pool) -> None:
    async with connected(pool) as connection:
        await connection.execute("set local enable_seqscan = off")
        for query in (
            "select from image where source_sha256 = 'x' and source_purged_at is null",
            "select from image where prepared ->> 'sha256' = 'x' and prepared_purged_at is null",
            "select from resource where kind = 'Binary' and is_newest"
            " and content #>> '{_data,extension,0,valueString}' = 'x'",
            "select sha256 from discard where sha256 = any(array['x']) for share",
            "select id from discard where done_at is null order by id limit 20 for update skip locked",
            "select from resource where kind = 'Media' and is_newest and content -> 'partOf' @> '[{}]'",
            "select from delivery where report_id = 'x'",
            "select from delivery where remote_id = 'x'",
            "select from acquisition where imaging_study = 'x'",
        ):
            plan = await (await connection.execute(f"explain {query}".encode())).fetchall()
            assert not any("Seq Scan" in row[0] for row in plan), query
