"""The ledger's promises, sentence by sentence, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from psycopg.errors import UniqueViolation

from fundus_relay.adapters.database.commit import Commit
from fundus_relay.adapters.database.ledger import PostgresLedger
from fundus_relay.adapters.database.pool import Pool, connected, open_pool
from fundus_relay.domain.analysis import Analysis, AnalysisFailed, Graded, Lesion, NotFundus, Ungradable
from fundus_relay.domain.errors import InvalidResource, StoreUnavailable
from fundus_relay.domain.geometry import IDENTITY, Box, Size
from fundus_relay.domain.laterality import Laterality
from fundus_relay.domain.packed import Packed
from fundus_relay.domain.states import DeliveryState, ImageState, StudyState
from fundus_relay.domain.values import (
    CreditMark,
    Delivery,
    Image,
    Json,
    PreparedPicture,
    StoredPicture,
    Study,
    Submission,
)
from fundus_relay.pipeline.ports import Job, PutOff

NOW = datetime(2026, 11, 20, 8, tzinfo=UTC)
SUBJECT = {"reference": "Patient/1"}
PREPARED = PreparedPicture("ab" * 32, "image/jpeg", Size(1280, 1024), IDENTITY, ("metadata stripped",))


def an_image(study: Study, **fields: Any) -> Image:  # Any: a subset of Image's fields
    sha256 = fields.pop("sha256", uuid4().hex * 2)
    image = Image(
        id=str(uuid4()),
        study_id=study.id,
        media_id="media-1",
        source=StoredPicture(sha256, "image/jpeg", 3_700_000, Size(2896, 1944)),
        laterality=Laterality.RIGHT,
        state=ImageState.RECEIVED,
        since=NOW,
    )
    return replace(image, **fields)


RESOURCES = ({"resourceType": "DiagnosticReport", "id": "r"},)


def a_delivery(study: Study, **fields: Any) -> Delivery:  # Any: a subset of Delivery's fields
    delivery = Delivery(
        id=str(uuid4()),
        study_id=study.id,
        revision=1,
        destination="ehr",
        state=DeliveryState.DUE,
        report_id="r",
        since=NOW,
    )
    return replace(delivery, **fields)


async def open_study(ledger: PostgresLedger, key: str = "a-key") -> Study:
    async with ledger.transaction() as tx:
        return await tx.open_study(key, SUBJECT, {})


async def add_image(ledger: PostgresLedger, **fields: Any) -> Image:  # Any: as an_image
    study = await open_study(ledger)
    async with ledger.transaction() as tx:
        image, _ = await tx.add_image(an_image(study, **fields))
    return image


async def jobs(pool: Pool) -> Sequence[tuple[str, str]]:
    """Kind and id of every job that the engine has."""
    async with connected(pool) as connection:
        found = await connection.execute("select task_name, args ->> 'id' from engine.procrastinate_jobs order by id")
        return [(row[0], row[1]) for row in await found.fetchall()]


async def journal(pool: Pool, subject_id: str) -> Sequence[tuple[str | None, str, str | None]]:
    async with connected(pool) as connection:
        found = await connection.execute(
            "select from_state, to_state, reason from transition where subject_id = %s order by id", [subject_id]
        )
        return [(row[0], row[1], row[2]) for row in await found.fetchall()]


async def test_a_study_is_made_once_for_its_key(ledger: PostgresLedger) -> None:
    studies = await asyncio.gather(*(open_study(ledger, "the-same") for _ in range(8)))

    assert len({study.id for study in studies}) == 1
    assert (await open_study(ledger, "another")).id != studies[0].id


async def test_a_study_comes_back_as_it_was_saved(ledger: PostgresLedger) -> None:
    study = await open_study(ledger)
    saved = replace(study, state=StudyState.REPORTED, revision=2, fingerprint="f", context={"basedOn": []})
    async with ledger.transaction() as tx:
        await tx.save_study(saved)
    async with ledger.transaction() as tx:
        assert await tx.study(study.id) == saved


async def test_an_image_comes_back_with_every_field(ledger: PostgresLedger) -> None:
    image = await add_image(
        ledger,
        laterality=None,
        captured="2026-11-01",
        due_at=NOW,
        reason="why",
        attempt=3,
        resends=1,
        prepared=PREPARED,
        credit_mark=CreditMark(None, 4),
        job_id="j",
        job_status="QUEUED",
        analysing_since=NOW,
        answered_at=NOW,
        is_standin=True,
        trace="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )

    async with ledger.transaction() as tx:
        assert await tx.image(image.id) == image
        assert list(await tx.images(image.study_id)) == [image]


@pytest.mark.parametrize(
    "analysis",
    [
        Graded(True, False, (Lesion("Hard Exudate", Box(1, 2, 3.5, 4), "1,2,3.5,4"),), {"DR": "Yes"}),
        Ungradable({"gradability": "No"}),
        NotFundus(),
        AnalysisFailed("LC-ERR-0035"),
    ],
)
async def test_an_analysis_keeps_its_kind_and_its_boxes(ledger: PostgresLedger, analysis: Analysis) -> None:
    image = await add_image(ledger, state=ImageState.ANALYSING)
    async with ledger.transaction() as tx:
        await tx.move_image(image, ImageState.ANSWERED, analysis=analysis)
    async with ledger.transaction() as tx:
        answered = await tx.image(image.id)

    assert answered is not None
    assert answered.analysis == analysis


async def test_equal_bytes_in_one_study_are_one_image(ledger: PostgresLedger) -> None:
    study = await open_study(ledger)

    async def send() -> tuple[Image, bool]:
        async with ledger.transaction() as tx:
            return await tx.add_image(an_image(study, sha256="aa" * 32))

    answers = await asyncio.gather(*(send() for _ in range(8)))

    assert [is_new for _, is_new in answers].count(True) == 1
    assert len({image.id for image, _ in answers}) == 1


async def test_equal_bytes_in_two_studies_are_two_images(ledger: PostgresLedger) -> None:
    for key in ("one", "two"):
        study = await open_study(ledger, key)
        async with ledger.transaction() as tx:
            _, is_new = await tx.add_image(an_image(study, sha256="aa" * 32))
        assert is_new


async def test_of_many_that_settle_the_same_image_one_wins(ledger: PostgresLedger, pool: Pool) -> None:
    image = await add_image(ledger)

    async def settle() -> Image | None:
        async with ledger.transaction() as tx:
            return await tx.move_image(image, ImageState.PREPARED, prepared=PREPARED)

    settled = await asyncio.gather(*(settle() for _ in range(8)))

    assert [winner.state for winner in settled if winner] == [ImageState.PREPARED]
    assert await journal(pool, image.id) == [(None, "received", None), ("received", "prepared", None)]


async def test_a_settle_of_an_earlier_attempt_changes_nothing(ledger: PostgresLedger) -> None:
    image = await add_image(ledger)
    async with ledger.transaction() as tx:
        await tx.move_image(image, ImageState.RECEIVED, reason="analyser-unavailable", attempt=1)
    async with ledger.transaction() as tx:
        assert await tx.move_image(image, ImageState.PREPARED) is None


async def test_a_move_that_is_not_in_the_table_is_refused(ledger: PostgresLedger) -> None:
    image = await add_image(ledger)
    with pytest.raises(ValueError, match="received to answered"):
        async with ledger.transaction() as tx:
            await tx.move_image(image, ImageState.ANSWERED)


async def test_the_time_of_a_state_begins_with_the_state(ledger: PostgresLedger) -> None:
    image = await add_image(ledger)
    async with ledger.transaction() as tx:
        stayed = await tx.move_image(image, ImageState.RECEIVED, reason="busy", attempt=1)
        assert stayed is not None
        moved = await tx.move_image(stayed, ImageState.PREPARED)

    assert stayed.since == NOW
    assert moved is not None
    assert moved.since > NOW


async def test_an_id_that_is_none_of_ours_is_nothing(ledger: PostgresLedger) -> None:
    async with ledger.transaction() as tx:
        assert await tx.image("../../etc") is None
        assert await tx.study(str(uuid4())) is None
        assert await tx.delivery("") is None
        assert list(await tx.images("x")) == []


async def test_a_job_exists_when_and_only_when_the_row_was_committed(ledger: PostgresLedger, pool: Pool) -> None:
    study = await open_study(ledger)
    kept, lost = an_image(study), an_image(study)
    async with ledger.transaction() as tx:
        await tx.add_image(kept)
        await tx.enqueue(Job.IMAGE, kept.id)
    with pytest.raises(RuntimeError):
        await _crash_after_adding(ledger, lost)

    assert await jobs(pool) == [("image", kept.id)]
    async with ledger.transaction() as tx:
        assert await tx.image(lost.id) is None


async def _crash_after_adding(ledger: PostgresLedger, image: Image) -> None:
    async with ledger.transaction() as tx:
        await tx.add_image(image)
        await tx.enqueue(Job.IMAGE, image.id)
        raise RuntimeError("a crash before the commit")


async def test_jobs_that_wait_already_do_not_pile_up(ledger: PostgresLedger, pool: Pool) -> None:
    image = await add_image(ledger)

    async def ask() -> None:
        async with ledger.transaction() as tx:
            await tx.enqueue(Job.IMAGE, image.id)
            await tx.enqueue(Job.STUDY, image.study_id)
            await tx.enqueue(Job.IMAGE, image.id)

    await asyncio.gather(*(ask() for _ in range(20)))

    assert sorted(await jobs(pool)) == [("image", image.id), ("study", image.study_id)]


async def test_a_waiting_job_does_not_start_before_a_change_that_counts_on_it_is_committed(
    ledger: PostgresLedger, pool: Pool
) -> None:
    image = await add_image(ledger)
    async with ledger.transaction() as tx:
        await tx.enqueue(Job.IMAGE, image.id)

    async with connected(pool) as connection:
        await ledger_enqueue(ledger, connection, image)
        assert await _fetch(pool) is None
    assert await _fetch(pool) == image.id


async def ledger_enqueue(ledger: PostgresLedger, connection: Any, image: Image) -> None:  # Any: psycopg's connection
    """Enqueue on a connection whose transaction stays open."""
    commit = Commit(connection, ledger._clock)
    await commit.enqueue(Job.IMAGE, image.id)
    await commit.hand_over(ledger._enqueue)


async def _fetch(pool: Pool) -> str | None:
    """What a worker of the engine would be given now."""
    async with connected(pool) as connection:
        worker = await (await connection.execute("select procrastinate_register_worker_v1()")).fetchone()
        assert worker is not None
        found = await connection.execute(
            "select args ->> 'id' from procrastinate_fetch_job_v2('{analysis}', %s)", [worker[0]]
        )
        row = await found.fetchone()
        return row[0] if row else None


async def test_what_waits_for_later_is_overdue_when_its_time_has_come_and_not_before(ledger: PostgresLedger) -> None:
    image = await add_image(ledger)
    later = datetime.now(UTC) + timedelta(hours=1)
    async with ledger.transaction() as tx:
        await tx.move_image(image, ImageState.RECEIVED, reason="busy", due_at=later, attempt=1)
        await tx.enqueue(Job.IMAGE, image.id, at=later)

    assert list(await ledger.overdue(later - timedelta(seconds=1), 10)) == []
    assert list(await ledger.overdue(later, 10)) == [(Job.IMAGE, image.id)]


@pytest.mark.parametrize("state", ["received", "prepared", "sending"])
async def test_an_unfinished_image_without_a_job_is_overdue(ledger: PostgresLedger, state: str) -> None:
    image = await add_image(ledger, state=ImageState(state))

    assert list(await ledger.overdue(NOW, 10)) == [(Job.IMAGE, image.id)]


@pytest.mark.parametrize("state", ["analysing", "answered", "rejected", "parked", "cancelled"])
async def test_an_image_that_ended_or_is_polled_is_not_overdue(ledger: PostgresLedger, state: str) -> None:
    await add_image(ledger, state=ImageState(state))

    assert list(await ledger.overdue(NOW, 10)) == []


async def test_a_row_with_a_live_job_is_not_overdue(ledger: PostgresLedger, pool: Pool) -> None:
    image = await add_image(ledger)
    async with ledger.transaction() as tx:
        await tx.enqueue(Job.IMAGE, image.id)
    assert list(await ledger.overdue(NOW, 10)) == []

    assert await _fetch(pool) == image.id  # it runs now
    assert list(await ledger.overdue(NOW, 10)) == []


async def test_a_lost_queue_loses_nothing(ledger: PostgresLedger, pool: Pool) -> None:
    image = await add_image(ledger)
    delivery = a_delivery(await open_study(ledger))
    async with ledger.transaction() as tx:
        await tx.add_delivery(delivery, RESOURCES)
        await tx.enqueue(Job.IMAGE, image.id)
        await tx.enqueue(Job.STUDY, image.study_id)
        await tx.enqueue(Job.DELIVERY, delivery.id)
    async with connected(pool) as connection:
        await connection.execute("truncate engine.procrastinate_jobs cascade")

    assert sorted(await ledger.overdue(NOW, 10)) == [
        (Job.DELIVERY, delivery.id),
        (Job.IMAGE, image.id),
        (Job.STUDY, image.study_id),
    ]


async def test_a_study_that_was_looked_at_is_not_overdue(ledger: PostgresLedger, pool: Pool) -> None:
    study = await open_study(ledger)
    async with ledger.transaction() as tx:
        await tx.enqueue(Job.STUDY, study.id)
    async with connected(pool) as connection:
        await connection.execute("truncate engine.procrastinate_jobs cascade")
    async with ledger.looking_at(study.id):
        pass

    assert list(await ledger.overdue(NOW, 10)) == []


async def test_a_study_that_changed_while_it_was_looked_at_is_overdue_again(ledger: PostgresLedger, pool: Pool) -> None:
    study = await open_study(ledger)
    async with ledger.looking_at(study.id), ledger.transaction() as tx:
        await tx.enqueue(Job.STUDY, study.id)
    async with connected(pool) as connection:
        await connection.execute("truncate engine.procrastinate_jobs cascade")

    assert list(await ledger.overdue(NOW, 10)) == [(Job.STUDY, study.id)]


async def test_images_are_polled_oldest_due_first_until_they_are_seen_as_ended(
    ledger: PostgresLedger, pool: Pool
) -> None:
    ages = (2, 3, 1)
    first, second, third = [
        await add_image(
            ledger,
            state=ImageState.ANALYSING,
            job_id=f"job-{age}",
            analysing_since=NOW,
            due_at=NOW - timedelta(seconds=age),
        )
        for age in ages
    ]

    assert [due.image_id for due in await ledger.due_for_poll(NOW, 10)] == [second.id, first.id, third.id]
    assert [due.job_id for due in await ledger.due_for_poll(NOW, 1)] == ["job-3"]

    await ledger.postpone_polls([first.id, third.id], [NOW + timedelta(seconds=90), NOW], "x")
    await ledger.note_ended({second.id: "COMPLETED"})

    assert [due.image_id for due in await ledger.due_for_poll(NOW, 10)] == [third.id]
    assert await jobs(pool) == [("image", second.id)]
    await ledger.note_ended({second.id: "ERROR"})  # the first that was seen stays
    async with ledger.transaction() as tx:
        ended = await tx.image(second.id)
    assert ended is not None
    assert (ended.job_status, ended.due_at) == ("COMPLETED", None)


async def test_a_poll_does_not_touch_an_image_that_went_on(ledger: PostgresLedger, pool: Pool) -> None:
    image = await add_image(ledger, state=ImageState.PARKED)
    await ledger.postpone_polls([image.id], [NOW], "x")
    await ledger.note_ended({image.id: "COMPLETED"})

    async with ledger.transaction() as tx:
        assert await tx.image(image.id) == image
    assert await jobs(pool) == []


async def test_a_later_revision_supersedes_one_that_has_not_begun(ledger: PostgresLedger, pool: Pool) -> None:
    study = await open_study(ledger)
    due = a_delivery(study)
    begun = a_delivery(study, destination="archive", state=DeliveryState.WRITING)
    newer = [a_delivery(study, revision=2), a_delivery(study, revision=2, destination="archive")]
    async with ledger.transaction() as tx:
        for delivery in (due, begun, *newer):
            await tx.add_delivery(delivery, RESOURCES)
        states = {delivery.id: delivery.state for delivery in await tx.deliveries(study.id)}

    assert states[due.id] is DeliveryState.SUPERSEDED
    assert states[begun.id] is DeliveryState.WRITING
    assert [states[delivery.id] for delivery in newer] == [DeliveryState.DUE] * 2
    assert (await journal(pool, due.id))[-1] == ("due", "superseded", None)


async def test_a_delivery_moves_by_its_own_table(ledger: PostgresLedger) -> None:
    delivery = a_delivery(await open_study(ledger))
    async with ledger.transaction() as tx:
        await tx.add_delivery(delivery, RESOURCES)
        writing = await tx.move_delivery(delivery, DeliveryState.WRITING, attempt=1, first_tried_at=NOW)
        assert writing is not None
        assert await tx.move_delivery(delivery, DeliveryState.PARKED) is None
        with pytest.raises(ValueError, match="due to confirmed"):
            await tx.move_delivery(delivery, DeliveryState.CONFIRMED)
        confirmed = await tx.move_delivery(writing, DeliveryState.CONFIRMED, remote_id="77")
        assert await tx.delivery(delivery.id) == confirmed

    assert confirmed is not None
    assert (confirmed.remote_id, confirmed.attempt) == ("77", 1)


async def test_what_a_delivery_says_comes_back_whole_and_in_its_order(ledger: PostgresLedger) -> None:
    delivery = a_delivery(await open_study(ledger))
    boxes = [{"extension": [{"url": "xMin", "valueDecimal": number}]} for number in range(300)]
    resources = Packed(
        {"resourceType": "Observation", "id": f"o{number}", **({"component": boxes} if number % 4 == 0 else {})}
        for number in range(120)
    )
    async with ledger.transaction() as tx:
        await tx.add_delivery(delivery, resources)
        assert await tx.told(delivery.id) == resources
        assert list(await tx.told(delivery.id)) == list(resources)
        assert len(await tx.told(str(uuid4()))) == 0


async def test_a_submission_comes_back(ledger: PostgresLedger) -> None:
    study = await open_study(ledger)
    submission = Submission(str(uuid4()), study.id, NOW, {"image": "media"})
    async with ledger.transaction() as tx:
        await tx.add_submission(submission)
    async with ledger.transaction() as tx:
        assert list(await tx.submissions(study.id)) == [submission]


async def test_credits_never_rise_by_a_confirmed_upload(ledger: PostgresLedger) -> None:
    async with ledger.transaction() as tx:
        assert await tx.account.mark_credits() == CreditMark(None, 0)
        for told in (10, 8, None, 9):
            await tx.account.confirm_upload(told)
        assert await tx.account.mark_credits() == CreditMark(8, 4)
        await tx.account.count_double_spend()
    census = await ledger.census()

    assert (census.credits, census.possibly_double_spent) == (8, 1)
    assert census.credits_at is not None


async def test_a_count_that_is_not_taken_over_makes_the_last_one_no_younger(ledger: PostgresLedger) -> None:
    async with ledger.transaction() as tx:
        await tx.account.confirm_upload(0)
    before = (await ledger.census()).credits_at
    async with ledger.transaction() as tx:
        await tx.account.confirm_upload(499)  # somebody bought credits

    census = await ledger.census()

    assert (census.credits, census.credits_at) == (0, before)


async def test_uploads_that_overlap_share_the_mark_that_was_made_when_nothing_was_under_way(
    ledger: PostgresLedger,
) -> None:
    async with ledger.transaction() as tx:
        await tx.account.confirm_upload(10)
        first = await tx.account.mark_credits()
    now = datetime.now(UTC)
    await add_image(ledger, state=ImageState.SENDING, credit_mark=first, reason="analyser-unavailable")
    await add_image(ledger, state=ImageState.SENDING, credit_mark=CreditMark(None, 0), due_at=now)
    async with ledger.transaction() as tx:
        await tx.account.confirm_upload(9)

        assert await tx.account.mark_credits() == first == CreditMark(10, 1)
        assert await tx.account.uploads_confirmed() == 2
        assert await tx.account.uploads_under_way() == 1


async def test_the_census_counts_states_and_reasons(ledger: PostgresLedger) -> None:
    for _ in range(2):
        await add_image(ledger, state=ImageState.PARKED, reason="analyser-silent")
    await add_image(ledger, state=ImageState.SENDING)
    async with ledger.transaction() as tx:
        assert await tx.account.uploads_under_way() == 1
    census = await ledger.census()

    assert census.images == {"parked": 2, "sending": 1}
    assert census.parked == {"analyser-silent": 2}
    assert census.deliveries == {}


async def test_names_are_held_by_one_transaction_at_a_time_in_any_order(ledger: PostgresLedger) -> None:
    inside: list[str] = []

    async def work(names: Sequence[str]) -> None:
        async with ledger.transaction() as tx:
            await tx.hold(names)
            inside.append("in")
            await tx.account.mark_credits()
            assert inside.count("in") - inside.count("out") == 1
            inside.append("out")

    await asyncio.gather(*(work(names) for names in (["a", "b"], ["b", "a"], ["b"], ["a", "b"], ["b", "b"])))

    assert inside == ["in", "out"] * 5


async def test_what_the_database_rolled_back_is_never_told_as_committed(ledger: PostgresLedger) -> None:
    with pytest.raises(StoreUnavailable):
        async with ledger.transaction() as tx:
            await tx.resources.put({"resourceType": "Media", "id": "m", "status": "completed"})
            with pytest.raises(InvalidResource):
                await tx.resources.put({"resourceType": "Media", "id": "n", "status": "\0"})


async def test_a_statement_whose_answer_nobody_read_fails_the_transaction(ledger: PostgresLedger) -> None:
    task: Json = {"resourceType": "Task", "id": "t"}
    async with ledger.transaction() as tx:
        await tx.resources.add(task)

    with pytest.raises(UniqueViolation):
        async with ledger.transaction() as tx:
            await tx.resources.put({"resourceType": "Media", "id": "m", "status": "completed"})
            await tx.resources.add(task)

    async with ledger.transaction() as tx:
        assert await tx.resources.read("Media", "m") is None


async def test_resources_commit_with_the_rest(ledger: PostgresLedger) -> None:
    with pytest.raises(RuntimeError):
        await _crash_after_putting(ledger)
    async with ledger.transaction() as tx:
        assert await tx.resources.read("Media", "m") is None


async def _crash_after_putting(ledger: PostgresLedger) -> None:
    async with ledger.transaction() as tx:
        await tx.resources.put({"resourceType": "Media", "id": "m", "status": "completed"})
        raise RuntimeError("a crash before the commit")


async def test_a_database_out_of_reach_is_store_unavailable() -> None:
    async with open_pool("postgresql://nobody@127.0.0.1:1/none", size=1) as pool:
        with pytest.raises(StoreUnavailable):
            await _use(pool)


async def _use(pool: Pool) -> None:
    async with connected(pool):
        pass


QUERIES = {
    "poll": "select id from image where state = 'analysing' and job_status is null and due_at <= now()"
    " order by due_at limit 500",
    "ready": "select id from image where (state in ('received', 'prepared', 'sending')"
    " or (state = 'analysing' and job_status is not null)) and (due_at is null or due_at <= now())",
    "sending": "select count(*) from image where state = 'sending'",
    "parked": "select reason from image where state = 'parked'",
    "of study": "select * from image where study_id = '00000000-0000-0000-0000-000000000000'",
    "deliveries": "select id from delivery where state in ('due', 'writing') and (due_at is null or due_at <= now())",
    "deliveries of study": "select * from delivery where study_id = '00000000-0000-0000-0000-000000000000'",
    "submissions": "select * from submission where study_id = '00000000-0000-0000-0000-000000000000'",
}


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
async def test_no_query_reads_the_whole_history(pool: Pool, query: str) -> None:
    async with connected(pool) as connection:
        await connection.execute("set local enable_seqscan = off")
        plan = await (await connection.execute(f"explain {query}".encode())).fetchall()

    assert not any("Seq Scan" in row[0] for row in plan), plan


async def test_all_that_waits_for_a_person_is_listed_longest_first(ledger: PostgresLedger) -> None:
    first = await add_image(ledger, state=ImageState.PARKED, reason="analyser-silent", since=NOW)
    later = await add_image(ledger, state=ImageState.PARKED, reason="upload-ambiguous", since=NOW + timedelta(hours=1))
    await add_image(ledger)

    parked = await ledger.parked()

    assert [(row.subject, row.id, row.reason) for row in parked] == [
        ("image", first.id, "analyser-silent"),
        ("image", later.id, "upload-ambiguous"),
    ]


async def test_what_waits_for_a_person_names_its_media_and_its_tasks(ledger: PostgresLedger) -> None:
    image = await add_image(ledger, state=ImageState.PARKED, reason="analyser-silent", since=NOW)
    mine, other = str(uuid4()), str(uuid4())
    async with ledger.transaction() as tx:
        await tx.add_submission(Submission(mine, image.study_id, NOW, {image.id: image.media_id}))
        await tx.add_submission(Submission(other, image.study_id, NOW, {str(uuid4()): "another"}))

    (parked,) = await ledger.parked()

    assert (parked.state, parked.since, parked.media, parked.tasks) == ("parked", NOW, [image.media_id], [mine])


async def test_what_waits_by_itself_is_counted_by_what_it_waits_for(ledger: PostgresLedger) -> None:
    soon, later = NOW + timedelta(minutes=1), NOW + timedelta(minutes=2)
    for due_at in (later, soon):
        await add_image(ledger, state=ImageState.PREPARED, reason="analyser-credits-exhausted", due_at=due_at)
        await add_image(ledger, state=ImageState.PREPARED, reason="analyser-unavailable", due_at=due_at)
    await add_image(ledger, state=ImageState.ANALYSING, due_at=soon)
    await add_image(ledger, state=ImageState.PREPARED, reason="analyser-credentials-refused", due_at=NOW)

    assert await ledger.put_off(NOW) == [
        PutOff("image", "prepared", "analyser-credits-exhausted", 2, None),  # nobody knows when somebody buys some
        PutOff("image", "prepared", "analyser-unavailable", 2, soon),
    ]
