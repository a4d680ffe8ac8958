"""Whatever the history: what has ended, is old enough and is not held goes; of everything else not a row is touched."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fundus_relay.adapters.clock import SystemClock
from fundus_relay.adapters.database.pool import Pool, connected, open_pool
from fundus_relay.adapters.database.retained import place
from fundus_relay.adapters.database.retention import PostgresRetention, old_of
from fundus_relay.domain.policy import Kept
from fundus_relay.domain.states import AcquisitionState, DeliveryState, ImageState

LIMIT = 30
CLASSES = (Kept.SOURCE, Kept.PREPARED, Kept.PAGES, Kept.LEDGER)
ENDED = {"answered", "rejected", "cancelled", "confirmed", "superseded", "complete"}
AGES = st.sampled_from([0, 29, 31, 400])
Rows = Sequence[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class History:
    """A study: the states of its rows, how many days ago each was last touched, and what else speaks for keeping it."""

    opened: int
    images: Rows
    deliveries: Rows
    acquisitions: Rows
    accepted: int
    sent_again: int | None
    is_held: bool
    was_held: bool
    has_look: bool
    has_job: bool

    def may_go(self) -> bool:
        rows = [*self.images, *self.deliveries, *self.acquisitions]
        touched = [self.opened, self.accepted, *(age for _, age in rows)]
        touched += [self.sent_again] if self.sent_again is not None and self.images else []
        is_finished = all(state in ENDED for state, _ in rows) and not (self.has_look or self.has_job)
        return is_finished and not self.is_held and min(touched) >= LIMIT


def _rows(states: type[ImageState] | type[DeliveryState] | type[AcquisitionState]) -> st.SearchStrategy[Rows]:
    mostly_ended = st.one_of(st.sampled_from([each for each in states if each in ENDED]), st.sampled_from(list(states)))
    return st.lists(st.tuples(mostly_ended.map(str), AGES), max_size=2)


HISTORIES = st.lists(
    st.builds(
        History,
        AGES,
        _rows(ImageState),
        _rows(DeliveryState),
        _rows(AcquisitionState),
        AGES,
        st.none() | AGES,
        *[st.sampled_from([False, False, False, True])] * 4,
    ),
    min_size=1,
    max_size=8,
)


async def _write(history: History, pool: Pool) -> str:
    study = str(uuid4())
    ago = "now() - make_interval(days => %s)"
    async with connected(pool) as connection:

        async def put(statement: str, *values: object) -> None:
            await connection.execute(statement.replace("AGO", ago).encode(), values)

        await put(
            "insert into study (id, key, subject, context, state, opened_at)"
            " values (%s, %s, '{}', '{}', 'reported', AGO)",
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
            await put(
                "insert into legal_hold (study_id, at, who, why, ended_at) values (%s, now(), '', '', now())", study
            )
        if history.has_look:
            await put("insert into study_look (study_id) values (%s)", study)
        if history.has_job:
            await put(
                "insert into engine.procrastinate_jobs (queue_name, task_name, queueing_lock, args)"
                " values ('report', 'study', %s, '{}')",
                f"study:{study}",
            )
    return study


async def _all_of(study: str, pool: Pool) -> str:
    """Everything of a study, as text."""
    tables = ("study", "image", "submission", "delivery", "acquisition", "study_look", "legal_hold")
    parts = [
        f"select to_jsonb({table})::text from {table} where {'id' if table == 'study' else 'study_id'} = %(study)s"  # noqa: S608
        for table in tables
    ]
    async with connected(pool) as connection:
        found = await connection.execute(" union all ".join(parts).encode(), {"study": study})
        return "\n".join(sorted(row[0] for row in await found.fetchall()))


async def _lost(study: str, kept: Kept, pool: Pool) -> bool:
    queries = {
        Kept.SOURCE: "select bool_and(source_purged_at is not null) from image where study_id = %s",
        Kept.PREPARED: "select bool_and(prepared_purged_at is not null) from image where study_id = %s",
        Kept.PAGES: "select bool_and(pages_purged_at is not null) from delivery where study_id = %s",
        Kept.LEDGER: "select count(*) = 0 from study where id = %s",
    }
    async with connected(pool) as connection:
        row = await (await connection.execute(queries[kept].encode(), [study])).fetchone()
    return row is not None and row[0] in (None, True)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(histories=HISTORIES, kept=st.sampled_from(CLASSES))
async def test_what_may_go_goes_and_nothing_else_is_touched(
    database_url: str, histories: list[History], kept: Kept
) -> None:
    async with open_pool(database_url, size=4) as pool:
        retention = PostgresRetention(pool, SystemClock())
        studies = {await _write(history, pool): history for history in histories}
        before = {study: await _all_of(study, pool) for study in studies}
        limit = SystemClock().now() - timedelta(days=LIMIT)

        after = None
        while found := await retention.old(kept, limit, after, 3):
            await retention.purge(kept, [each.study_id for each in found], limit)
            after = found[-1]

        for study, history in studies.items():
            if history.may_go():
                assert await _lost(study, kept, pool)
            else:
                assert await _all_of(study, pool) == before[study]


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
