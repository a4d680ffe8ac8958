"""Turns at the analyser's account: two pools stand for two processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from fundus_relay.adapters.analyser.turns import TurnsEverywhere, TurnsHere
from fundus_relay.adapters.clock import SystemClock
from fundus_relay.adapters.database.pool import Pool, open_pool
from fundus_relay.domain.urgency import Urgency

MOST = 3


@pytest.fixture
async def other_pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, size=4) as opened:
        yield opened


class Watch:
    """How many calls there are, and were at most."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.order: list[str] = []

    async def call(self, turns: TurnsEverywhere, name: str) -> None:
        async with turns.turn():
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(0.01)
            self.now -= 1
            self.order.append(name)


def turns_of(pool: Pool, *, most: int = MOST, gap: timedelta | None = None, lease_s: float = 20) -> TurnsEverywhere:
    return TurnsEverywhere(pool, SystemClock(), most, gap, lease=timedelta(seconds=lease_s))


async def test_two_processes_together_make_no_more_calls_at_once_than_the_account_allows(
    pool: Pool, other_pool: Pool
) -> None:
    one, other, watch = turns_of(pool), turns_of(other_pool), Watch()

    await asyncio.gather(*(watch.call(turns, "") for turns in (one, other) for _ in range(20)))

    assert watch.most == MOST


async def test_a_process_with_many_calls_lets_another_have_its_one(pool: Pool, other_pool: Pool) -> None:
    one, other, watch = turns_of(pool, most=1), turns_of(other_pool, most=1), Watch()
    many = asyncio.gather(*(watch.call(one, "many") for _ in range(30)))
    async with asyncio.timeout(10):
        while not watch.order:  # noqa: ASYNC110 - it is under way
            await asyncio.sleep(0)

        await watch.call(other, "one")

    assert watch.order.index("one") < 10
    await many


async def test_the_turns_of_a_dead_process_are_free_when_their_time_is_over(pool: Pool, other_pool: Pool) -> None:
    dead = turns_of(pool, most=1, lease_s=1)
    turn = dead.turn()
    await turn.__aenter__()
    assert dead._keeping is not None
    dead._keeping.cancel()  # with its process
    began = time.monotonic()
    async with turns_of(other_pool, most=1).turn():
        waited = time.monotonic() - began

    assert 0.5 < waited < 3
    await turn.__aexit__(None, None, None)


async def test_a_call_that_lasts_longer_than_its_lease_keeps_its_turn(pool: Pool, other_pool: Pool) -> None:
    long, short = turns_of(pool, most=1, lease_s=0.4), turns_of(other_pool, most=1)
    async with long.turn():
        waiting = asyncio.create_task(Watch().call(short, ""))
        ended, _ = await asyncio.wait([waiting], timeout=1.2)
        assert not ended
    await asyncio.wait_for(waiting, 5)


async def test_a_turn_that_fails_or_is_given_up_is_given_back(pool: Pool) -> None:
    turns = turns_of(pool, most=1)
    with pytest.raises(ZeroDivisionError):
        async with turns.turn():
            raise ZeroDivisionError
    held = asyncio.Event()

    async def hold() -> None:
        async with turns.turn():
            held.set()
            await asyncio.Event().wait()

    holding = asyncio.create_task(hold())
    await held.wait()
    holding.cancel()

    await asyncio.wait_for(Watch().call(turns, ""), 2)


async def test_calls_of_all_processes_are_spaced(pool: Pool, other_pool: Pool) -> None:
    gap, watch = timedelta(seconds=0.1), Watch()
    one, other = turns_of(pool, most=9, gap=gap), turns_of(other_pool, most=9, gap=gap)
    began = time.monotonic()

    await asyncio.gather(*(watch.call(turns, "") for turns in (one, other) for _ in range(5)))

    assert time.monotonic() - began > 0.9


async def test_the_most_urgent_call_that_waits_is_next(pool: Pool) -> None:
    turns, order = turns_of(pool, most=1), list[str]()

    async def call(urgency: Urgency) -> None:
        async with turns.turn(urgency):
            order.append(urgency)

    async with turns.turn():
        waiting = [asyncio.create_task(call(urgency)) for urgency in Urgency]
        await asyncio.sleep(0)

    await asyncio.gather(*waiting)
    assert order == ["urgent", "routine", "backfill"]


async def test_one_who_gives_up_waiting_takes_nobodys_turn() -> None:
    turns = TurnsHere(1)

    async def call() -> None:
        async with turns.turn():
            await asyncio.sleep(0)

    async with turns.turn():
        gives_up, too_late, stays = (asyncio.create_task(call()) for _ in range(3))
        await asyncio.sleep(0)
        gives_up.cancel()
    too_late.cancel()  # the turn was handed to it a moment ago
    async with asyncio.timeout(5):
        await stays
        async with turns.turn():
            pass
