"""Turns at the analyser's account, over all processes: how many calls at once, and how often.

How this works. A turn is a row with a holder and a time; while the call lasts its process puts the time off, so the
turn of one that died is free after `LEASE`. Who finds no row free waits in front of it with a lock that the database
hands on in the order of asking, so no process with many calls keeps another from having its one; within a process the
most urgent call goes first. A call that may not begin yet takes its place in `analyser_pace` and waits for it. The rows
tell how many calls there are even when the database was restarted meanwhile; while it is away no call begins.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import timedelta
from typing import Protocol
from uuid import UUID, uuid4

import psycopg

from fundus_relay.adapters.database.pool import Pool, connected
from fundus_relay.domain.errors import StoreUnavailable
from fundus_relay.domain.urgency import Urgency, priority
from fundus_relay.pipeline.ports import Clock

LEASE = timedelta(seconds=20)
LOOK_EVERY = timedelta(milliseconds=50)

QUEUE = 0x46756E6475735475
"""Key of the advisory lock."""

_MAKE = "insert into analyser_turn (number) select generate_series(1, %s) on conflict do nothing"

_TAKE = """
    update analyser_turn set holder = %(holder)s, until = clock_timestamp() + %(lease)s
     where number = (select number from analyser_turn
                      where number <= %(most)s and until < clock_timestamp() limit 1 for update)
    returning set_config('synchronous_commit', 'off', true)
"""
"""What a crash of the database takes away is a turn that is held by nobody, or by one who puts it off again."""

_PUT_OFF = "update analyser_turn set until = clock_timestamp() + %s where holder = any(%s)"
_GIVE_BACK = "update analyser_turn set until = '-infinity', holder = null where holder = %s"

_PACE = """
    update analyser_pace set next_at = greatest(next_at, clock_timestamp()) + %(gap)s where name = 'analyser'
    returning next_at - %(gap)s - clock_timestamp()
"""


class Turns(Protocol):
    """Who may call the analyser."""

    def turn(self, urgency: Urgency = Urgency.ROUTINE) -> AbstractAsyncContextManager[None]:
        """Wait until one more call may begin, and have it until the context ends. Raises StoreUnavailable."""
        ...


class TurnsHere:
    """Turns of this process alone; who waits gets one by urgency, then in the order of asking."""

    def __init__(self, most: int) -> None:
        self._free = most
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._asked = itertools.count()

    @asynccontextmanager
    async def turn(self, urgency: Urgency = Urgency.ROUTINE) -> AsyncIterator[None]:
        await self._take(urgency)
        try:
            yield
        finally:
            self._hand_on()

    async def _take(self, urgency: Urgency) -> None:
        if self._free:
            self._free -= 1
            return
        handed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (-priority(urgency, 0), next(self._asked), handed))
        try:
            await handed
        except asyncio.CancelledError:
            if not handed.cancelled():  # it was handed to us while we were told to give up
                self._hand_on()
            raise

    def _hand_on(self) -> None:
        while self._waiting:
            _, _, next_one = heapq.heappop(self._waiting)
            if not next_one.done():
                next_one.set_result(None)
                return
        self._free += 1


class TurnsEverywhere:
    """Turns of all processes on one database.

    Args:
        gap: between the beginnings of two calls, if any.
    """

    def __init__(self, pool: Pool, clock: Clock, most: int, gap: timedelta | None, *, lease: timedelta = LEASE) -> None:
        self._pool = pool
        self._clock = clock
        self._most = most
        self._gap = gap
        self._lease = lease
        self._here = TurnsHere(most)
        self._asking = asyncio.Lock()
        self._held: set[UUID] = set()
        self._keeping: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def turn(self, urgency: Urgency = Urgency.ROUTINE) -> AsyncIterator[None]:
        async with self._here.turn(urgency):
            holder = uuid4()
            try:
                await self._take(holder)
                await self._wait_for_pace()
                yield
            finally:
                await self._give_back(holder)

    async def _take(self, holder: UUID) -> None:
        self._held.add(holder)  # before it is ours: a commit whose answer is lost has been one
        if self._keeping is None or self._keeping.done():
            self._keeping = asyncio.create_task(self._keep())
        async with self._asking:
            while not await self._is_taken(holder):
                pass

    async def _is_taken(self, holder: UUID) -> bool:
        """Ask once; False when the queue was too long."""
        asked = {"holder": holder, "lease": self._lease, "most": self._most}
        async with connected(self._pool) as connection:
            try:
                await connection.execute("select pg_advisory_xact_lock(%s)", [QUEUE])
            except psycopg.errors.LockNotAvailable:
                await connection.rollback()
                return False
            while not await (await connection.execute(_TAKE, asked)).fetchone():
                await connection.execute(_MAKE, [self._most])
                await self._clock.wait(LOOK_EVERY)
            return True

    async def _wait_for_pace(self) -> None:
        if self._gap is None:
            return
        async with connected(self._pool) as connection:
            row = await (await connection.execute(_PACE, {"gap": self._gap})).fetchone()
        if row is not None and row[0] > timedelta(0):
            await self._clock.wait(row[0])

    async def _give_back(self, holder: UUID) -> None:
        self._held.discard(holder)
        if not self._held and self._keeping is not None:
            self._keeping.cancel()
            self._keeping = None  # it may take a while to end, and the next turn needs one that goes on
        with suppress(StoreUnavailable):  # it ends by itself
            async with connected(self._pool) as connection:
                await connection.execute("set local synchronous_commit = off")
                await connection.execute(_GIVE_BACK, [holder])

    async def _keep(self) -> None:
        """Put the ends of our turns off."""
        while True:
            await asyncio.sleep(self._lease.total_seconds() / 4)
            with suppress(StoreUnavailable):
                async with connected(self._pool) as connection:
                    await connection.execute(_PUT_OFF, [self._lease, list(self._held)])
