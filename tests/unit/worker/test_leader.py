"""Rounds of the leader: each is counted by what came of it, and none ends the others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from fundus_relay import metrics
from fundus_relay.domain.errors import StoreUnavailable
from fundus_relay.worker.leader import end, repeat


async def test_every_round_is_counted_by_what_came_of_it() -> None:
    came_of_it: Iterator[Exception | None] = iter([None, StoreUnavailable(), KeyError("Patient/7"), KeyError(), None])
    done = asyncio.Event()

    async def a_round() -> None:
        error = next(came_of_it, done)
        if error is done:
            done.set()
            await asyncio.Event().wait()
        if isinstance(error, Exception):
            raise error

    rounds = asyncio.create_task(repeat(a_round, 0))
    await asyncio.wait_for(done.wait(), 10)
    await end(rounds)

    assert [counted(outcome) for outcome in ("ok", "StoreUnavailable", "KeyError")] == [2, 1, 2]


def counted(outcome: str) -> float | None:
    return metrics.REGISTRY.get_sample_value("fundus_relay_rounds_total", {"task": "a_round", "outcome": outcome})
