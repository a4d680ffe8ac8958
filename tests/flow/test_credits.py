"""Credits that are short: what waits for them, for whom the last are kept, and how everything goes on."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.contract.test_analyser import StandinSide
from tests.flow.test_urgency import BACKFILL, an_order, ordered
from tests.flow.world import World, a_photograph
from tests.serving import served
from tests.unit.imaging.pictures import a_jpeg

from fundus_relay.adapters.analyser.netra import NetraAnalyser
from fundus_relay.adapters.analyser.token_row import TokenRow
from fundus_relay.adapters.analyser.turns import TurnsEverywhere
from fundus_relay.adapters.clock import SystemClock
from fundus_relay.adapters.database.pool import Pool, connected
from fundus_relay.domain.credits import Floors
from fundus_relay.domain.geometry import IDENTITY, Size
from fundus_relay.domain.states import ImageState
from fundus_relay.domain.urgency import Urgency
from fundus_relay.domain.values import Image, Pieces, PreparedPicture, StoredPicture, Upload
from fundus_relay.pipeline.journey import advance_image
from fundus_relay.pipeline.operator import release, release_all
from fundus_relay.pipeline.ports import HandIn, Job
from fundus_relay.pipeline.spending import AT_ONCE, COUNT_EVERY, CreditWatch
from fundus_relay.standin.app import standin
from fundus_relay.standin.settings import StandinSettings

EYES = [a_jpeg(noise=number) for number in range(3)]
A_MINUTE = timedelta(minutes=1)


def keeping(world: World, routine: int = 0, backfill: int = 0) -> World:
    return replace(world, rules=replace(world.rules, floors=Floors(routine, backfill)))


async def a_ready_image(world: World, urgency: Urgency = Urgency.ROUTINE, picture: bytes = EYES[0]) -> Image:
    """An image that is prepared, of a study of its own."""
    sha256 = await world.ports.blobs.put(picture)
    source = StoredPicture(sha256, "image/jpeg", len(picture), Size(1280, 1024))
    async with world.ports.ledger.transaction() as tx:
        study = await tx.open_study(uuid4().hex, {"reference": "Patient/1"}, {}, urgency)
        image, _ = await tx.add_image(
            Image(
                id=str(uuid4()),
                study_id=study.id,
                media_id="none",
                source=source,
                laterality=None,
                state=ImageState.PREPARED,
                since=world.clock.now(),
                prepared=PreparedPicture(sha256, "image/jpeg", Size(1280, 1024), IDENTITY),
                urgency=urgency,
            )
        )
    return image


async def knows(world: World, count: int) -> None:
    world.analyser.remaining = count
    await world.analyser.credits()


async def go(world: World, *images: Image) -> list[str]:
    """Let images take their steps, all at once; where they are then."""
    await asyncio.gather(*(advance_image(image.id, world.ports, world.rules) for image in images))
    return [await where(world, image) for image in images]


async def where(world: World, image: Image) -> str:
    now = await world.image(image.id)
    return now.reason if now.due_at is not None and now.reason else now.state.value


async def order_urgently(world: World) -> None:
    """At the EHR, and told to us."""
    await world.ehr.put("/fhir/ServiceRequest/o-1", json=an_order().resource)
    await world.accept(an_order())


async def reason(world: World, task_id: str | None) -> str | None:
    task = await world.task(task_id)
    return next((each["code"] for each in task.get("statusReason", {}).get("coding", [])), None)


async def test_exhaustion_holds_and_more_credits_let_everything_go_on(world: World) -> None:
    world.analyser.remaining = 1
    taken = [(await world.accept(await a_photograph(world, eye)))[0] for eye in EYES]
    await world.finish()

    tasks = [await world.task(each.task_id) for each in taken]
    assert Counter(task["status"] for task in tasks) == {"completed": 1, "in-progress": 2}
    assert Counter([await reason(world, each.task_id) for each in taken]) == {None: 1, "analyser-credits-exhausted": 2}
    said = Counter(task["businessStatus"]["coding"][0]["code"] for task in tasks)
    assert said == {"delivered": 1, "held-for-credits": 2}

    world.analyser.remaining = 10
    await world.finish()

    assert [(await world.task(each.task_id))["status"] for each in taken] == ["completed"] * 3
    assert world.analyser.times_paid == 3
    assert [world.analyser.times_refused, len(await world.at_ehr("DiagnosticReport"))] == [0, 3]


async def test_when_the_analyser_says_that_none_are_left_nobody_else_tries(world: World) -> None:
    await knows(world, 100)
    world.analyser.remaining = 0  # somebody else spent them
    images = [await a_ready_image(world) for _ in range(5)]

    for image in images:
        await go(world, image)

    assert [await where(world, image) for image in images] == ["analyser-credits-exhausted"] * 5
    assert world.analyser.times_refused == 1


async def test_the_count_is_asked_for_once_a_minute_however_much_waits_and_however_often_it_is_looked(
    world: World,
) -> None:
    await knows(world, 0)
    images = [await a_ready_image(world) for _ in range(5)]
    await go(world, *images)
    watch, before = CreditWatch(world.ports, world.rules), world.analyser.times_counted

    for _ in range(30):
        await watch.look()
        world.clock.advance(timedelta(seconds=4))

    assert world.analyser.times_counted - before == 2
    assert await watch.look() == 0


async def test_what_may_not_be_sent_takes_nobodys_turn(world: World) -> None:
    turns: list[str] = []

    async def taken() -> None:
        turns.append("taken")

    world.analyser.before_turn = taken
    await knows(world, 0)

    await go(world, await a_ready_image(world))

    assert turns == []


async def test_nothing_is_asked_when_nothing_waits(world: World) -> None:
    await knows(world, 0)
    before = world.analyser.times_counted

    await CreditWatch(world.ports, world.rules).look()

    assert world.analyser.times_counted == before


async def test_the_last_credits_are_kept_for_what_is_urgent(world: World) -> None:
    world = keeping(world, routine=5)
    await order_urgently(world)
    await knows(world, 5)

    (routine,) = await world.accept(await a_photograph(world, EYES[0]))
    (urgent,) = await world.accept(await a_photograph(world, EYES[1], **ordered()))
    await world.finish()

    assert (await world.task(urgent.task_id))["status"] == "completed"
    assert await reason(world, routine.task_id) == "analyser-credits-reserved"
    assert (await world.task(routine.task_id))["status"] == "in-progress"


async def test_backfill_stops_first(world: World) -> None:
    world = keeping(world, routine=2, backfill=10)
    await knows(world, 10)

    (old,) = await world.accept(await a_photograph(world, EYES[0], meta=BACKFILL))
    (routine,) = await world.accept(await a_photograph(world, EYES[1]))
    await world.finish()

    assert (await world.task(routine.task_id))["status"] == "completed"
    assert await reason(world, old.task_id) == "analyser-credits-reserved"


async def test_the_last_credits_are_kept_although_uploads_tell_no_count(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = keeping(world, 3)
    ready = world.analyser.ready

    @asynccontextmanager
    async def silent(urgency: Urgency = Urgency.ROUTINE) -> AsyncIterator[HandIn]:
        async with ready(urgency) as hand_in:

            async def tell_nothing(picture: Pieces, media_type: str, label: str) -> Upload:
                return replace(await hand_in(picture, media_type, label), remaining=None)

            yield tell_nothing

    monkeypatch.setattr(world.analyser, "ready", silent)
    await knows(world, 5)

    for image in [await a_ready_image(world) for _ in range(4)]:
        await go(world, image)

    assert world.analyser.remaining == 3


@pytest.mark.parametrize("floor", [0, 3])
async def test_senders_at_the_same_moment_do_not_spend_what_is_kept(world: World, floor: int) -> None:
    world = keeping(world, routine=floor)
    await knows(world, floor + 1)
    images = [await a_ready_image(world) for _ in range(6)]

    found = await go(world, *images)

    assert found.count("analysing") == 1
    assert world.analyser.remaining == floor


async def test_more_credits_go_to_what_is_urgent_then_to_whose_turn_it_is(world: World) -> None:
    await knows(world, 0)
    order = (Urgency.BACKFILL, Urgency.ROUTINE, Urgency.ROUTINE, Urgency.URGENT)
    images = [await a_ready_image(world, urgency) for urgency in order]
    await go(world, *images)
    world.queue.clear()

    world.analyser.remaining = 3
    await CreditWatch(world.ports, world.rules).look()

    assert {id for job, id in world.queue if job is Job.IMAGE} == {images[3].id, images[1].id, images[2].id}


async def test_a_large_sum_of_credits_wakes_only_as_many_as_are_sent_soon(world: World) -> None:
    await knows(world, 0)
    async with connected(world.pool) as connection:
        await hold_many(connection, 3 * AT_ONCE, world.clock.now() + timedelta(hours=1))
    watch = CreditWatch(world.ports, world.rules)
    world.analyser.remaining = 10_000

    assert [await watch.look(), await watch.look()] == [AT_ONCE, 0]

    async with connected(world.pool) as connection:
        await connection.execute("update image set state = 'sending' where due_at is null")
        await connection.execute("update image set state = 'analysing' where due_at is null")
    assert await watch.look() == AT_ONCE


async def hold_many(connection: Any, number: int, due_at: Any) -> None:  # Any: a connection, a moment
    await connection.execute(
        "insert into study (id, key, subject, context, state)"
        " select gen_random_uuid(), n::text, '{}', '{}', 'collecting' from generate_series(1, %s) as n",
        [number],
    )
    await connection.execute(
        "insert into image (id, study_id, media_id, source, source_sha256, state, since, due_at, reason)"
        " select gen_random_uuid(), id, 'none', '{}', key, 'prepared', now(), %s, 'analyser-credits-exhausted'"
        " from study",
        [due_at],
    )


async def test_what_is_held_looks_for_itself_should_nobody_let_it_go(world: World) -> None:
    await knows(world, 0)
    image = await a_ready_image(world)
    await go(world, image)
    await knows(world, 10)

    world.clock.advance(timedelta(hours=2))
    await world.reconcile()
    await world.run_jobs()

    assert await where(world, image) == "analysing"


async def test_an_operator_who_bought_credits_need_not_wait_for_the_next_count(world: World) -> None:
    await knows(world, 0)
    image = await a_ready_image(world)
    await go(world, image)
    world.analyser.remaining = 10
    world.clock.advance(timedelta(seconds=1))

    await release_all(world.ports.ledger, world.clock, reason="analyser-credits-exhausted")
    await world.run_jobs()

    assert await where(world, image) == "analysing"


async def test_an_operators_release_of_many_asks_for_the_count_once(world: World) -> None:
    await knows(world, 0)
    images = [await a_ready_image(world) for _ in range(4)]
    await go(world, *images)
    world.analyser.remaining = 2
    before = world.analyser.times_counted
    world.clock.advance(timedelta(seconds=1))
    began = world.clock.now()

    for image in images:
        await release(image.id, world.ports.ledger, world.clock, asked_at=began)
        await world.run_jobs()
        world.clock.advance(timedelta(seconds=1))

    assert [await where(world, image) for image in images] == ["analysing"] * 2 + ["analyser-credits-exhausted"] * 2
    assert world.analyser.times_counted == before + 1


async def test_an_account_that_tells_no_count_is_tried_again_every_minute(world: World) -> None:
    world.analyser.tells_credits = False
    world.analyser.remaining = 0
    images = [await a_ready_image(world) for _ in range(3)]
    watch = CreditWatch(world.ports, world.rules)
    for image in images:
        await go(world, image)
    assert world.analyser.times_refused == 1

    for _ in range(2):
        world.clock.advance(timedelta(seconds=1))
        await watch.look()
        await world.run_jobs()
    assert world.analyser.times_refused == 2

    world.analyser.remaining = 10
    world.clock.advance(COUNT_EVERY)
    await watch.look()
    await world.run_jobs()

    assert [await where(world, image) for image in images] == ["analysing"] * 3


async def test_an_image_that_waits_for_credits_goes_when_it_becomes_urgent(world: World) -> None:
    world = keeping(world, routine=5)
    await knows(world, 5)
    photograph = await a_photograph(world, EYES[0], **ordered())
    (taken,) = await world.accept(photograph)
    await world.run_jobs()
    assert await reason(world, taken.task_id) == "analyser-credits-reserved"

    await order_urgently(world)
    await world.run_jobs()
    assert [image.state for image in await world.images()] == [ImageState.ANALYSING]  # nobody had to let it go
    await world.finish()

    assert (await world.task(taken.task_id))["status"] == "completed"


async def test_a_photograph_that_is_taken_back_waits_for_no_credits(world: World) -> None:
    await knows(world, 0)
    photograph = await a_photograph(world, EYES[0], method="PUT", id="m-1")
    (taken,) = await world.accept(photograph)
    await world.run_jobs()

    withdrawn = {**photograph.resource, "status": "entered-in-error"}
    await world.accept(replace(photograph, resource=withdrawn, picture=None))
    await world.finish()

    assert (await world.task(taken.task_id))["status"] == "cancelled"
    assert not await world.ports.ledger.is_any_held()


# ----------------------------------------------------------------------------- with the real adapter and the stand-in


@pytest.fixture
async def standin_side() -> AsyncIterator[StandinSide]:
    async with AsyncExitStack() as stack:
        serving = await stack.enter_async_context(AsyncExitStack())
        url = await serving.enter_async_context(served(standin(StandinSettings(analyser="instant"))))
        admin = await stack.enter_async_context(httpx.AsyncClient(base_url=url, trust_env=False))
        yield StandinSide(url, serving, admin)


async def test_an_account_that_is_emptied_and_filled_behind_our_back_holds_and_goes_on(
    world: World, pool: Pool, standin_side: StandinSide
) -> None:
    turns = TurnsEverywhere(pool, SystemClock(), 4, None)
    async with NetraAnalyser(standin_side.account, TokenRow(pool), world.clock, turns=turns) as netra:
        ours = replace(world, ports=replace(world.ports, analyser=netra))
        await netra.credits()
        await standin_side.set_credits(1)  # of a thousand that we know of
        images = [await a_ready_image(ours, picture=a_jpeg(noise=number)) for number in range(4)]
        for image in images:
            await go(ours, image)
        assert Counter([await where(ours, image) for image in images]) == {
            "analysing": 1,
            "analyser-credits-exhausted": 3,
        }

        await standin_side.set_credits(10)
        await CreditWatch(ours.ports, ours.rules).look()
        await ours.run_jobs()

        assert [await where(ours, image) for image in images] == ["analysing"] * 4
        assert (await ours.ports.ledger.census()).credits == 7


# ------------------------------------------------------------------------------------- whatever comes in which order

ARRIVAL, SPENT, BOUGHT = "arrival", "spent", "bought"
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just(ARRIVAL), st.sampled_from(Urgency)),
        st.tuples(st.just(SPENT), st.integers(1, 3)),
        st.tuples(st.just(BOUGHT), st.integers(1, 6)),
    ),
    max_size=10,
)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=EVENTS, routine=st.integers(0, 3), backfill=st.integers(0, 3))
async def test_floors_hold_nobody_waits_for_ever_and_what_is_urgent_waits_for_no_credit_that_is_there(
    world: World, events: Sequence[tuple[str, Any]], routine: int, backfill: int
) -> None:
    """Events: photographs come, others spend credits, somebody buys some. After each, all that may go goes."""
    async with connected(world.pool) as connection:
        await connection.execute("update image set state = 'cancelled'")
        await connection.execute("update account set exhausted_at = null")
    world.queue.clear()
    world = keeping(world, routine, backfill)
    watched = _Watched(world)
    await knows(world, 4)
    watch = CreditWatch(world.ports, world.rules)

    for what, much in events:
        if what == ARRIVAL:
            image = await a_ready_image(world, much)
            watched.urgencies[image.id] = much
            world.queue.append((Job.IMAGE, image.id))
        else:
            world.analyser.remaining = max(0, world.analyser.remaining + (much if what == BOUGHT else -much))
        await _settle(world, watch)
        await watched.none_waits_that_may_go()

    await knows(world, 1000)
    await _settle(world, watch)
    assert {await where(world, await world.image(id)) for id in watched.urgencies} <= {"analysing"}


async def _settle(world: World, watch: CreditWatch) -> None:
    """The engine runs what is queued, and a minute later the count is asked for."""
    await world.run_jobs()
    world.clock.advance(A_MINUTE)
    await watch.look()
    await world.run_jobs()


class _Watched:
    """What is true of each upload as it leaves, and of each image that waits."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.urgencies: dict[str, Urgency] = {}
        world.analyser.when_asked = self._leaves

    async def _leaves(self) -> None:
        async with self.world.ports.ledger.transaction() as tx:
            credits = await tx.account.credits()
        (leaving,) = [each for each in await self.world.images() if each.state is ImageState.SENDING]
        floors = self.world.rules.floors
        floor = {Urgency.URGENT: 0, Urgency.ROUTINE: floors.routine}.get(
            leaving.urgency, max(floors.routine, floors.backfill)
        )
        if credits.remaining is not None:
            assert credits.remaining > floor, "it is under way itself: one more than the floor has to be there"

    async def none_waits_that_may_go(self) -> None:
        left, floors = self.world.analyser.remaining, self.world.rules.floors
        for id, urgency in self.urgencies.items():
            if await where(self.world, await self.world.image(id)) != "analysing":
                floor = {Urgency.URGENT: 0, Urgency.ROUTINE: floors.routine}
                assert left <= floor.get(urgency, max(floors.routine, floors.backfill))
