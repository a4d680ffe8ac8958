"""A photograph that its sender takes back: not paid when there is time, withdrawn when it was reported."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from tests.fakes.analyser import Fault
from tests.flow.photographs import ERROR, EYE, ORDER, OTHER_EYE, in_error
from tests.flow.world import LEFT, World, a_photograph

from fundus_relay.domain.errors import InvalidResource
from fundus_relay.domain.policy import AmbiguousUpload
from fundus_relay.domain.states import ImageState

pytestmark = pytest.mark.usefixtures("order_at_ehr")


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
    assert {each["status"] for kind in ("DiagnosticReport", "Observation") for each in await world.own(kind)} == {ERROR}
    assert [each["status"] for each in await world.own("Media")] == [ERROR, ERROR]  # the photograph, and its boxes
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
    assert {each["bodySite"]["text"]: each["status"] for each in await world.own("Observation")} == standing
    assert Counter(each["status"] for each in await world.at_ehr("Media")) == {"completed": 2, ERROR: 2}


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
    assert await world.own("Media") == []
