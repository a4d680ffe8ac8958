"""What waits, for a person or by itself: what its Task says, who is told, and how it goes on."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.fakes.analyser import NOT_UNDERSTOOD, Fault
from tests.flow.photographs import EYE, OTHER_EYE, prepared
from tests.flow.world import World, a_photograph

from fundus_relay.domain.analysis import Graded
from fundus_relay.domain.states import ImageState
from fundus_relay.pipeline.journey import prepare_image
from fundus_relay.pipeline.operator import Released, release, release_all


async def test_an_answer_that_nobody_understands_waits_for_a_person(world: World) -> None:
    world.analyser.conclude(prepared(EYE), NOT_UNDERSTOOD)
    (taken,) = await world.accept(await a_photograph(world, EYE))

    await world.finish()

    assert await world.at_ehr("DiagnosticReport") == []
    task = await world.task(taken.task_id)
    assert (task["status"], task["statusReason"]["coding"][0]["code"]) == ("on-hold", "answer-not-understood")


async def test_a_released_answer_is_fetched_again_and_costs_nothing(world: World) -> None:
    picture = prepared(EYE)
    world.analyser.conclude(picture, NOT_UNDERSTOOD)
    (taken,) = await world.accept(await a_photograph(world, EYE))
    await world.finish()
    world.analyser.conclude(picture, Graded(False, False))

    (image,) = await world.images()
    await release(image.id, world.ports.ledger, world.clock)
    await world.finish()

    assert (await world.task(taken.task_id))["status"] == "completed"
    assert world.analyser.times_paid == 1


async def test_an_analyser_that_stays_silent_parks_the_image_and_a_person_may_ask_again(world: World) -> None:
    world.analyser.strike(Fault.STUCK)
    (taken,) = await world.accept(await a_photograph(world, EYE))
    await world.finish(rounds=12)
    (image,) = await world.images()
    assert (image.state, image.reason) == (ImageState.PARKED, "analyser-silent")

    world.analyser.finish(image.job_id or "")
    await release(image.id, world.ports.ledger, world.clock)
    await world.finish()

    assert (await world.task(taken.task_id))["status"] == "completed"
    assert world.analyser.times_paid == 1


async def test_an_analyser_out_of_reach_is_waited_for_and_the_task_says_so(world: World) -> None:
    world.analyser.is_reachable = False
    (taken,) = await world.accept(await a_photograph(world, EYE))
    await world.run_jobs()
    assert (await world.task(taken.task_id))["statusReason"]["coding"][0]["code"] == "analyser-unavailable"

    world.analyser.is_reachable = True
    await world.finish(step=timedelta(minutes=20))

    assert (await world.task(taken.task_id))["status"] == "completed"


async def test_an_account_without_credits_holds_images_until_there_are_some(world: World) -> None:
    world.analyser.remaining = 0
    (taken,) = await world.accept(await a_photograph(world, EYE))
    await world.finish()
    assert (await world.task(taken.task_id))["statusReason"]["coding"][0]["code"] == "analyser-credits-exhausted"

    world.analyser.remaining = 5
    await world.finish(step=timedelta(minutes=20))

    assert (await world.task(taken.task_id))["status"] == "completed"


async def test_a_no_that_nobody_understands_is_tried_some_times_and_then_left_to_a_person(world: World) -> None:
    world.analyser.strike(*[Fault.DECLINED] * world.rules.most_declines)
    (taken,) = await world.accept(await a_photograph(world, EYE))
    await world.finish(rounds=world.rules.most_declines + 1, step=timedelta(minutes=16))
    reason = (await world.task(taken.task_id))["statusReason"]
    assert reason["coding"][0]["code"] == "analyser-declined"
    assert reason["text"].endswith("LC-ERR-0099")

    (parked,) = await world.ports.ledger.parked()
    await release(parked.id, world.ports.ledger, world.clock)
    await world.finish()

    assert (await world.task(taken.task_id))["status"] == "completed"
    assert world.analyser.times_paid == 1


async def test_a_no_that_passes_needs_no_person(world: World) -> None:
    world.analyser.strike(*[Fault.DECLINED] * (world.rules.most_declines - 1))
    (taken,) = await world.accept(await a_photograph(world, EYE))

    await world.finish(rounds=world.rules.most_declines + 2, step=timedelta(minutes=16))

    assert (await world.task(taken.task_id))["status"] == "completed"


@pytest.mark.parametrize("stage", ["before it was prepared", "before it was sent"])
async def test_a_picture_that_the_store_has_lost_waits_for_a_person_and_can_come_back(world: World, stage: str) -> None:
    (taken,) = await world.accept(await a_photograph(world, EYE))
    (image,) = await world.images()
    lost = image.source.sha256
    if stage == "before it was sent":
        await prepare_image(image, world.ports, world.rules)
        kept = (await world.image(image.id)).prepared
        assert kept is not None
        lost = kept.sha256
    assert await world.ports.blobs.discard(lost, kept_before=datetime.now(UTC) + timedelta(hours=1))

    await world.finish()
    assert (await world.task(taken.task_id))["statusReason"]["coding"][0]["code"] == "picture-lost"

    await world.ports.blobs.put(EYE)
    await release(image.id, world.ports.ledger, world.clock)
    await world.finish()
    assert (await world.task(taken.task_id))["status"] == "completed"
    assert world.analyser.times_paid == 1


async def test_other_bytes_in_the_place_of_a_picture_on_its_way_are_not_paid(world: World, tmp_path: Path) -> None:
    (taken,) = await world.accept(await a_photograph(world, EYE))
    (image,) = await world.images()
    await prepare_image(image, world.ports, world.rules)
    kept = (await world.image(image.id)).prepared
    assert kept is not None

    async def replace_it() -> None:
        overwrite(tmp_path, kept.sha256)

    world.analyser.when_asked = replace_it
    await world.finish()

    assert world.analyser.times_paid == 0
    assert (await world.task(taken.task_id))["statusReason"]["coding"][0]["code"] == "picture-lost"


async def test_other_bytes_in_the_place_of_a_picture_are_not_analysed(world: World, tmp_path: Path) -> None:
    (taken,) = await world.accept(await a_photograph(world, EYE))
    (image,) = await world.images()
    overwrite(tmp_path, image.source.sha256)

    await world.finish()

    assert (await world.task(taken.task_id))["statusReason"]["coding"][0]["code"] == "picture-lost"
    assert world.analyser.times_paid == 0


def overwrite(folder: Path, name: str) -> None:
    (place,) = folder.rglob(name)
    place.write_bytes(OTHER_EYE)


async def test_everything_that_waits_for_one_reason_is_let_go_at_once(world: World) -> None:
    world.analyser.remaining = 0
    taken = [(await world.accept(await a_photograph(world, eye)))[0] for eye in (EYE, OTHER_EYE)]
    await world.run_jobs()
    world.analyser.remaining = 10
    await world.run_jobs()  # nothing is due
    assert [(await world.task(each.task_id))["status"] for each in taken] == ["in-progress"] * 2

    world.clock.advance(timedelta(seconds=1))
    released = await release_all(world.ports.ledger, world.clock, reason="analyser-credits-exhausted")
    await world.run_jobs()

    assert released == Released(count=2, left=0)
    assert [image.state for image in await world.images()] == [ImageState.ANALYSING] * 2


async def test_all_that_is_parked_is_let_go_but_what_may_have_been_paid(world: World) -> None:
    world.analyser.strike(Fault.ANSWER_LOST)
    await world.accept(await a_photograph(world, EYE))
    await world.know_credits()
    await world.finish(rounds=1)
    await world.ehr_fails(refuse_labels=1)
    await world.accept(await a_photograph(world, OTHER_EYE))
    await world.finish(rounds=2)
    await world.ehr_fails()
    assert {each.subject for each in await world.ports.ledger.parked()} == {"image", "delivery"}

    assert await release_all(world.ports.ledger, world.clock) == Released(count=1, left=1)
    assert await release_all(world.ports.ledger, world.clock, pay_again=True) == Released(count=1, left=0)
    await world.finish()

    assert len(await world.at_ehr("DiagnosticReport")) == 2
    assert await world.ports.ledger.parked() == []


async def test_waiting_is_told_once_for_a_reason_and_parking_always(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="fundus_relay.adapters.database.moves")
    await world.ehr_fails(unavailable=1000)
    await world.accept(await a_photograph(world, EYE))
    await world.finish(rounds=30, step=timedelta(hours=3))

    told = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [(each.message, vars(each)["reason"]) for each in told] == [
        ("waits", "record-unavailable"),
        ("parked", "delivery-horizon-passed: record-unavailable"),
    ]
    assert {vars(each)["subject"] for each in told} == {"delivery"}
    assert all(vars(each)["delivery"] and vars(each)["study"] for each in told)


async def test_an_analyser_that_answers_no_question_is_told_of(world: World, caplog: pytest.LogCaptureFixture) -> None:
    await world.accept(await a_photograph(world, EYE))
    await world.run_jobs()
    world.analyser.is_reachable = False

    await world.finish(rounds=1)

    (told,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert (told.message, vars(told)["count"], vars(told)["code"]) == ("poll-put-off", 1, "analyser-unavailable")


async def test_an_image_that_waits_for_credits_is_told_of_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.analyser.remaining = 0
    await world.accept(await a_photograph(world, EYE))
    await world.finish(rounds=6, step=timedelta(minutes=20))

    told = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [(each.message, vars(each)["reason"]) for each in told] == [("waits", "analyser-credits-exhausted")]
