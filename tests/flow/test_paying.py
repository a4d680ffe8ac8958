"""What may be paid: an upload whose answer got lost, by the policy that the operator chose."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.fakes.analyser import Fault
from tests.flow.photographs import EYE
from tests.flow.world import World, a_photograph

from fundus_relay.domain.policy import AmbiguousUpload
from fundus_relay.domain.states import ImageState
from fundus_relay.pipeline.operator import MayBePaidTwice, release


async def test_an_upload_that_never_arrived_is_sent_again(world: World) -> None:
    world.analyser.strike(Fault.REQUEST_LOST)
    (taken,) = await world.accept(await a_photograph(world, EYE))
    await world.know_credits()

    await world.finish()

    assert (await world.task(taken.task_id))["status"] == "completed"
    assert world.analyser.times_paid == 1
    assert (await world.ports.ledger.census()).possibly_double_spent == 0


async def test_an_upload_that_was_paid_and_lost_waits_for_a_person_by_default(world: World) -> None:
    world.analyser.strike(Fault.ANSWER_LOST)
    (taken,) = await world.accept(await a_photograph(world, EYE))
    await world.know_credits()
    await world.finish()
    assert (await world.task(taken.task_id))["statusReason"]["coding"][0]["code"] == "upload-ambiguous"

    (image,) = await world.images()
    with pytest.raises(MayBePaidTwice):
        await release(image.id, world.ports.ledger, world.clock)
    await release(image.id, world.ports.ledger, world.clock, pay_again=True)
    await world.finish()

    assert (await world.task(taken.task_id))["status"] == "completed"
    assert (await world.ports.ledger.census()).possibly_double_spent == 1


async def test_resend_once_pays_again_once_and_counts_it(world: World) -> None:
    world.rules = replace(world.rules, ambiguous_upload=AmbiguousUpload.RESEND_ONCE)
    world.analyser.strike(Fault.ANSWER_LOST)
    (taken,) = await world.accept(await a_photograph(world, EYE))
    await world.know_credits()

    await world.finish()

    assert (await world.task(taken.task_id))["status"] == "completed"
    assert world.analyser.times_paid == 2
    assert (await world.ports.ledger.census()).possibly_double_spent == 1


async def test_resend_once_does_not_pay_a_third_time(world: World) -> None:
    world.rules = replace(world.rules, ambiguous_upload=AmbiguousUpload.RESEND_ONCE)
    world.analyser.strike(Fault.ANSWER_LOST, Fault.ANSWER_LOST)
    (taken,) = await world.accept(await a_photograph(world, EYE))
    await world.know_credits()

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


async def test_an_image_that_waits_for_its_turn_is_not_yet_being_sent(world: World) -> None:
    states = []

    async def look() -> None:
        states.extend(image.state for image in await world.images())

    world.analyser.before_turn = look
    world.analyser.when_asked = look
    await world.accept(await a_photograph(world, EYE))

    await world.run_jobs()

    assert states == [ImageState.PREPARED, ImageState.SENDING]
