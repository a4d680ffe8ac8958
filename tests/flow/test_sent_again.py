"""What a sender sends again, adds later or corrects: one report, the same money, and no other patient or study."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.flow.photographs import ERROR, EYE, ORDER, OTHER_EYE
from tests.flow.world import LEFT, RIGHT, World, a_photograph

from fundus_relay.domain.errors import InvalidResource
from fundus_relay.domain.laterality import Laterality

pytestmark = pytest.mark.usefixtures("order_at_ehr")


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


async def test_the_panel_of_an_eye_that_was_corrected_is_withdrawn_at_our_endpoint_too(world: World) -> None:
    photograph = await a_photograph(world, EYE, method="PUT", id="m1", bodySite=LEFT)
    await world.accept(photograph)
    await world.finish()

    await world.accept(replace(photograph, resource={**photograph.resource, "bodySite": RIGHT}))
    await world.finish()

    assert [each["status"] for each in await world.own("Observation") if each["bodySite"]["text"] == "Left eye"] == [
        ERROR
    ]


async def test_an_eye_that_a_sender_withdraws_is_no_longer_reported(world: World) -> None:
    photograph = await a_photograph(world, EYE, method="PUT", id="m1", bodySite=LEFT)
    await world.accept(photograph)
    await world.finish()
    withdrawn = {name: value for name, value in photograph.resource.items() if name != "bodySite"}

    await world.accept(replace(photograph, resource=withdrawn))
    await world.finish()

    (presence,) = await world.observations("dr-presence")
    assert presence["bodySite"]["coding"][0]["code"] == "81745001"


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


async def test_the_patient_of_a_media_cannot_be_exchanged(world: World) -> None:
    photograph = await a_photograph(world, EYE, method="PUT", id="m1")
    await world.accept(photograph)
    other = {**photograph.resource, "subject": {"reference": "Patient/second-patient"}}

    with pytest.raises(InvalidResource, match="patient-changed"):
        await world.accept(replace(photograph, resource=other))


async def test_the_pixels_of_a_media_cannot_be_exchanged(world: World) -> None:
    await world.accept(await a_photograph(world, EYE, method="PUT", id="m1"))

    with pytest.raises(InvalidResource, match="picture-changed"):
        await world.accept(await a_photograph(world, OTHER_EYE, method="PUT", id="m1"))


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


async def test_one_picture_as_both_eyes_is_refused(world: World) -> None:
    await world.accept(await a_photograph(world, EYE, bodySite=LEFT))

    with pytest.raises(InvalidResource, match="laterality-conflict"):
        await world.accept(await a_photograph(world, EYE, bodySite=RIGHT))


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
