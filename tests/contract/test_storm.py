"""Transactions under fire: whatever ends one, all of it is there or nothing is, and who was told so was told the truth.

Statements whose answers nobody reads are sent without waiting, so an error of one comes up later, in another's place.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from uuid import uuid4

import psycopg
import pytest

from fundus_relay.adapters.clock import SystemClock
from fundus_relay.adapters.database.ledger import PostgresLedger
from fundus_relay.adapters.database.pool import open_pool
from fundus_relay.adapters.database.transaction import PostgresTransaction
from fundus_relay.pipeline.ports import Job
from fundus_relay.worker.engine import Engine

MANY = 150
COMMON_JOB = str(uuid4())
WHOLE, NOTHING = (1, 3, 1, 1), (0, 0, 0, 0)
COUNTS = """
    select (select count(*) from study where key = %(name)s),
           (select count(*) from resource where kind = 'Patient' and starts_with(id, %(name)s || '-')),
           (select count(*) from study_look join study on study_id = study.id where key = %(name)s),
           (select count(*) from engine.procrastinate_jobs
              join study on lock = 'study:' || study.id where key = %(name)s)
"""

Mishap = Callable[[PostgresTransaction, str], Awaitable[None]]


async def none(_: PostgresTransaction, __: str) -> None:
    """All goes well."""


async def a_late_error(tx: PostgresTransaction, name: str) -> None:
    await tx.resources.add({"resourceType": "Patient", "id": f"{name}-0"})


async def a_swallowed_error(tx: PostgresTransaction, _: str) -> None:
    try:
        await tx.account.confirm_upload(2**40)  # no integer of the column's; nobody reads its answer
        await tx.account.uploads_confirmed()
    except psycopg.Error:
        pass


async def a_bug(_: PostgresTransaction, __: str) -> None:
    raise ZeroDivisionError


MISHAPS: tuple[Mishap, ...] = (none, none, none, a_late_error, a_swallowed_error, a_bug)


@dataclass
class Storm:
    """Many transactions at once, of which some are cancelled, while connections are killed.

    Attributes:
        ended: name → what became of it as its caller was told; True, False, or None when it cannot know.
    """

    ledger: PostgresLedger
    dice: random.Random
    doomed: set[str] = field(default_factory=set)
    ended: dict[str, bool | None] = field(default_factory=dict)

    async def run(self, name: str) -> None:
        writing = asyncio.ensure_future(self._write(name, self.dice.choice(MISHAPS)))
        if self.dice.random() < 0.3:
            asyncio.get_running_loop().call_later(self.dice.random() * 0.03, writing.cancel)
        (how,) = await asyncio.gather(writing, return_exceptions=True)
        self.ended[name] = True if how is None else None if isinstance(how, asyncio.CancelledError) else False

    async def _write(self, name: str, mishap: Mishap) -> None:
        if mishap is not none:
            self.doomed.add(name)
        async with self.ledger.transaction() as tx:
            study = await tx.open_study(name, {"reference": "Patient/1"}, {})
            for number in range(3):
                await tx.resources.add({"resourceType": "Patient", "id": f"{name}-{number}"})
            await mishap(tx, name)
            await tx.enqueue(Job.STUDY, study.id)
            await tx.enqueue(Job.IMAGE, COMMON_JOB)
            await tx.save_study(study)


async def kill_connections(url: str, dice: random.Random, over: asyncio.Event) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        while not over.is_set():
            await connection.execute(
                "select pg_sleep(%s), pg_terminate_backend(pid) from pg_stat_activity"
                " where starts_with(application_name, 'fundus-relay') and datname = current_database()"
                " order by random() limit 1",
                [dice.random() * 0.1],
            )


async def counts(url: str, names: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """What is there of each, as somebody sees it who was not in the storm."""
    async with await psycopg.AsyncConnection.connect(url, options="-c search_path=relay,engine") as connection:
        found = {name: await (await connection.execute(COUNTS, {"name": name})).fetchone() for name in names}
    return {name: row for name, row in found.items() if row is not None}


@pytest.mark.parametrize("seed", [1])
async def test_a_transaction_is_there_as_a_whole_or_not_at_all(database_url: str, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - dice
    over, places = asyncio.Event(), asyncio.Semaphore(12)
    async with open_pool(database_url, size=6) as pool:
        storm = Storm(PostgresLedger(pool, SystemClock(), Engine().enqueue), dice)

        async def one(name: str) -> None:
            async with places:
                await storm.run(name)

        killing = asyncio.create_task(kill_connections(database_url, dice, over))
        await asyncio.gather(*(one(f"study{number}") for number in range(MANY)))
        over.set()
        await killing
    found = await counts(database_url, storm.ended)

    assert set(found.values()) == {WHOLE, NOTHING}
    assert {found[name] for name, well in storm.ended.items() if well} == {WHOLE}
    assert {found[name] for name in storm.doomed} == {NOTHING}
    assert not storm.doomed & {name for name, well in storm.ended.items() if well}
