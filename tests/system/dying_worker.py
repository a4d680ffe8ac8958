"""A worker process that kills itself at one point of the journey, just before or just after an outside effect.

Everything in it is the real thing, opened by `assembly`; one port is wrapped so that the named method is the last thing
that the process does. Usage: python -m tests.system.dying_worker [POINT before|after]
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import httpx

from fundus_relay.adapters.health_record.transaction import FhirTransactionRecord
from fundus_relay.assembly import Service, opened, run
from fundus_relay.domain.states import AcquisitionState
from fundus_relay.environment import read
from fundus_relay.settings import Settings
from fundus_relay.worker.lane import Pace

POINTS = ("prepare", "upload", "poll", "result", "report", "write", "publish")
FETCHING = ("list", "fetch", "begin", "end")
CROWD = 3
QUICK = Pace(poll=0.2, reconcile=0.3, rescue=0.3, heartbeat=0.2, grace=0.3, dead_after=1.5)


def die() -> None:
    """As if the machine were gone: nothing is flushed, nothing is said."""
    os.kill(os.getpid(), signal.SIGKILL)


class Deadly:
    """A port whose `method` kills the process before or after it did its work."""

    def __init__(self, port: Any, method: str, when: str) -> None:  # Any: whichever port
        self._port, self._method, self._when = port, method, when

    def __getattr__(self, name: str) -> Any:  # Any: whichever method
        attribute = getattr(self._port, name)
        if name != self._method:
            return attribute

        async def last(*arguments: Any, **named: Any) -> None:  # Any: passed on
            if self._when == "before":
                die()
            await attribute(*arguments, **named)
            die()

        return last


class DeadlyUpload:
    """An analyser that kills the process before or after it took a picture."""

    def __init__(self, analyser: Any, when: str) -> None:  # Any: the analyser
        self._analyser, self._when = analyser, when

    def __getattr__(self, name: str) -> Any:  # Any: whichever method
        return getattr(self._analyser, name)

    @asynccontextmanager
    async def ready(self, *how: Any) -> AsyncIterator[Any]:  # Any: passed on, and what hands in
        async with self._analyser.ready(*how) as hand_in:
            yield Deadly(SimpleNamespace(hand_in=hand_in), "hand_in", self._when).hand_in


class DeadlyCrowd:
    """An analyser that kills the process when several uploads are under way and none has been taken."""

    def __init__(self, analyser: Any) -> None:  # Any: the analyser
        self._analyser, self._under_way = analyser, 0

    def __getattr__(self, name: str) -> Any:  # Any: whichever method
        return getattr(self._analyser, name)

    @asynccontextmanager
    async def ready(self, *how: Any) -> AsyncIterator[Any]:  # Any: passed on, and what hands in
        async with self._analyser.ready(*how):
            yield self._hand_in

    async def _hand_in(self, *_: object, **__: object) -> None:
        self._under_way += 1
        if self._under_way == CROWD:
            die()
        await asyncio.Event().wait()


class DeadlyCommit:
    """A ledger that kills the process around a commit in which `method` of its transaction has done what `counts`."""

    def __init__(
        self, ledger: Any, method: str, when: str, counts: Callable[..., bool] = lambda *_, **__: True
    ) -> None:  # Any: the ledger
        self._ledger, self._method, self._when, self._counts = ledger, method, when, counts

    def __getattr__(self, name: str) -> Any:  # Any: whichever method
        return getattr(self._ledger, name)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:  # Any: the transaction
        is_done = False
        async with self._ledger.transaction() as tx:
            do = getattr(tx, self._method)

            async def noted(*arguments: Any, **named: Any) -> Any:  # Any: passed on
                nonlocal is_done
                is_done = is_done or self._counts(*arguments, **named)
                return await do(*arguments, **named)

            setattr(tx, self._method, noted)
            yield tx
            if is_done and self._when == "before":
                die()
        if is_done:
            die()


class DeadlyWrite(httpx.AsyncBaseTransport):
    """A connection to the EHR that is cut with the process, before or after the EHR wrote."""

    def __init__(self, when: str) -> None:
        self._inner, self._when = httpx.AsyncHTTPTransport(), when

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST" and self._when == "before":
            die()
        answer = await self._inner.handle_async_request(request)
        if request.method == "POST":
            await answer.aread()
            die()
        return answer


def _is_an_end(_: Any, state: AcquisitionState, **__: Any) -> bool:  # Any: as `move_acquisition`
    return state is AcquisitionState.COMPLETE


def doomed(service: Service, point: str, when: str) -> Service:
    """The service with death in one of its ports."""
    ports, record = service.ports, service.settings.record
    match point:
        case "list":
            ports = replace(ports, archive=Deadly(ports.archive, "instances", when))
        case "fetch":
            ports = replace(ports, archive=Deadly(ports.archive, "fetch", when))
        case "begin":
            ports = replace(ports, ledger=DeadlyCommit(ports.ledger, "add_image", when))
        case "end":
            ports = replace(ports, ledger=DeadlyCommit(ports.ledger, "move_acquisition", when, counts=_is_an_end))
        case "prepare":
            ports = replace(ports, blobs=Deadly(ports.blobs, "put", when))
        case "upload":
            ports = replace(ports, analyser=DeadlyUpload(ports.analyser, when))
        case "crowd":
            ports = replace(ports, analyser=DeadlyCrowd(ports.analyser))
        case "poll":
            ports = replace(ports, ledger=Deadly(ports.ledger, "note_ended", when))
        case "result":
            ports = replace(ports, analyser=Deadly(ports.analyser, "result", when))
        case "report":
            ports = replace(ports, ledger=DeadlyCommit(ports.ledger, "add_delivery", when))
        case "write":
            client = httpx.AsyncClient(transport=DeadlyWrite(when))
            ports = replace(ports, records={record.name: FhirTransactionRecord(record, client, ports.blobs)})
        case "publish":
            ports = replace(ports, records={record.name: Deadly(ports.records[record.name], "publish", when)})
    return replace(service, ports=ports)


async def main(point: str | None, when: str | None) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with opened(read(Settings)) as service:
        await run(doomed(service, point, when) if point and when else service, stop, pace=QUICK)


if __name__ == "__main__":
    asyncio.run(main(*(sys.argv[1:] or (None, None))))
