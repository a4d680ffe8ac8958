"""Uploads under way when the ledger goes away or their worker dies: no answer is lost, and nothing is paid twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from tests.fakes.analyser import Fault
from tests.flow.photographs import EYE
from tests.flow.world import World, a_photograph
from tests.interruption import Interruption

from fundus_relay.domain.errors import UploadAmbiguous
from fundus_relay.domain.states import ImageState
from fundus_relay.domain.values import Upload
from fundus_relay.pipeline.journey import prepare_image
from fundus_relay.pipeline.ports import Job
from fundus_relay.pipeline.receipt import keep_receipt
from fundus_relay.pipeline.settle import end


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
    await world.know_credits()
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


async def tasks_of(world: World, count: int) -> list[str | None]:
    """So many photographs, each of a patient of its own, ready to be sent."""
    await world.know_credits()
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
