"""From a photograph to its report, situation by situation: what the EHR gets, what the Task says, what was paid."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from tests.fakes.analyser import NOT_UNDERSTOOD, Fault
from tests.flow.photographs import EYE, ORDER, OTHER_EYE, prepared
from tests.flow.world import LEFT, World, a_photograph

from fundus_relay.domain.analysis import Graded, Lesion, NotFundus, Ungradable
from fundus_relay.domain.errors import InvalidResource
from fundus_relay.domain.geometry import Box
from fundus_relay.domain.states import ImageState
from fundus_relay.pipeline.journey import prepare_image

pytestmark = pytest.mark.usefixtures("order_at_ehr")


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
    world.analyser.conclude(prepared(EYE), seen)
    await world.accept(await a_photograph(world, EYE))

    await world.finish()

    (lesions,) = await world.observations("lesion-regions")
    assert [each["code"]["text"] for each in lesions["component"]] == ["Deep Hemorrhage", "Odd Sign"]
    parts = {part["url"]: part for part in lesions["component"][0]["extension"][0]["extension"]}
    assert [parts[name]["valueDecimal"] for name in ("xMin", "yMin", "xMax", "yMax")] == [10, 20, 30, 44]
    assert parts["source"]["valueString"] == "[10, 20, 30, 44]"


def lesion(literal: str, *box: float) -> Lesion:
    return Lesion(literal, Box(*box), str([int(each) for each in box]))


@pytest.mark.parametrize(
    ("seen", "why"),
    [(Ungradable(), "image-ungradable"), (NotFundus(), "not-a-fundus-image")],
    ids=["ungradable", "not"],
)
async def test_what_cannot_be_judged_has_no_value(world: World, seen: Any, why: str) -> None:
    world.analyser.conclude(prepared(EYE), seen)
    (taken,) = await world.accept(await a_photograph(world, EYE))

    await world.finish()

    for code in ("dr-presence", "referable-dr"):
        (observation,) = await world.observations(code)
        assert "valueCodeableConcept" not in observation
        assert why in [coding["code"] for coding in observation["dataAbsentReason"]["coding"]]
    assert "not detected" not in (await world.report())["conclusion"].lower()
    assert (await world.task(taken.task_id))["status"] == "completed"


async def test_an_eye_that_nobody_stated_is_reported_so(world: World) -> None:
    await world.accept(await a_photograph(world, EYE, bodySite=None))

    await world.finish()

    (presence,) = await world.observations("dr-presence")
    assert presence["bodySite"]["coding"][0]["code"] == "81745001"


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


async def test_a_report_of_several_days_says_so_and_which_image_is_of_which(world: World) -> None:
    world.analyser.conclude(prepared(OTHER_EYE), Graded(True, True))
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
    world.analyser.conclude(prepared(EYE), NOT_UNDERSTOOD)
    await world.accept(
        await a_photograph(world, EYE, basedOn=ORDER), await a_photograph(world, OTHER_EYE, basedOn=ORDER)
    )

    await world.finish()

    assert [each["deviceName"][0]["name"] for each in await world.at_ehr("Device")] == [
        "Fundus Relay stand-in for Netra.AI, no medical device",
        "Fundus Relay",
    ]
