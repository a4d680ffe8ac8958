"""The journey, situation by situation: what the EHR gets, what the Task says, what was paid."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.analyser import NOT_UNDERSTOOD, Fault
from tests.flow.world import LEFT, RIGHT, World, a_photograph
from tests.interruption import Interruption
from tests.unit.imaging.pictures import a_jpeg

from fundus_relay.domain.analysis import Graded, Lesion, NotFundus, Ungradable
from fundus_relay.domain.errors import InvalidResource, UploadAmbiguous
from fundus_relay.domain.geometry import Box
from fundus_relay.domain.laterality import Laterality
from fundus_relay.domain.policy import AmbiguousUpload
from fundus_relay.domain.states import ImageState
from fundus_relay.domain.values import Entry, Upload
from fundus_relay.pipeline.journey import prepare_image
from fundus_relay.pipeline.operator import MayBePaidTwice, Released, release, release_all
from fundus_relay.pipeline.ports import Job
from fundus_relay.pipeline.receipt import keep_receipt
from fundus_relay.pipeline.settle import end

ORDER = [{"reference": "ServiceRequest/77"}]
EYE = a_jpeg(noise=11)
OTHER_EYE = a_jpeg(noise=13)
ERROR = "entered-in-error"


@pytest.fixture(autouse=True)
async def the_order_is_known_at_the_ehr(world: World) -> None:
    order = {"resourceType": "ServiceRequest", "id": "77", "status": "active", "intent": "order"}
    await world.ehr.put("/fhir/ServiceRequest/77", json=order)


def lesion(literal: str, *box: float) -> Lesion:
    return Lesion(literal, Box(*box), str([int(each) for each in box]))


async def test_a_normal_eye_becomes_a_preliminary_report(world: World) -> None:
    (taken,) = await world.accept(await a_photograph(world, EYE))

    await world.finish()

    assert (await world.report())["status"] == "preliminary"
    (presence,) = await world.observations("dr-presence")
    assert presence["valueCodeableConcept"]["text"] == "Not detected"
    assert presence["interpretation"][0]["coding"][0]["code"] == "ND"
    assert (await world.task(taken.task_id))["status"] == "completed"
    assert world.analyser.times_paid == 1


async def test_every_lesion_keeps_its_box_and_its_word(world: World) -> None:
    seen = Graded(True, True, (lesion("Deep Hemorrhage", 10, 20, 30, 44), lesion("Odd Sign", 0, 0, 1280, 1024)))
    world.analyser.conclude(await prepared(world, EYE), seen)
    await world.accept(await a_photograph(world, EYE))

    await world.finish()

    (lesions,) = await world.observations("lesion-regions")
    assert [each["code"]["text"] for each in lesions["component"]] == ["Deep Hemorrhage", "Odd Sign"]
    parts = {part["url"]: part for part in lesions["component"][0]["extension"][0]["extension"]}
    assert [parts[name]["valueDecimal"] for name in ("xMin", "yMin", "xMax", "yMax")] == [10, 20, 30, 44]
    assert parts["source"]["valueString"] == "[10, 20, 30, 44]"


@pytest.mark.parametrize(
    ("seen", "why"),
    [(Ungradable(), "image-ungradable"), (NotFundus(), "not-a-fundus-image")],
    ids=["ungradable", "not"],
)
async def test_what_cannot_be_judged_has_no_value(world: World, seen: Any, why: str) -> None:
    world.analyser.conclude(await prepared(world, EYE), seen)
    (taken,) = await world.accept(await a_photograph(world, EYE))

    await world.finish()

    for code in ("dr-presence", "referable-dr"):
        (observation,) = await world.observations(code)
        assert "valueCodeableConcept" not in observation
        assert why in [coding["code"] for coding in observation["dataAbsentReason"]["coding"]]
    assert "not detected" not in (await world.report())["conclusion"].lower()
    assert (await world.task(taken.task_id))["status"] == "completed"


async def test_an_answer_that_nobody_understands_waits_for_a_person(world: World) -> None:
    world.analyser.conclude(await prepared(world, EYE), NOT_UNDERSTOOD)
    (taken,) = await world.accept(await a_photograph(world, EYE))

    await world.finish()

    assert await world.at_ehr("DiagnosticReport") == []
    task = await world.task(taken.task_id)
    assert (task["status"], task["statusReason"]["coding"][0]["code"]) == ("on-hold", "answer-not-understood")


async def test_a_released_answer_is_fetched_again_and_costs_nothing(world: World) -> None:
    picture = await prepared(world, EYE)
    world.analyser.conclude(picture, NOT_UNDERSTOOD)
    (taken,) = await world.accept(await a_photograph(world, EYE))
    await world.finish()
    world.analyser.conclude(picture, Graded(False, False))

    (image,) = await world.images()
    await release(image.id, world.ports.ledger, world.clock)
    await world.finish()

    assert (await world.task(taken.task_id))["status"] == "completed"
    assert world.analyser.times_paid == 1


async def test_a_failed_analysis_gives_no_report_and_a_failed_task(world: World) -> None:
    world.analyser.strike(Fault.FAILED)
    (taken,) = await world.accept(await a_photograph(world, EYE))

    await world.finish()

    task = await world.task(taken.task_id)
    assert (task["status"], task["statusReason"]["coding"][0]["code"]) == ("failed", "analysis-failed")
    assert task["contained"][0]["resourceType"] == "OperationOutcome"
    assert await world.at_ehr("DiagnosticReport") == []


async def test_an_image_on_hold_does_not_keep_the_other_eye_back(world: World) -> None:
    world.analyser.strike(Fault.HOLD)
    right, left = await world.accept(
        await a_photograph(world, EYE, basedOn=ORDER),
        await a_photograph(world, OTHER_EYE, basedOn=ORDER, bodySite=LEFT),
    )
    await world.finish()
    assert right.task_id == left.task_id
    assert (await world.task(right.task_id))["status"] == "on-hold"
    assert (await world.report())["status"] == "partial"

    for image in await world.images():
        world.analyser.finish(image.job_id or "")
    await world.finish(step=timedelta(minutes=20))

    assert (await world.report())["status"] == "preliminary"
    assert len(await world.observations("dr-presence")) == 2
    assert (await world.task(right.task_id))["status"] == "completed"


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


async def test_a_picture_is_not_decoded_while_another_is(world: World) -> None:
    await world.accept(await a_photograph(world, EYE))
    (image,) = await world.images()

    async with world.ports.decoding:
        preparing = asyncio.create_task(prepare_image(image, world.ports, world.rules))
        await asyncio.wait([preparing], timeout=0.2)
        assert not preparing.done()

    assert await preparing
    (image,) = await world.images()
    assert image.state is ImageState.PREPARED


async def test_the_same_picture_sent_twice_is_paid_once(world: World) -> None:
    (first,) = await world.accept(await a_photograph(world, EYE))
    await world.finish()
    (second,) = await world.accept(await a_photograph(world, EYE))
    await world.finish()

    assert first.task_id != second.task_id
    assert (await world.task(second.task_id))["status"] == "completed"
    assert world.analyser.times_paid == 1
    assert len(await world.at_ehr("DiagnosticReport")) == 1


async def test_the_same_picture_of_another_patient_is_another_analysis(world: World) -> None:
    await world.accept(await a_photograph(world, EYE))
    await world.accept(await a_photograph(world, EYE, subject={"reference": "Patient/second-patient"}))

    await world.finish()

    assert world.analyser.times_paid == 2
    assert len(await world.at_ehr("DiagnosticReport")) == 2


async def test_a_late_image_is_a_revision_of_the_same_report(world: World) -> None:
    await world.accept(await a_photograph(world, EYE, basedOn=ORDER))
    await world.finish()
    before = await world.report()
    await world.accept(await a_photograph(world, OTHER_EYE, basedOn=ORDER, bodySite=LEFT))

    await world.finish()

    after = await world.report()
    assert after["id"] == before["id"]
    assert len(after["result"]) > len(before["result"])
    assert after["basedOn"] == ORDER
    assert len(await world.at_ehr("Provenance")) == 2


async def test_the_eye_that_a_sender_corrects_is_corrected_in_the_report(world: World) -> None:
    photograph = await a_photograph(world, EYE, method="PUT", id="m1", bodySite=LEFT)
    await world.accept(photograph)
    await world.finish()
    corrected = replace(photograph, resource={**photograph.resource, "bodySite": RIGHT})

    await world.accept(corrected)
    await world.finish()

    (presence,) = await world.observations("dr-presence")
    assert presence["bodySite"]["text"] == "Right eye"
    assert world.analyser.times_paid == 1


async def test_an_eye_that_a_sender_withdraws_is_no_longer_reported(world: World) -> None:
    photograph = await a_photograph(world, EYE, method="PUT", id="m1", bodySite=LEFT)
    await world.accept(photograph)
    await world.finish()
    withdrawn = {name: value for name, value in photograph.resource.items() if name != "bodySite"}

    await world.accept(replace(photograph, resource=withdrawn))
    await world.finish()

    (presence,) = await world.observations("dr-presence")
    assert presence["bodySite"]["coding"][0]["code"] == "81745001"


async def test_the_patient_of_a_media_cannot_be_exchanged(world: World) -> None:
    photograph = await a_photograph(world, EYE, method="PUT", id="m1")
    await world.accept(photograph)
    other = {**photograph.resource, "subject": {"reference": "Patient/second-patient"}}

    with pytest.raises(InvalidResource, match="patient-changed"):
        await world.accept(replace(photograph, resource=other))


async def test_a_picture_that_the_study_has_cannot_be_put_in_the_place_of_another(world: World) -> None:
    visit = {"encounter": {"reference": "Encounter/5"}}
    await world.accept(await a_photograph(world, EYE, method="PUT", id="m1", **visit))
    await world.accept(await a_photograph(world, OTHER_EYE, method="PUT", id="m2", bodySite=LEFT, **visit))

    with pytest.raises(InvalidResource, match="picture-changed"):
        await world.accept(await a_photograph(world, OTHER_EYE, method="PUT", id="m1", bodySite=LEFT, **visit))


async def test_a_media_cannot_move_to_a_patient_who_has_the_same_picture(world: World) -> None:
    other = {"subject": {"reference": "Patient/second-patient"}}
    await world.accept(await a_photograph(world, EYE, method="PUT", id="m1"))
    await world.accept(await a_photograph(world, EYE, method="PUT", id="m2", **other))

    with pytest.raises(InvalidResource, match="patient-changed"):
        await world.accept(await a_photograph(world, EYE, method="PUT", id="m1", **other))


async def test_one_picture_as_both_eyes_is_refused(world: World) -> None:
    await world.accept(await a_photograph(world, EYE, bodySite=LEFT))

    with pytest.raises(InvalidResource, match="laterality-conflict"):
        await world.accept(await a_photograph(world, EYE, bodySite=RIGHT))


async def test_an_eye_that_nobody_stated_is_reported_so(world: World) -> None:
    await world.accept(await a_photograph(world, EYE, bodySite=None))

    await world.finish()

    (presence,) = await world.observations("dr-presence")
    assert presence["bodySite"]["coding"][0]["code"] == "81745001"


async def test_the_pixels_of_a_media_cannot_be_exchanged(world: World) -> None:
    await world.accept(await a_photograph(world, EYE, method="PUT", id="m1"))

    with pytest.raises(InvalidResource, match="picture-changed"):
        await world.accept(await a_photograph(world, OTHER_EYE, method="PUT", id="m1"))


# ----------------------------------------------------------------------------------------------------- what may be paid


async def test_an_upload_that_never_arrived_is_sent_again(world: World) -> None:
    world.analyser.strike(Fault.REQUEST_LOST)
    (taken,) = await world.accept(await a_photograph(world, EYE))
    await know_credits(world)

    await world.finish()

    assert (await world.task(taken.task_id))["status"] == "completed"
    assert world.analyser.times_paid == 1
    assert (await world.ports.ledger.census()).possibly_double_spent == 0


async def test_an_upload_that_was_paid_and_lost_waits_for_a_person_by_default(world: World) -> None:
    world.analyser.strike(Fault.ANSWER_LOST)
    (taken,) = await world.accept(await a_photograph(world, EYE))
    await know_credits(world)
    await world.finish()
    assert (await world.task(taken.task_id))["statusReason"]["coding"][0]["code"] == "upload-ambiguous"

    (image,) = await world.images()
    with pytest.raises(MayBePaidTwice):
        await release(image.id, world.ports.ledger, world.clock)
    await release(image.id, world.ports.ledger, world.clock, pay_again=True)
    await world.finish()

    assert (await world.task(taken.task_id))["status"] == "completed"
    assert (await world.ports.ledger.census()).possibly_double_spent == 1


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


def overwrite(folder: Path, name: str) -> None:
    (place,) = folder.rglob(name)
    place.write_bytes(OTHER_EYE)


async def test_a_revision_reaches_the_ehr_though_the_clock_was_set_back(world: World) -> None:
    await world.accept(await a_photograph(world, EYE, basedOn=ORDER))
    await world.finish()
    first = await world.report()

    world.clock.advance(timedelta(hours=-2))
    await world.accept(await a_photograph(world, OTHER_EYE, basedOn=ORDER, bodySite=LEFT))
    await world.finish()

    assert (await world.report())["issued"] > first["issued"]
    assert {each["bodySite"]["text"] for each in await world.at_ehr("Observation")} == {"Right eye", "Left eye"}


async def test_a_report_that_somebody_else_wrote_later_is_not_taken_for_ours(world: World) -> None:
    await world.accept(await a_photograph(world, EYE, basedOn=ORDER))
    await world.finish()
    theirs = {**(await world.report()), "issued": "2026-12-24T09:30:00.000+00:00"}
    await world.ehr.put(f"/fhir/DiagnosticReport/{theirs['id']}", json=theirs)

    (taken,) = await world.accept(await a_photograph(world, OTHER_EYE, basedOn=ORDER, bodySite=LEFT))
    await world.finish()

    task = await world.task(taken.task_id)
    assert task["status"] == "on-hold"
    assert "report-newer" in task["statusReason"]["text"]


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


async def test_a_report_for_an_ehr_that_the_settings_no_longer_name_waits_for_a_person(world: World) -> None:
    (taken,) = await world.accept(await a_photograph(world, EYE))
    await world.ehr_fails(unavailable=1)
    await world.finish(rounds=1)
    await world.run_jobs()
    ehr = dict(world.ports.records)
    world.ports = replace(world.ports, records={"renamed": ehr["ehr"]})
    await world.finish()
    assert (await world.task(taken.task_id))["statusReason"]["coding"][0]["code"] == "destination-unknown"

    world.ports = replace(world.ports, records=ehr)
    await release_all(world.ports.ledger, world.clock, reason="destination-unknown")
    await world.finish()
    assert (await world.task(taken.task_id))["status"] == "completed"
    assert len(await world.at_ehr("DiagnosticReport")) == 1


async def test_resend_once_pays_again_once_and_counts_it(world: World) -> None:
    world.rules = replace(world.rules, ambiguous_upload=AmbiguousUpload.RESEND_ONCE)
    world.analyser.strike(Fault.ANSWER_LOST)
    (taken,) = await world.accept(await a_photograph(world, EYE))
    await know_credits(world)

    await world.finish()

    assert (await world.task(taken.task_id))["status"] == "completed"
    assert world.analyser.times_paid == 2
    assert (await world.ports.ledger.census()).possibly_double_spent == 1


async def test_resend_once_does_not_pay_a_third_time(world: World) -> None:
    world.rules = replace(world.rules, ambiguous_upload=AmbiguousUpload.RESEND_ONCE)
    world.analyser.strike(Fault.ANSWER_LOST, Fault.ANSWER_LOST)
    (taken,) = await world.accept(await a_photograph(world, EYE))
    await know_credits(world)

    await world.finish()

    assert (await world.task(taken.task_id))["status"] == "on-hold"
    assert world.analyser.times_paid == 2


async def test_hold_never_sends_again(world: World) -> None:
    world.rules = replace(world.rules, ambiguous_upload=AmbiguousUpload.HOLD)
    world.analyser.strike(Fault.REQUEST_LOST)
    (taken,) = await world.accept(await a_photograph(world, EYE))

    await world.finish()

    assert (await world.task(taken.task_id))["status"] == "on-hold"
    assert world.analyser.times_paid == 0


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


# ------------------------------------------------------------------------------------------------------------- the EHR


async def test_an_ehr_that_is_busy_is_tried_again_when_it_asked_for(world: World) -> None:
    await world.ehr_fails(unavailable=1, retry_after=600)
    (taken,) = await world.accept(await a_photograph(world, EYE))
    await world.run_jobs()
    await world.finish(rounds=1, step=timedelta(minutes=2))
    assert (await world.task(taken.task_id))["statusReason"]["coding"][0]["code"] == "record-unavailable"

    await world.finish(rounds=2, step=timedelta(minutes=11))

    assert (await world.task(taken.task_id))["status"] == "completed"


@pytest.mark.parametrize("status", [401, 403])
async def test_reports_wait_while_the_ehr_refuses_the_token_and_go_on_by_themselves(world: World, status: int) -> None:
    await world.ehr_fails(refused_status=status)
    taken = [
        (await world.accept(await a_photograph(world, EYE, subject={"reference": f"Patient/{patient}"})))[0]
        for patient in ("demo-patient", "second-patient")
    ]
    await world.finish(rounds=3)
    reasons = [(await world.task(each.task_id))["statusReason"]["coding"][0]["code"] for each in taken]
    assert reasons == ["record-credentials-refused"] * 2
    assert await world.ports.ledger.parked() == []

    await world.ehr_fails()
    await world.finish(rounds=2, step=timedelta(minutes=16))

    assert [(await world.task(each.task_id))["status"] for each in taken] == ["completed"] * 2


async def test_an_ehr_that_stays_away_parks_the_delivery_after_the_horizon(world: World) -> None:
    await world.ehr_fails(unavailable=1000)
    (taken,) = await world.accept(await a_photograph(world, EYE))
    await world.finish(rounds=30, step=timedelta(hours=3))
    assert (await world.task(taken.task_id))["statusReason"]["coding"][0]["code"] == "delivery-horizon-passed"

    await world.ehr_fails()
    (parked,) = await world.ports.ledger.parked()
    await release(parked.id, world.ports.ledger, world.clock)
    await world.finish()

    assert (await world.task(taken.task_id))["status"] == "completed"


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
    await know_credits(world)
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


async def test_an_answer_lost_after_the_write_makes_no_second_report(world: World) -> None:
    await world.ehr_fails(lose_answer=1)
    (taken,) = await world.accept(await a_photograph(world, EYE))

    await world.finish()

    assert (await world.task(taken.task_id))["status"] == "completed"
    assert len(await world.at_ehr("DiagnosticReport")) == 1
    assert len(await world.at_ehr("Provenance")) == 1


async def test_a_patient_that_the_ehr_does_not_know_parks_the_delivery_with_the_reason(world: World) -> None:
    (taken,) = await world.accept(await a_photograph(world, EYE, subject={"reference": "Patient/nobody"}))

    await world.finish()

    task = await world.task(taken.task_id)
    assert task["status"] == "on-hold"
    assert "HAPI-1094" in task["statusReason"]["text"]
    assert "nobody" not in task["statusReason"]["text"]


async def test_a_report_that_a_person_signed_is_never_overwritten(world: World) -> None:
    await world.accept(await a_photograph(world, EYE, basedOn=ORDER))
    await world.finish()
    signed = {**(await world.report()), "status": "final"}
    await world.ehr.put(f"/fhir/DiagnosticReport/{signed['id']}", json=signed)
    (late,) = await world.accept(await a_photograph(world, OTHER_EYE, basedOn=ORDER, bodySite=LEFT))

    await world.finish()

    assert (await world.report())["status"] == "final"
    assert "report-signed" in (await world.task(late.task_id))["statusReason"]["text"]


async def prepared(world: World, picture: bytes) -> str:
    """SHA-256 of what the analyser will get of a picture."""
    from fundus_relay.imaging.preparation import prepare

    return prepare(picture).sha256


async def know_credits(world: World) -> None:
    """As if the account's count had come with an earlier token."""
    async with world.ports.ledger.transaction() as tx:
        await tx.account.confirm_upload(world.analyser.remaining)


# ----------------------------------------------------------------------------------- an answer while the ledger is away


async def test_a_database_that_restarts_during_an_upload_loses_no_answer(
    brittle_world: World, own_database: Path
) -> None:
    world, server = brittle_world, Interruption(own_database)
    world.analyser.when_taken = partial(asyncio.to_thread, server.stop)
    world.clock.meanwhile = once(partial(asyncio.to_thread, server.start))
    (taken,) = await world.accept(await a_photograph(world, EYE))

    await world.finish()

    assert (await world.task(taken.task_id))["status"] == "completed"
    assert world.analyser.times_paid == 1
    assert (await world.ports.ledger.census()).possibly_double_spent == 0
    assert "upload-ambiguous" not in await world.reasons()


async def test_an_answer_outlives_its_job_that_is_cancelled_because_the_database_is_away(
    brittle_world: World, own_database: Path
) -> None:
    world, server, away = brittle_world, Interruption(own_database), asyncio.Event()
    world.analyser.when_taken = partial(asyncio.to_thread, server.stop)

    async def come_back() -> None:
        away.set()
        await asyncio.to_thread(server.start)

    world.clock.meanwhile = once(come_back)
    await world.accept(await a_photograph(world, EYE))
    job = asyncio.create_task(world.run_jobs())
    await away.wait()
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job

    (image,) = await world.images()
    assert (image.state, image.job_id) == (ImageState.ANALYSING, "job-1")


async def test_an_answer_that_comes_after_its_upload_was_given_up_needs_no_person(world: World) -> None:
    async def be_given_up() -> None:
        (image,) = await world.images()
        await end(image, ImageState.PARKED, UploadAmbiguous(), world.ports)

    world.analyser.when_taken = be_given_up
    (taken,) = await world.accept(await a_photograph(world, EYE))

    await world.finish()

    assert (await world.task(taken.task_id))["status"] == "completed"
    assert world.analyser.times_paid == 1
    async with world.ports.ledger.transaction() as tx:
        assert await tx.account.uploads_confirmed() == 0  # marks that were made since count without it


async def test_an_answer_whose_commit_was_not_heard_of_is_counted_once(world: World) -> None:
    await world.accept(await a_photograph(world, EYE))
    await world.run_jobs()
    (image,) = await world.images()
    assert image.job_id is not None
    sending = replace(image, state=ImageState.SENDING, attempt=1)

    await keep_receipt(sending, Upload(image.job_id, 999), world.ports, world.rules)

    async with world.ports.ledger.transaction() as tx:
        assert await tx.account.uploads_confirmed() == 1
    assert (await world.ports.ledger.census()).possibly_double_spent == 0


# ---------------------------------------------------------------------------- a worker that dies with uploads under way


async def test_uploads_of_a_killed_worker_that_were_not_taken_are_all_sent_again(world: World) -> None:
    tasks = await tasks_of(world, 3)
    await kill_during_uploads(world, asked=3)

    await world.finish(rounds=8)

    assert [(await world.task(task))["status"] for task in tasks] == ["completed"] * 3
    assert world.analyser.times_paid == 3
    assert (await world.ports.ledger.census()).possibly_double_spent == 0


async def test_uploads_of_a_killed_worker_are_cleared_although_others_were_confirmed_meanwhile(world: World) -> None:
    tasks = await tasks_of(world, 4)
    await kill_during_uploads(world, asked=3, answered=1)

    await world.finish(rounds=8)

    assert [(await world.task(task))["status"] for task in tasks] == ["completed"] * 4
    assert world.analyser.times_paid == 4


async def test_uploads_of_a_killed_worker_wait_for_a_person_when_one_of_them_was_taken(world: World) -> None:
    tasks = await tasks_of(world, 3)
    await kill_during_uploads(world, asked=2, taken=1)

    await world.finish(rounds=8)

    assert [(await world.task(task))["status"] for task in tasks] == ["on-hold"] * 3
    assert world.analyser.times_paid == 1


async def test_a_top_up_clears_no_upload_that_was_taken(world: World) -> None:
    await tasks_of(world, 2)
    await kill_during_uploads(world, asked=1, taken=1)
    world.analyser.remaining += 100

    await world.finish(rounds=8)

    assert world.analyser.times_paid == 1


async def test_an_upload_that_seems_lost_is_left_alone_for_a_moment(world: World) -> None:
    world.analyser.strike(Fault.REQUEST_LOST)
    await world.accept(await a_photograph(world, EYE))

    await world.run_jobs()

    (image,) = await world.images()
    assert (image.state, image.reason) == (ImageState.SENDING, "upload-ambiguous")
    assert image.due_at == world.clock.now() + world.rules.settle_lost_after


async def test_a_lost_upload_waits_as_long_as_its_credits_cannot_be_counted(world: World) -> None:
    world.analyser.strike(Fault.REQUEST_LOST)
    (taken,) = await world.accept(await a_photograph(world, EYE))
    await know_credits(world)
    await world.run_jobs()
    world.analyser.is_reachable = False
    await world.finish(rounds=3)
    (image,) = await world.images()
    assert (image.state, image.reason) == (ImageState.SENDING, "analyser-unavailable")

    world.analyser.is_reachable = True
    await world.finish()

    assert (await world.task(taken.task_id))["status"] == "completed"
    assert world.analyser.times_paid == 1


async def test_an_upload_that_was_just_taken_by_another_worker_is_waited_for(world: World) -> None:
    await tasks_of(world, 2)
    await kill_during_uploads(world, asked=1)
    lost, other = await world.images()
    await world.run(Job.IMAGE, lost.id)
    is_taken, answered = asyncio.Event(), asyncio.Event()

    async def be_slow() -> None:
        is_taken.set()
        await answered.wait()

    world.analyser.when_taken = be_slow
    living = asyncio.create_task(world.run(Job.IMAGE, other.id))
    await is_taken.wait()

    async def confirm() -> None:
        answered.set()
        await living

    world.clock.meanwhile = once(confirm)
    world.clock.advance(timedelta(minutes=1))
    await world.run(Job.IMAGE, lost.id)

    assert (await world.image(lost.id)).state is ImageState.PREPARED


async def test_an_image_that_waits_for_its_turn_is_not_yet_being_sent(world: World) -> None:
    states = []

    async def look() -> None:
        states.extend(image.state for image in await world.images())

    world.analyser.before_turn = look
    world.analyser.when_asked = look
    await world.accept(await a_photograph(world, EYE))

    await world.run_jobs()

    assert states == [ImageState.PREPARED, ImageState.SENDING]


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


async def tasks_of(world: World, count: int) -> list[str | None]:
    """So many photographs, each of a patient of its own, ready to be sent."""
    await know_credits(world)
    taken = []
    for name in [f"patient-{number}" for number in range(count)]:
        await world.ehr.put(f"/fhir/Patient/{name}", json={"resourceType": "Patient", "id": name})
        photograph = await a_photograph(world, EYE, subject={"reference": f"Patient/{name}"})
        taken.append((await world.accept(photograph))[0].task_id)
    for image in await world.images():
        await prepare_image(image, world.ports, world.rules)
    world.queue.clear()
    return taken


async def kill_during_uploads(world: World, *, asked: int, taken: int = 0, answered: int = 0) -> None:
    """Send all that is ready, and die: some requests were not read, some taken without an answer, some answered."""
    analyser, stalled = world.analyser, asyncio.Semaphore(0)

    async def stall() -> None:
        stalled.release()
        await asyncio.Event().wait()

    images = await world.images()
    analyser.when_asked = stall
    dying = [asyncio.create_task(world.run(Job.IMAGE, image.id)) for image in images[:asked]]
    for _ in dying:
        await stalled.acquire()
    analyser.when_asked = None
    for image in images[asked : asked + answered]:
        await world.run(Job.IMAGE, image.id)
    analyser.when_taken = stall
    dying += [asyncio.create_task(world.run(Job.IMAGE, image.id)) for image in images[asked + answered :][:taken]]
    for _ in range(taken):
        await stalled.acquire()
    analyser.when_taken = None
    for task in dying:
        task.cancel()
    await asyncio.gather(*dying, return_exceptions=True)


def once(happening: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    left = [happening]

    async def happen() -> None:
        if left:
            await left.pop()()

    return happen


# ------------------------------------------------------------------------------------------------- what is taken back


def in_error(photograph: Entry) -> Entry:
    """The same Media as its sender takes it back, without its picture."""
    return replace(photograph, method="PUT", picture=None, resource={**photograph.resource, "status": ERROR})


async def own(world: World, kind: str) -> list[dict[str, Any]]:
    """Resources at our own endpoint."""
    async with world.ports.ledger.transaction() as tx:
        return list((await tx.resources.search(kind, [])).matches)


async def test_a_report_whose_only_photograph_was_an_error_is_withdrawn_once(world: World) -> None:
    photograph = await a_photograph(world, EYE, method="PUT", id="m1")
    (taken,) = await world.accept(photograph)
    await world.finish()

    (first,) = await world.accept(in_error(photograph))
    await world.finish()
    (again,) = await world.accept(in_error(photograph))
    await world.finish()

    assert (await world.report())["status"] == ERROR
    assert {each["status"] for each in await world.at_ehr("Observation")} == {ERROR}
    assert {each["status"] for kind in ("DiagnosticReport", "Observation") for each in await own(world, kind)} == {
        ERROR
    }
    assert [each["status"] for each in await own(world, "Media")] == [ERROR, ERROR]  # the photograph, and its boxes
    assert (await world.task(taken.task_id))["status"] == "cancelled"
    assert (await world.task(taken.task_id))["statusReason"]["coding"][0]["code"] == "media-withdrawn"
    assert len(await world.at_ehr("Provenance")) == 2
    assert (first.is_new, again.is_new) == (True, False)


async def test_the_other_eye_stays_reported_when_one_is_taken_back(world: World) -> None:
    wrong = await a_photograph(world, EYE, method="PUT", id="m1", basedOn=ORDER)
    await world.accept(wrong, await a_photograph(world, OTHER_EYE, basedOn=ORDER, bodySite=LEFT))
    await world.finish()

    await world.accept(in_error(wrong))
    await world.finish()

    assert (await world.report())["status"] == "preliminary"
    standing = {"Right eye": ERROR, "Left eye": "preliminary"}
    assert {each["bodySite"]["text"]: each["status"] for each in await world.at_ehr("Observation")} == standing
    assert {each["bodySite"]["text"]: each["status"] for each in await own(world, "Observation")} == standing
    assert Counter(each["status"] for each in await world.at_ehr("Media")) == {"completed": 2, ERROR: 2}


async def test_what_is_taken_back_before_it_was_sent_is_not_paid(world: World) -> None:
    photograph = await a_photograph(world, EYE, method="PUT", id="m1")
    await world.accept(photograph)

    await world.accept(in_error(photograph))
    await world.finish()

    assert world.analyser.times_paid == 0
    assert await world.at_ehr("DiagnosticReport") == []


async def test_an_analysis_that_ends_after_its_photograph_was_taken_back_changes_nothing(world: World) -> None:
    photograph = await a_photograph(world, EYE, method="PUT", id="m1")
    await world.accept(photograph)
    await world.run_jobs()

    await world.accept(in_error(photograph))
    await world.finish()

    (image,) = await world.images()
    assert (image.state, world.analyser.times_paid) == (ImageState.CANCELLED, 1)
    assert await world.at_ehr("DiagnosticReport") == []


async def test_an_upload_under_way_is_settled_before_its_image_is_cancelled(world: World) -> None:
    photograph = await a_photograph(world, EYE, method="PUT", id="m1")
    await world.accept(photograph)
    (image,) = await world.images()
    async with world.ports.ledger.transaction() as tx:
        ready = await tx.move_image(image, ImageState.PREPARED)
        assert ready is not None
        mark = await tx.account.mark_credits()
        await tx.move_image(ready, ImageState.SENDING, credit_mark=mark, attempt=1)

    await world.accept(in_error(photograph))
    assert (await world.image(image.id)).state is ImageState.SENDING
    await world.finish()

    assert (await world.image(image.id)).state is ImageState.CANCELLED
    assert world.analyser.times_paid == 0


async def test_a_picture_that_was_taken_back_and_is_sent_anew_is_reported_and_paid_once(world: World) -> None:
    photograph = await a_photograph(world, EYE, method="PUT", id="m1")
    (first,) = await world.accept(photograph)
    await world.finish()
    await world.accept(in_error(photograph))
    await world.finish()

    (anew,) = await world.accept(await a_photograph(world, EYE, method="PUT", id="m2", bodySite=LEFT))
    await world.finish()

    assert (await world.report())["status"] == "preliminary"
    assert [each["bodySite"]["text"] for each in await world.observations("dr-presence")] == ["Left eye"]
    assert (await world.task(anew.task_id))["status"] == "completed"
    assert (await world.task(first.task_id))["status"] == "cancelled"
    assert world.analyser.times_paid == 1
    (media,) = await world.photographs()
    assert (media["status"], media["bodySite"]) == ("completed", LEFT)
    assert media["content"]["url"].endswith("/Binary/m2")


async def test_a_picture_that_was_taken_back_while_it_waited_to_be_sent_again_is_sent_anew(world: World) -> None:
    photograph = await a_photograph(world, EYE, method="PUT", id="m1")
    await world.accept(photograph)
    world.analyser.strike(Fault.DECLINED)
    await world.run_jobs()
    (image,) = await world.images()
    assert (image.state, image.reason) == (ImageState.PREPARED, "analyser-declined")

    await world.accept(in_error(photograph))
    await world.finish()
    assert (await world.image(image.id)).state is ImageState.CANCELLED
    await world.accept(await a_photograph(world, EYE, method="PUT", id="m2"))
    await world.finish()

    assert (await world.image(image.id)).state is ImageState.ANSWERED
    assert (await world.report())["status"] == "preliminary"
    assert world.analyser.times_paid == 1


async def test_a_picture_that_may_have_been_paid_still_waits_for_a_person_when_it_is_sent_anew(world: World) -> None:
    world.rules = replace(world.rules, ambiguous_upload=AmbiguousUpload.HOLD)
    photograph = await a_photograph(world, EYE, method="PUT", id="m1")
    await world.accept(photograph)
    world.analyser.strike(Fault.ANSWER_LOST)
    await world.finish()
    (image,) = await world.images()
    assert (image.state, image.reason) == (ImageState.PARKED, "upload-ambiguous")

    await world.accept(in_error(photograph))
    await world.finish()
    assert (await world.image(image.id)).state is ImageState.CANCELLED
    await world.accept(await a_photograph(world, EYE, method="PUT", id="m2"))
    await world.finish()

    image = await world.image(image.id)
    assert (image.state, image.reason) == (ImageState.PARKED, "upload-ambiguous")


async def test_a_photograph_that_came_to_nothing_can_be_taken_back(world: World) -> None:
    photograph = await a_photograph(world, EYE[: len(EYE) // 2] + EYE[-2:], method="PUT", id="m1")
    (taken,) = await world.accept(photograph)
    await world.finish()
    (image,) = await world.images()
    assert image.state is ImageState.REJECTED

    await world.accept(in_error(photograph))
    await world.finish()

    assert (await world.image(image.id)).state is ImageState.CANCELLED
    assert (await world.task(taken.task_id))["status"] == "cancelled"
    assert {each["status"] for each in await world.at_ehr("DiagnosticReport")} <= {ERROR}


async def test_a_corrected_date_reaches_the_report_and_all_that_belongs_to_it(world: World) -> None:
    photograph = await a_photograph(world, EYE, method="PUT", id="m1", createdDateTime="2026-11-22T09:30:00+00:00")
    await world.accept(photograph)
    await world.finish()

    corrected = {**photograph.resource, "createdDateTime": "2026-11-20T09:30:00+00:00"}
    await world.accept(replace(photograph, resource=corrected))
    await world.finish()

    dated = [await world.report(), *(await world.at_ehr("Observation"))]
    assert {each["effectiveDateTime"] for each in dated} == {"2026-11-20T09:30:00+00:00"}
    assert {each["createdDateTime"] for each in await world.at_ehr("Media")} == {"2026-11-20T09:30:00+00:00"}
    assert world.analyser.times_paid == 1


async def test_a_report_of_several_days_says_so_and_which_image_is_of_which(world: World) -> None:
    world.analyser.conclude(await prepared(world, OTHER_EYE), Graded(True, True))
    late = await a_photograph(world, OTHER_EYE, basedOn=ORDER, createdDateTime="2026-11-22T09:30:00+00:00")
    early = await a_photograph(world, EYE, basedOn=ORDER, createdDateTime="2026-11-20")
    await world.accept(late, early)

    await world.finish()

    report = await world.report()
    assert report["effectivePeriod"] == {"start": "2026-11-20", "end": "2026-11-22T09:30:00+00:00"}
    assert (
        "Right eye, image 1 of 2 (2026-11-22) (stand-in, simulated): diabetic retinopathy detected, referable."
        in report["conclusion"]
    )
    assert (
        "Right eye, image 2 of 2 (2026-11-20) (stand-in, simulated): diabetic retinopathy not detected."
        in report["conclusion"]
    )


@pytest.mark.parametrize(
    "other", [{"basedOn": ORDER}, {"encounter": {"reference": "Encounter/5"}}], ids=["order", "visit"]
)
async def test_a_media_does_not_move_to_another_study(world: World, other: dict[str, Any]) -> None:
    photograph = await a_photograph(world, EYE, method="PUT", id="m1")
    await world.accept(photograph)
    await world.finish()

    with pytest.raises(InvalidResource, match="study-changed"):
        await world.accept(replace(photograph, resource={**photograph.resource, **other}))
    await world.finish()

    assert len(await world.images()) == 1
    assert len(await world.at_ehr("DiagnosticReport")) == 1


async def test_one_picture_is_not_of_both_eyes_in_two_studies(world: World) -> None:
    await world.accept(await a_photograph(world, EYE, method="PUT", id="m1"))
    other = await a_photograph(world, EYE, bodySite=LEFT, basedOn=ORDER)

    with pytest.raises(InvalidResource, match="laterality-conflict"):
        await world.accept(other)
    await world.accept(await a_photograph(world, EYE, method="PUT", id="m1", bodySite=LEFT))
    await world.accept(other)

    assert {image.laterality for image in await world.images()} == {Laterality.LEFT}


async def test_the_same_picture_of_somebody_else_may_be_of_the_other_eye(world: World) -> None:
    await world.accept(await a_photograph(world, EYE))
    await world.accept(await a_photograph(world, EYE, bodySite=LEFT, subject={"reference": "Patient/second-patient"}))

    assert len(await world.images()) == 2


@pytest.mark.parametrize(
    ("when", "is_taken"),
    [("2026-11-24T09:29:00Z", True), ("2026-11-24T09:31:00Z", False), ("2026", True), ("2031", False)],
)
async def test_a_photograph_is_not_of_the_future(world: World, when: str, is_taken: bool) -> None:
    photograph = await a_photograph(world, EYE, createdDateTime=when)

    if is_taken:
        assert await world.accept(photograph)
    else:
        with pytest.raises(InvalidResource, match="date-in-future"):
            await world.accept(photograph)


async def test_what_was_not_understood_is_told_of_the_one_who_said_it(world: World) -> None:
    world.analyser.conclude(await prepared(world, EYE), NOT_UNDERSTOOD)
    await world.accept(
        await a_photograph(world, EYE, basedOn=ORDER), await a_photograph(world, OTHER_EYE, basedOn=ORDER)
    )

    await world.finish()

    assert [each["deviceName"][0]["name"] for each in await world.at_ehr("Device")] == [
        "Fundus Relay stand-in for Netra.AI, no medical device",
        "Fundus Relay",
    ]


async def test_a_picture_stands_as_long_as_one_of_its_media_does(world: World) -> None:
    photograph = await a_photograph(world, EYE, method="PUT", id="m1")
    await world.accept(photograph)
    await world.accept(await a_photograph(world, EYE, method="PUT", id="m2"))
    await world.finish()

    await world.accept(in_error(photograph))
    await world.finish()

    (image,) = await world.images()
    assert (image.state, image.media_id) == (ImageState.ANSWERED, "m2")
    assert (await world.report())["status"] == "preliminary"


async def test_a_media_that_was_taken_back_does_not_stand_again(world: World) -> None:
    photograph = await a_photograph(world, EYE, method="PUT", id="m1")
    await world.accept(photograph)
    await world.accept(in_error(photograph))

    with pytest.raises(InvalidResource, match="media-withdrawn"):
        await world.accept(photograph)


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_an_error_that_nobody_knows_is_refused_and_leaves_nothing(world: World, method: str) -> None:
    photograph = in_error(await a_photograph(world, EYE, id="m1"))

    with pytest.raises(InvalidResource, match="media-not-completed"):
        await world.accept(replace(photograph, method=method))

    assert await world.images() == []
    assert await own(world, "Media") == []


async def test_the_panel_of_an_eye_that_was_corrected_is_withdrawn_at_our_endpoint_too(world: World) -> None:
    photograph = await a_photograph(world, EYE, method="PUT", id="m1", bodySite=LEFT)
    await world.accept(photograph)
    await world.finish()

    await world.accept(replace(photograph, resource={**photograph.resource, "bodySite": RIGHT}))
    await world.finish()

    assert [each["status"] for each in await own(world, "Observation") if each["bodySite"]["text"] == "Left eye"] == [
        ERROR
    ]


async def test_the_order_is_named_to_each_reader_as_it_knows_it(world: World) -> None:
    order = Entry(
        {
            "resourceType": "ServiceRequest",
            "status": "active",
            "intent": "order",
            "subject": {"reference": "Patient/demo-patient"},
            "identifier": [{"system": "urn:orders", "value": "77"}],
        },
        element="Bundle.entry[0].resource",
    )
    at_ehr = {**order.resource, "id": "77"}
    await world.ehr.put("/fhir/ServiceRequest/77", json=at_ehr)
    stored, _ = await world.accept(order, await a_photograph(world, EYE, basedOn=[{"reference": order.element}]))

    await world.finish()

    (report,) = await own(world, "DiagnosticReport")
    assert report["basedOn"] == [{"reference": f"ServiceRequest/{stored.resource['id']}"}]
    assert (await world.report())["basedOn"] == [{"reference": "ServiceRequest/77"}]


async def test_an_order_that_the_ehr_does_not_hold_is_named_by_its_identifier(world: World) -> None:
    order = Entry(
        {
            "resourceType": "ServiceRequest",
            "status": "active",
            "intent": "order",
            "subject": {"reference": "Patient/demo-patient"},
            "identifier": [{"system": "urn:orders", "value": "a|b, c"}],
        },
        element="Bundle.entry[0].resource",
    )
    _, taken = await world.accept(order, await a_photograph(world, EYE, basedOn=[{"reference": order.element}]))

    await world.finish()

    named = {"type": "ServiceRequest", "identifier": {"system": "urn:orders", "value": "a|b, c"}}
    assert (await world.report())["basedOn"] == [named]
    assert (await world.task(taken.task_id))["status"] == "completed"


async def test_a_signed_report_whose_photograph_is_taken_back_waits_for_a_person(world: World) -> None:
    photograph = await a_photograph(world, EYE, method="PUT", id="m1")
    (taken,) = await world.accept(photograph)
    await world.finish()
    signed = {**(await world.report()), "status": "final"}
    await world.ehr.put(f"/fhir/DiagnosticReport/{signed['id']}", json=signed)

    await world.accept(in_error(photograph))
    await world.finish()

    task = await world.task(taken.task_id)
    assert task["status"] == "on-hold"
    assert "report-signed" in task["statusReason"]["text"]
