"""Who goes first: urgent photographs, then routine ones, then those of the past; senders take turns among equals."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from tests.flow.test_engine import Script, working
from tests.flow.world import World, a_photograph
from tests.imaging_studies import an_imaging_study
from tests.unit.imaging.pictures import a_jpeg

from fundus_relay.adapters.clock import SystemClock
from fundus_relay.adapters.database.ledger import PostgresLedger
from fundus_relay.adapters.database.pool import Pool, connected
from fundus_relay.domain.geometry import Size
from fundus_relay.domain.states import ImageState
from fundus_relay.domain.urgency import Urgency
from fundus_relay.domain.values import Entry, Image, StoredPicture, Submitted
from fundus_relay.pipeline.accept import accept
from fundus_relay.pipeline.ports import Job
from fundus_relay.pipeline.urgency import Sender
from fundus_relay.worker.engine import Engine
from fundus_relay.worker.lane import Pace

EYE, OTHER_EYE = a_jpeg(), a_jpeg(noise=1)
BACKFILL = {"tag": [{"system": "https://fundus-relay.dev/fhir/CodeSystem/handling", "code": "backfill"}]}
ONE_BY_ONE = Pace(images=1, reports=1, rescue=0.2, heartbeat=0.2, grace=0.5, dead_after=1.5)


def an_order(id: str = "o-1", *, priority: str | None = "stat", **more: Any) -> Entry:  # Any: elements of it
    order = {"resourceType": "ServiceRequest", "id": id, "subject": {"reference": "Patient/demo-patient"}, **more}
    return Entry(order | ({"priority": priority} if priority else {}), method="PUT", element=f"ServiceRequest/{id}")


def ordered(id: str = "o-1", **media: Any) -> dict[str, Any]:  # Any: elements of a Media
    return {"basedOn": [{"reference": f"ServiceRequest/{id}"}], **media}


def light_entries(count: int, **media: Any) -> list[Entry]:  # Any: as above
    """Photographs whose pictures nobody looks at."""
    base = {"resourceType": "Media", "status": "completed", "subject": {"reference": "Patient/demo-patient"}}
    return [
        Entry(
            {**base, "content": {"contentType": "image/jpeg"}, **media},
            picture=StoredPicture(uuid4().hex * 2, "image/jpeg", 1, Size(1280, 1024)),
            element=f"Bundle.entry[{number}].resource",
        )
        for number in range(count)
    ]


async def urgencies(world: World) -> list[str]:
    return [image.urgency for image in await world.images()]


@pytest.mark.parametrize("priority", ["urgent", "asap", "stat"])
async def test_a_photograph_of_an_urgent_order_of_the_same_request_is_urgent(world: World, priority: str) -> None:
    order = replace(an_order(priority=priority), element="Bundle.entry[0].resource")
    await world.accept(order, await a_photograph(world, EYE, basedOn=[{"reference": order.element}]))

    assert await urgencies(world) == ["urgent"]


async def test_a_photograph_of_an_urgent_order_that_came_before_is_urgent(world: World) -> None:
    await world.accept(an_order())
    await world.accept(await a_photograph(world, EYE, **ordered()))

    assert await urgencies(world) == ["urgent"]


async def test_an_order_within_the_photograph_counts(world: World) -> None:
    order = {**an_order().resource, "id": "order"}
    await world.accept(await a_photograph(world, EYE, basedOn=[{"reference": "#order"}], contained=[order]))

    assert await urgencies(world) == ["urgent"]


async def test_the_order_of_the_study_that_a_photograph_is_part_of_counts(world: World) -> None:
    study = an_imaging_study(id="s-1", identifier=None, **ordered())
    await world.accept(an_order(), Entry(study, method="PUT", element="Bundle.entry[1].resource"))
    await world.accept(await a_photograph(world, EYE, partOf=[{"reference": "ImagingStudy/s-1"}]))

    assert await urgencies(world) == ["urgent"]


@pytest.mark.parametrize("priority", ["routine", None])
async def test_any_other_photograph_is_routine(world: World, priority: str | None) -> None:
    await world.accept(an_order(priority=priority))
    await world.accept(await a_photograph(world, EYE, **ordered()))

    assert await urgencies(world) == ["routine"]


async def test_a_sender_says_what_is_of_the_past(world: World) -> None:
    await world.accept(await a_photograph(world, EYE, meta=BACKFILL))

    assert await urgencies(world) == ["backfill"]


async def test_who_waits_for_an_urgent_order_counts_for_more_than_a_tag(world: World) -> None:
    await world.accept(an_order())
    await world.accept(await a_photograph(world, EYE, **ordered(meta=BACKFILL)))

    assert await urgencies(world) == ["urgent"]


@pytest.mark.parametrize(("taken_at", "urgency"), [("2026-10", "backfill"), ("2026-11", "routine"), (None, "routine")])
async def test_an_operator_says_how_old_photographs_of_the_past_are(
    world: World, taken_at: str | None, urgency: str
) -> None:
    photograph = await a_photograph(world, EYE, createdDateTime=taken_at)
    await world.accept(photograph, sender=Sender(old_after=timedelta(days=10)))

    assert await urgencies(world) == [urgency]


async def test_a_study_is_as_urgent_as_the_most_urgent_of_its_photographs(world: World) -> None:
    await world.accept(await a_photograph(world, EYE, **ordered(meta=BACKFILL)))
    assert await urgencies(world) == ["backfill"]

    await world.accept(an_order())
    await world.accept(await a_photograph(world, OTHER_EYE, **ordered()))

    assert await urgencies(world) == ["urgent", "urgent"]


async def test_the_same_photograph_sent_again_for_an_urgent_order_becomes_urgent(world: World) -> None:
    await world.accept(await a_photograph(world, EYE, **ordered()))
    await world.accept(an_order())

    await world.accept(await a_photograph(world, EYE, **ordered()))

    assert await urgencies(world) == ["urgent"]


async def test_an_order_that_becomes_urgent_makes_its_photographs_urgent(world: World) -> None:
    await world.accept(an_order(priority="routine"))
    await world.accept(await a_photograph(world, EYE, **ordered()), await a_photograph(world, OTHER_EYE))

    await world.accept(an_order(priority="stat"))

    assert await urgencies(world) == ["urgent", "routine"]


async def test_an_order_that_is_urgent_no_more_slows_nothing_down(world: World) -> None:
    await world.accept(an_order())
    await world.accept(await a_photograph(world, EYE, **ordered()))

    await world.accept(an_order(priority="routine"))

    assert await urgencies(world) == ["urgent"]


# ----------------------------------------------------------------------------------------------------- who may be so


NOT_COUNTED = {"system": "https://fundus-relay.dev/fhir/CodeSystem/handling", "code": "priority-not-permitted"}
CAMERA, WARD = Sender("camera", may_be_urgent=False), Sender("ward")


async def notes_of(world: World, task_id: str | None) -> list[tuple[str, str]]:
    """Severity and code of what a Task's OperationOutcome says."""
    task = await world.task(task_id)
    return [
        (issue["severity"], issue["details"]["coding"][0]["code"])
        for outcome in task.get("contained", [])
        for issue in outcome["issue"]
    ]


async def test_a_sender_who_may_not_be_urgent_is_taken_as_routine_and_told(world: World) -> None:
    (ordered_so,) = await world.accept(an_order(), sender=CAMERA)
    (taken,) = await world.accept(await a_photograph(world, EYE, **ordered()), sender=CAMERA)

    assert await urgencies(world) == ["routine"]
    for answer, element in ((ordered_so, "ServiceRequest/o-1"), (taken, "Media")):
        assert [(note.element, note.code) for note in answer.notes] == [(element, "urgency-not-permitted")]
    assert await notes_of(world, taken.task_id) == [("warning", "urgency-not-permitted")]
    task = await world.task(taken.task_id)
    assert task["output"][-1]["type"]["text"] == "what was not done as it was asked for"


async def test_nobody_else_is_told_so(world: World) -> None:
    await world.accept(an_order("routine", priority="routine"), sender=CAMERA)
    (calm,) = await world.accept(await a_photograph(world, EYE, **ordered("routine")), sender=CAMERA)
    (urgent_order,) = await world.accept(an_order(), sender=WARD)
    (urgent,) = await world.accept(await a_photograph(world, OTHER_EYE, **ordered()), sender=WARD)

    assert await urgencies(world) == ["routine", "urgent"]
    for answer in (calm, urgent_order, urgent):
        assert answer.notes == ()
    assert [await notes_of(world, each.task_id) for each in (calm, urgent)] == [[], []]


async def test_what_has_the_same_id_as_a_photograph_and_is_another_type_is_not_told_so(world: World) -> None:
    patient = {"resourceType": "Patient", "id": "1", "identifier": [{"value": "1"}]}
    routine = {"resourceType": "ServiceRequest", "id": "1", "subject": {"reference": "Patient/demo-patient"}}
    await world.accept(an_order(), sender=CAMERA)

    answers = await world.accept(
        Entry(patient, method="PUT", element="Bundle.entry[0].resource"),
        Entry(routine, method="PUT", element="Bundle.entry[1].resource"),
        await a_photograph(world, EYE, method="PUT", id="1", **ordered()),
        sender=CAMERA,
    )

    assert [len(answer.notes) for answer in answers] == [0, 0, 1]


async def test_an_old_photograph_of_an_urgent_order_is_of_the_past_still_when_its_sender_may_not_be_urgent(
    world: World,
) -> None:
    await world.accept(an_order(), sender=CAMERA)
    await world.accept(await a_photograph(world, EYE, **ordered(meta=BACKFILL)), sender=CAMERA)

    assert await urgencies(world) == ["backfill"]


async def test_an_order_of_one_who_may_not_be_urgent_hurries_nothing_and_of_one_who_may_it_does(world: World) -> None:
    (taken,) = await world.accept(await a_photograph(world, EYE, **ordered()), sender=CAMERA)
    await world.accept(an_order(), sender=CAMERA)
    assert await urgencies(world) == ["routine"]

    await world.accept(an_order(), sender=WARD)  # the same once more

    assert await urgencies(world) == ["urgent"]
    assert await notes_of(world, taken.task_id) == []


async def test_a_task_says_no_more_that_its_study_is_routine_once_somebody_has_made_it_urgent(world: World) -> None:
    await world.accept(an_order(), sender=CAMERA)
    (taken,) = await world.accept(await a_photograph(world, EYE, **ordered()), sender=CAMERA)
    assert await notes_of(world, taken.task_id) == [("warning", "urgency-not-permitted")]

    await world.accept(an_order(), sender=WARD)
    await world.finish()

    assert await notes_of(world, taken.task_id) == []


async def test_a_photograph_goes_as_its_order_does_whoever_sends_it(world: World) -> None:
    await world.accept(an_order(), sender=WARD)
    (taken,) = await world.accept(await a_photograph(world, EYE, **ordered()), sender=CAMERA)

    assert await urgencies(world) == ["urgent"]
    assert taken.notes == ()
    assert await notes_of(world, taken.task_id) == []


async def test_who_may_not_be_urgent_makes_no_order_of_another_urgent(world: World) -> None:
    await world.accept(an_order(priority="routine"), sender=WARD)
    (raised,) = await world.accept(an_order(), sender=CAMERA)
    (taken,) = await world.accept(await a_photograph(world, EYE, **ordered()), sender=WARD)

    assert await urgencies(world) == ["routine"]
    for answer in (raised, taken):
        assert [note.code for note in answer.notes] == ["urgency-not-permitted"]


@pytest.mark.parametrize(("patient", "expected"), [("demo-patient", "urgent"), ("demo-patient-2", "routine")])
async def test_an_order_that_is_written_again_stays_as_urgent_as_it_was_for_its_patient(
    world: World, patient: str, expected: str
) -> None:
    await world.accept(an_order(), sender=WARD)
    again = an_order(status="completed", subject={"reference": f"Patient/{patient}"})
    await world.accept(again, sender=CAMERA)

    photograph = await a_photograph(world, EYE, **ordered(subject={"reference": f"Patient/{patient}"}))
    await world.accept(photograph, sender=WARD)

    assert await urgencies(world) == [expected]


@pytest.mark.parametrize("sender", [CAMERA, WARD])
async def test_nobody_but_we_says_whether_a_priority_counts(world: World, sender: Sender) -> None:
    other = {"system": "http://hospital.test", "code": "x"}
    said = [other, *([NOT_COUNTED] if sender is WARD else [])]
    (kept,) = await world.accept(an_order(meta={"tag": said}), sender=sender)

    assert kept.resource["meta"]["tag"] == [other, *([NOT_COUNTED] if sender is CAMERA else [])]


@pytest.mark.parametrize(("sender", "expected"), [(CAMERA, "routine"), (WARD, "urgent")])
async def test_a_contained_order_is_no_way_round(world: World, sender: Sender, expected: str) -> None:
    contained = {**an_order().resource, "id": "o"}
    photograph = await a_photograph(world, EYE, contained=[contained], basedOn=[{"reference": "#o"}])

    (taken,) = await world.accept(photograph, sender=sender)

    assert await urgencies(world) == [expected]
    assert len(taken.notes) == (1 if sender is CAMERA else 0)


async def test_a_study_of_an_archive_is_no_way_round(world: World) -> None:
    world.archive.address = "http://pacs.test/dicom-web"
    await world.accept(an_order(), sender=CAMERA)
    (taken,) = await world.accept(an_archived_study(1, **ordered()), sender=CAMERA)

    assert [note.code for note in taken.notes] == ["urgency-not-permitted"]
    assert await notes_of(world, taken.task_id) == [("warning", "urgency-not-permitted")]
    async with connected(world.pool) as connection:
        found = await connection.execute("select urgency from acquisition union all select urgency from study")
        assert [row[0] for row in await found.fetchall()] == ["routine", "routine"]


# ------------------------------------------------------------------------------------------------------- in the queue


@pytest.fixture
def queue(pool: Pool, world: World) -> World:
    """A world whose jobs go into the real queue."""
    ledger = PostgresLedger(pool, world.clock, Engine().enqueue)
    return replace(world, ports=replace(world.ports, ledger=ledger))


async def ids_by_job(world: World, job: Job) -> list[str]:
    """What the engine would run, in its order."""
    async with connected(world.pool) as connection:
        found = await connection.execute(
            "select args ->> 'id' from engine.procrastinate_jobs where task_name = %s and status = 'todo'"
            " order by priority desc, id",
            [job.value],
        )
        return [row[0] for row in await found.fetchall()]


async def test_an_urgent_photograph_overtakes_fifty_that_wait(queue: World, pool: Pool) -> None:
    await queue.accept(*light_entries(50, meta=BACKFILL), *light_entries(50))
    await queue.accept(an_order())
    await queue.accept(*light_entries(1, **ordered()))
    routine, urgent = (await queue.images())[50], (await queue.images())[-1]
    script = Script()

    async with working(pool, PostgresLedger(pool, SystemClock(), Engine().enqueue), script, pace=ONE_BY_ONE):
        begun = [await asyncio.wait_for(script.begun.get(), 10) for _ in range(2)]

    assert begun == [urgent.id, routine.id]


async def test_a_photograph_that_waits_moves_up_when_it_becomes_urgent(queue: World) -> None:
    await queue.accept(*light_entries(20))
    late = light_entries(1, **ordered())[0]
    await queue.accept(late)
    await queue.accept(an_order())

    await queue.accept(late)

    assert (await ids_by_job(queue, Job.IMAGE))[0] == (await queue.images())[20].id


async def test_studies_and_deliveries_of_urgent_photographs_go_first_too(queue: World) -> None:
    await queue.accept(await a_photograph(queue, EYE))
    await queue.accept(an_order())
    await queue.accept(await a_photograph(queue, OTHER_EYE, **ordered()))
    routine, urgent = await queue.images()
    for image in (routine, urgent):
        await queue.run(Job.IMAGE, image.id)

    assert await ids_by_job(queue, Job.STUDY) == [urgent.study_id, routine.study_id]

    await queue.finish()  # polls, and brings what is due
    for image in (routine, urgent):
        await queue.run(Job.IMAGE, image.id)
        await queue.run(Job.STUDY, image.study_id)
    assert await studies_of(queue, await ids_by_job(queue, Job.DELIVERY)) == [urgent.study_id, routine.study_id]


async def studies_of(world: World, deliveries: Sequence[str]) -> list[str]:
    async with world.ports.ledger.transaction() as tx:
        return [found.study_id for id in deliveries if (found := await tx.delivery(id)) is not None]


async def test_reconcile_brings_what_is_urgent_first(world: World) -> None:
    await world.accept(await a_photograph(world, EYE, meta=BACKFILL), await a_photograph(world, OTHER_EYE))
    world.queue.clear()

    old, routine = await world.images()
    found = await world.ports.ledger.overdue(world.clock.now(), 10)

    assert [id for job, id in found if job is Job.IMAGE] == [routine.id, old.id]


async def test_the_analyser_is_asked_for_urgent_images_first(world: World) -> None:
    for urgency in Urgency:  # the urgent one came last
        world.clock.advance(timedelta(seconds=1))
        async with world.ports.ledger.transaction() as tx:
            study = await tx.open_study(uuid4().hex, {"reference": "Patient/1"}, {}, urgency)
            await tx.add_image(an_analysed(study.id, urgency, world))

    due = await world.ports.ledger.due_for_poll(world.clock.now() + timedelta(hours=1), 2)

    assert [each.urgency for each in due] == [Urgency.URGENT, Urgency.ROUTINE]


def an_analysed(study_id: str, urgency: Urgency, world: World) -> Image:
    return Image(
        id=str(uuid4()),
        study_id=study_id,
        media_id="none",
        source=StoredPicture(uuid4().hex * 2, "image/jpeg", 1, Size(1280, 1024)),
        laterality=None,
        state=ImageState.ANALYSING,
        since=world.clock.now(),
        due_at=world.clock.now(),
        job_id=uuid4().hex,
        analysing_since=world.clock.now(),
        urgency=urgency,
    )


# ---------------------------------------------------------------------------------------------------------- in turns


async def tenants_by_turn(world: World) -> list[str]:
    ids = await ids_by_job(world, Job.IMAGE)
    tenant = {image.id: image.tenant for image in await world.images()}
    return [tenant[id] for id in ids]


async def test_a_caller_with_a_burst_does_not_keep_another_waiting(queue: World) -> None:
    for _ in range(3):
        await queue.accept(*light_entries(100), sender=Sender("archive"))
    await queue.accept(*light_entries(10), sender=Sender("clinic"))

    order = await tenants_by_turn(queue)

    assert order[:20].count("clinic") == order[:20].count("archive") == 10


async def test_a_caller_that_comes_late_is_not_paid_for_the_time_before(queue: World) -> None:
    await queue.accept(*light_entries(60), sender=Sender("archive"))
    for image in (await queue.images())[:40]:  # forty are gone
        async with queue.ports.ledger.transaction() as tx:
            await tx.move_image(image, ImageState.REJECTED, reason="picture-damaged")
    await queue.accept(*light_entries(20), sender=Sender("clinic"))

    places = [(image.tenant, image.place) for image in await queue.images()]

    assert places[60:] == [("clinic", place) for place in range(40, 60)]


async def test_a_caller_that_goes_on_and_on_does_not_starve_one_with_a_backlog(queue: World) -> None:
    await queue.accept(*light_entries(10), sender=Sender("archive"))
    served: list[str] = []
    for _ in range(10):
        await queue.accept(*light_entries(2), sender=Sender("stream"))
        waiting = [image for image in await queue.images() if image.state is ImageState.RECEIVED]
        first = min(waiting, key=lambda image: image.place)
        async with queue.ports.ledger.transaction() as tx:
            await tx.move_image(first, ImageState.REJECTED, reason="picture-damaged")
        served.append(first.tenant)

    assert 4 <= served.count("archive") <= 6


@pytest.mark.parametrize("is_first", [True, False])
async def test_a_caller_whose_burst_becomes_urgent_does_not_keep_another_waiting(queue: World, is_first: bool) -> None:
    clinic, archive = Sender("clinic"), Sender("archive")
    await queue.accept(an_order("c"), sender=clinic)
    await queue.accept(an_order("a", priority="routine"), sender=archive)
    await queue.accept(*light_entries(100, **ordered("a")), sender=archive)
    if not is_first:
        await queue.accept(*light_entries(10, **ordered("c")), sender=clinic)
    await queue.accept(an_order("a"), sender=archive)
    if is_first:
        await queue.accept(*light_entries(10, **ordered("c")), sender=clinic)

    order = await tenants_by_turn(queue)

    assert order[:20].count("clinic") == order[:20].count("archive") == 10


async def test_studies_from_an_archive_take_turns_too_and_urgent_ones_go_first(queue: World) -> None:
    queue.archive.address = "http://pacs.test/dicom-web"
    await queue.accept(an_order())
    for tenant, number in (("archive", 1), ("archive", 2), ("archive", 3), ("clinic", 4)):
        await queue.accept(an_archived_study(number), sender=Sender(tenant))
    await queue.accept(an_archived_study(5, **ordered()), sender=Sender("archive"))

    ids = await ids_by_job(queue, Job.ACQUISITION)
    async with queue.ports.ledger.transaction() as tx:
        found = [await tx.acquisition(id) for id in ids]

    assert [each.imaging_study for each in found if each] == ["study-5", "study-1", "study-4", "study-2", "study-3"]


def an_archived_study(number: int, **changes: Any) -> Entry:  # Any: as an_imaging_study
    study = an_imaging_study(f"1.2.{number}", id=f"study-{number}", **changes)
    return Entry(study, method="PUT", element="ImagingStudy")


async def test_a_callers_name_is_kept_with_its_photographs(ledger: PostgresLedger, world: World) -> None:
    ports = world.ports
    entries = Submitted(tuple(light_entries(1)))
    await accept(entries, ledger, ports.blobs, ports.archive, SystemClock(), Sender("clinic-7"))

    (image,) = await world.images()
    assert image.tenant == "clinic-7"
