"""A process of the service as the fault harness runs it: the real one, in a hurry, that may kill itself on the way.

Everything is opened by `assembly`; what is replaced are times and, for the process that is doomed, ports that count the
steps which they take and kill the process at one of them.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import uvloop
from tests.system.faults.plan import Doom

from fundus_relay import commands, telemetry
from fundus_relay.adapters.health_record.transaction import FhirTransactionRecord
from fundus_relay.adapters.patience import ToldToStop
from fundus_relay.api import app as _api  # noqa: F401 - so that a fork has it
from fundus_relay.assembly import Service, answer, opened, run
from fundus_relay.demonstration import ehr as _ehr  # noqa: F401 - as above
from fundus_relay.environment import read
from fundus_relay.paper import pdf as _pdf  # noqa: F401 - as above
from fundus_relay.settings import Settings
from fundus_relay.standin import app as _standin  # noqa: F401 - as above
from fundus_relay.worker.lane import Pace
from fundus_relay.worker.runner import run_worker as _run_worker  # noqa: F401 - as above

PACE = Pace(poll=0.3, reconcile=0.4, rescue=0.5, heartbeat=0.4, grace=2, dead_after=4, look=0.3)
HASTE = 6
"""How many times faster the pauses are than in earnest."""


class Steps:
    """Counts the steps of a process, and kills it at the one that is its doom."""

    def __init__(self, doom: Doom) -> None:
        self._kind = doom.kind
        self._left = doom.number

    def step(self, kind: str) -> None:
        if self._kind in {"any", kind}:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class _Counted:
    """A port with a step before and one after each call of these methods."""

    def __init__(self, port: Any, steps: Steps, kind: str, *methods: str) -> None:  # Any: whichever port
        self._port, self._steps, self._kind, self._methods = port, steps, kind, methods

    def __getattr__(self, name: str) -> Any:  # Any: whichever method
        attribute = getattr(self._port, name)
        if name not in self._methods:
            return attribute

        async def counted(*arguments: Any, **named: Any) -> Any:  # Any: passed on
            self._steps.step(self._kind)
            result = await attribute(*arguments, **named)
            self._steps.step(self._kind)
            return result

        return counted


class _CountedLedger(_Counted):
    """And with one before and one after each commit."""

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:  # Any: the transaction
        async with self._port.transaction() as tx:
            yield tx
            self._steps.step("commit")
        self._steps.step("commit")


class _CountedAnalyser(_Counted):
    @asynccontextmanager
    async def ready(self, *how: Any) -> AsyncIterator[Any]:  # Any: passed on, and what hands in
        async with self._port.ready(*how) as hand_in:

            async def counted(*arguments: Any, **named: Any) -> Any:  # Any: passed on
                self._steps.step("upload")
                taken = await hand_in(*arguments, **named)
                self._steps.step("upload")
                return taken

            yield counted


class _CountedBlobs(_Counted):
    def draft(self) -> Any:  # Any: a draft
        return _Counted(self._port.draft(), self._steps, "keep", "keep")


class _CountedWrites(httpx.AsyncHTTPTransport):
    steps: Steps

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        is_write = request.method == "POST"
        if is_write:
            self.steps.step("write")
        answered = await super().handle_async_request(request)
        if is_write:
            self.steps.step("write")
        return answered


class _Hasty:
    """The clock, with shorter pauses."""

    def __init__(self, clock: Any) -> None:  # Any: the clock
        self._clock = clock

    def __getattr__(self, name: str) -> Any:  # Any: whichever method
        return getattr(self._clock, name)

    async def wait(self, span: timedelta) -> None:
        await self._clock.wait(span / HASTE)


def hastened(service: Service) -> Service:
    rules = replace(
        service.rules,
        settle_lost_after=timedelta(seconds=3),
        first_wait=timedelta(seconds=1),
        longest_wait=timedelta(seconds=2),
    )
    return replace(service, rules=rules, ports=replace(service.ports, clock=_Hasty(service.ports.clock)))


def doomed(service: Service, doom: Doom) -> Service:
    """The service, that dies at that step."""
    steps, ports, record = Steps(doom), service.ports, service.settings.record
    transport = _CountedWrites()
    transport.steps = steps
    blobs = _CountedBlobs(ports.blobs, steps, "keep", "put")
    ledger: Any = _CountedLedger(ports.ledger, steps, "commit", "note_ended", "postpone_polls")  # Any: as a ledger
    client = httpx.AsyncClient(transport=transport, timeout=record.timeout.total_seconds())
    ports = replace(
        ports,
        ledger=ledger,
        blobs=blobs,
        analyser=_CountedAnalyser(ports.analyser, steps, "question", "result", "credits"),
        records={record.name: FhirTransactionRecord(record, client, blobs)},
    )
    return replace(service, ports=ports, ledger=ledger)


async def _serve(role: str, doom: Doom | None) -> None:
    settings = read(Settings)
    telemetry.configure(settings.log_level)
    stop = asyncio.Event()
    for number in commands.STOP_AT:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        async with opened(settings, stop) as real:
            service = doomed(hastened(real), doom) if doom else hastened(real)
            await (answer(service, stop) if role == "api" else run(service, stop, pace=PACE))
    except ToldToStop:
        pass


def live(
    role: str, environment: Mapping[str, str], port: int, state: Path | None, log: Path, doom: Doom | None
) -> None:
    """What a process does.

    Args:
        role: `api`, `worker`, `analyser` or `ehr`.
        state: file of the analyser or the EHR.
        doom: at which it kills itself.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal tells the harness, which tells us
    os.environ.update(environment)
    with log.open("ab", buffering=0) as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    match role:
        case "analyser":
            commands.serve_standin("127.0.0.1", port, state)
        case "ehr":
            commands.serve_ehr("127.0.0.1", port, state)
        case _:
            uvloop.run(_serve(role, doom))
