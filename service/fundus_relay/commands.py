"""What each command does. The command line itself is in `__main__`, the parts are put together in `assembly`."""

from __future__ import annotations

import asyncio
import getpass
import json
import logging
import os
import secrets
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import asdict
from io import RawIOBase
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

import uvloop

from fundus_relay import memory, metrics, telemetry
from fundus_relay.adapters.callers import FileOfCallers, Unusable, line_of
from fundus_relay.adapters.database.history import opened_history
from fundus_relay.adapters.database.legal_hold import PostgresHolds
from fundus_relay.adapters.database.migrate import CannotMigrate, OlderVersionsRun, migrate, pending
from fundus_relay.adapters.database.schema import Phase
from fundus_relay.adapters.dossier import Exported, write_dossier
from fundus_relay.adapters.patience import ToldToStop
from fundus_relay.api.probes import Health, probes
from fundus_relay.api.server import CannotListen, listen
from fundus_relay.assembly import answer, blob_store, callers, database_url, opened, opened_ledger, run
from fundus_relay.domain.access import Scope
from fundus_relay.domain.errors import RelayError
from fundus_relay.environment import read
from fundus_relay.health import look_after, note_turns
from fundus_relay.pipeline.operator import Held, Released, release_all, studies_of
from fundus_relay.pipeline.operator import hold as hold_studies
from fundus_relay.pipeline.operator import release as release_one
from fundus_relay.pipeline.operator import unhold as unhold_studies
from fundus_relay.pipeline.ports import Census, Hold, Parked, PutOff
from fundus_relay.settings import Http, Settings, Storage

log = logging.getLogger(__name__)


STOP_AT = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""A terminal that closes asks for the same as whoever stops us on purpose: uploads under way must end."""

TOKEN_PREFIX = "frt_"  # noqa: S105 - what every token begins with
"""By which a scanner for secrets knows one that got into the wrong place."""


STANDARD_OUTPUT = Path("-")

PENDING, TOO_EARLY = 3, 4
"""Exit codes of `migrate`: `--check` found something; older versions still run."""


class Failed(Exception):
    """A command did not do what it was asked for; its text says why."""

    def __init__(self, text: str, *, exit_code: int = 1) -> None:
        super().__init__(text)
        self.exit_code = exit_code


# ------------------------------------------------------------------------------------------------------------- serve


def serve(only: str | None = None) -> None:
    """Run the service until SIGTERM, SIGINT or SIGHUP.

    Args:
        only: `api` or `worker`; both without it.
    """
    settings = read(Settings)
    telemetry.configure(settings.log_level)
    let_in = callers(settings) if only != "worker" else None
    uvloop.run(_serve(settings, only, let_in))


async def _serve(settings: Settings, only: str | None, let_in: FileOfCallers | None) -> None:
    stop, health = asyncio.Event(), Health()

    def end() -> None:
        health.drain()  # first: whoever balances the load should know before the door closes
        stop.set()

    for number in STOP_AT:
        asyncio.get_running_loop().add_signal_handler(number, end)
    try:
        with probes(settings.probes.host, settings.probes.port, health, metrics.page) as probed:
            await _serve_well(settings, only, let_in, stop, health, probed)
    except* ToldToStop:
        pass
    except* RelayError as several:
        why = several.exceptions[0]
        raise Failed(str(why)) from why
    except* (CannotListen, CannotMigrate) as several:
        raise Failed(str(several.exceptions[0])) from several
    log.info("stopped", extra={"part": only or "all"})


async def _serve_well(
    settings: Settings, only: str | None, let_in: FileOfCallers | None, stop: asyncio.Event, health: Health, probed: int
) -> None:
    meanwhile = [asyncio.create_task(each) for each in (note_turns(health), memory.give_back())]
    try:
        async with opened(settings, stop) as service:
            parts: list[Coroutine[Any, Any, None]] = []  # Any: what a coroutine is sent, which is nothing
            parts.append(look_after(service.pool, health, stop))
            if only != "worker":
                parts.append(answer(service, stop, let_in))
            if only != "api":
                parts.append(run(service, stop))
            memory.settle()
            log.info("started", extra={"part": only or "all", "port": settings.http.port, "probes": probed})
            async with asyncio.TaskGroup() as group:
                for part in parts:
                    group.create_task(part)
    finally:
        for each in meanwhile:
            each.cancel()


# ---------------------------------------------------------------------------------------------------------- operator


def migrate_database(phase: str) -> None:
    """Bring the tables up to date, print what was applied, and say what is left for later."""
    settings = _of_operator()

    async def apply() -> None:
        from fundus_relay.worker.schema import engine_schema

        async with AsyncExitStack() as stack:
            url = database_url(settings, stack)
            for name in await migrate(url, engine_schema(), phases=[Phase(phase)]):
                print(name)
            for _, name in await pending(url, engine_schema()):
                print(f"left for --phase post, once no older version runs or is wanted back: {name}", file=sys.stderr)

    _do(apply())


def show_pending() -> int:
    """Print phase and name of every migration that is not applied; exit code 3 when there is one."""
    settings = _of_one_that_runs()  # else the look would make an embedded database where there is none
    found: list[tuple[Phase, str]] = []

    async def look() -> None:
        from fundus_relay.worker.schema import engine_schema

        async with AsyncExitStack() as stack:
            found.extend(await pending(database_url(settings, stack), engine_schema()))

    _do(look())
    for phase, name in found:
        print(phase, name)
    return PENDING if found else 0


def make_token(name: str, scopes: Sequence[str]) -> None:
    """Print a new token, which nothing here keeps, and the line of the file of tokens that lets it in."""
    token = f"{TOKEN_PREFIX}{secrets.token_urlsafe(32)}"
    try:
        line = line_of(name, token, [Scope(each) for each in scopes])
    except Unusable as why:
        raise Failed(str(why)) from why
    print(token)
    print(line)
    print("The first line is the token, shown this once; the second is for the file of tokens.", file=sys.stderr)


def show_parked() -> None:
    """Print what waits for a person, what waits by itself, and the account, as one JSON object a line."""
    settings = _of_one_that_runs()

    async def show() -> None:
        async with opened_ledger(settings) as (ledger, _, clock):
            for parked in await ledger.parked():
                _print(parked)
            for put_off in await ledger.put_off(clock.now()):
                _print(put_off)
            _print(await ledger.census())

    _do(show())


def release(id: str | None, *, reason: str | None, pay_again: bool) -> None:
    """Let something that waits go on.

    Args:
        id: of one; without it all that is parked, or that is parked or waits for `reason`.
    """
    settings = _of_one_that_runs()

    async def let_go() -> None:
        async with opened_ledger(settings) as (ledger, _, clock):
            if id is not None:
                await release_one(id, ledger, clock, pay_again=pay_again)
                _print(Released(count=1, left=0))
                return
            released = await release_all(ledger, clock, reason=reason, pay_again=pay_again)
            _print(released)
            if released.left:
                raise Failed(f"{released.left} may have been paid; say --pay-again to send them anew")
            if reason and not released.count:
                raise Failed(f"nothing waits for the reason {reason}")

    _do(let_go())


def hold(name: str, *, who: str | None, why: str, reference: str) -> None:
    """Keep everything of the studies that `name` is of, however old."""

    async def keep(holds: PostgresHolds) -> None:
        held = await hold_studies(name, holds, who=who or _user(), why=why, reference=reference)
        _print(held)
        if gone := len(held.studies) - held.held:
            raise Failed(f"{gone} of these studies were purged in this very moment: nothing of them is left to hold")

    _with_holds(keep)


def unhold(name: str, *, who: str | None, reference: str) -> None:
    """End that."""

    async def end(holds: PostgresHolds) -> None:
        ended = await unhold_studies(name, holds, who=who or _user(), reference=reference)
        _print(ended)
        if not ended.count and ended.held:
            others = {repr(each.reference) for each in await holds.standing() if each.study in ended.studies}
            raise Failed(f"that is held by another --reference: {', '.join(sorted(others))}")
        if not ended.count:
            raise Failed("that is not held")

    _with_holds(end)


def show_holds() -> None:
    """Print what is held, as one JSON object a line."""

    async def show(holds: PostgresHolds) -> None:
        for each in await holds.standing():
            _print(each)

    _with_holds(show)


def export(name: str, *, to: Path, pictures: bool) -> None:
    """Write everything that is here of the studies that `name` is of into one ZIP; says how much, and nothing of it.

    Args:
        to: a file; or standard output, and then what is said is on standard error.
    """
    settings = _of_one_that_runs()
    place = Path(settings.blobs.url or settings.data_dir / "blobs")
    if pictures and "://" not in (settings.blobs.url or "") and not place.is_dir():
        raise Failed(f"there are no pictures in {place}: set FUNDUS_RELAY_BLOBS__URL as the service has it")

    for number in {*STOP_AT} - {signal.SIGINT}:  # else the half of it would be left lying about
        signal.signal(number, _interrupt)

    async def write(place: Path | BinaryIO, told: TextIO) -> None:
        async with opened_ledger(settings) as (_, pool, clock), opened_history(pool) as history:
            studies = await studies_of(name, PostgresHolds(pool, clock))
            blobs = await blob_store(settings) if pictures else None
            _print(await write_dossier(studies, history, blobs, clock.now(), place), told)

    try:
        if to != STANDARD_OUTPUT:
            _do(write(to, sys.stdout))
            return
        with _standard_output() as stream:
            _do(write(stream, sys.stderr))
    except OSError as why:
        what = "standard output" if to == STANDARD_OUTPUT else to
        raise Failed(f"{what} was not written: {why.strerror or why}") from why


@contextmanager
def _standard_output() -> Iterator[BinaryIO]:
    """Standard output for us alone: whatever else says something says it on standard error from now on."""
    if sys.stdout.isatty():
        raise Failed("standard output is a terminal: let it go on into a file or a program")
    own = os.dup(1)
    os.dup2(2, 1)
    with open(own, "wb", buffering=0) as stream:  # noqa: PTH123 - a descriptor, no path
        yield cast("BinaryIO", _Whole(stream))


class _Whole:
    """A pipe takes what it has room for; this writes all of it, and keeps nothing for later."""

    def __init__(self, stream: RawIOBase) -> None:
        self._stream = stream

    def write(self, data: bytes) -> int:
        left = memoryview(data)
        while left:
            left = left[self._stream.write(left) or 0 :]
        return len(data)

    def flush(self) -> None:
        """Nothing is left."""


def _interrupt(*_: object) -> None:
    """As Ctrl-C would."""
    signal.raise_signal(signal.SIGINT)


def _with_holds(work: Callable[[PostgresHolds], Coroutine[Any, Any, None]]) -> None:  # Any: as of `_do`
    settings = _of_one_that_runs()

    async def run() -> None:
        async with opened_ledger(settings) as (_, pool, clock):
            await work(PostgresHolds(pool, clock))

    _do(run())


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container whose user has no name
        return str(os.getuid())


def _of_operator() -> Storage:
    """Settings of a command whose answer is on standard output; the log is for what goes wrong meanwhile."""
    settings = read(Storage, among=Settings)
    telemetry.configure("ERROR")
    return settings


def _of_one_that_runs() -> Storage:
    """The same for a command that would say of an empty database that nothing waits."""
    settings = _of_operator()
    if settings.database.url is None and not (settings.data_dir / "postgresql").is_dir():
        raise Failed(
            f"there is no database in {settings.data_dir}: set FUNDUS_RELAY_DATABASE__URL, or FUNDUS_RELAY_DATA_DIR to"
            " the folder of the service"
        )
    return settings


def _print(row: Parked | PutOff | Census | Released | Held | Hold | Exported, to: TextIO | None = None) -> None:
    print(json.dumps(asdict(row), default=str), file=to)


def _do(work: Coroutine[Any, Any, None]) -> None:  # Any: what a coroutine is sent, which is nothing
    try:
        asyncio.run(work)
    except RelayError as why:
        raise Failed(f"{why.code}: {why}") from why
    except CannotMigrate as why:
        raise Failed(str(why), exit_code=TOO_EARLY if isinstance(why, OlderVersionsRun) else 1) from why


# ------------------------------------------------------------------------------------------------------------- laptop


def serve_standin(host: str, port: int, state: Path | None) -> None:
    """The stand-in for the analyser."""
    try:
        from fundus_relay.standin.app import standin
        from fundus_relay.standin.settings import StandinSettings
    except ImportError as why:
        raise Failed(f"the stand-in needs the extra `standin` ({why.name} is not installed)") from why
    telemetry.configure("INFO")
    settings = read(StandinSettings)
    _serve_alone(standin(settings.model_copy(update={"state": state}) if state else settings), host, port)


def serve_ehr(host: str, port: int, state: Path | None) -> None:
    """The demonstration EHR."""
    from fundus_relay.demonstration.ehr import demonstration_ehr

    telemetry.configure("INFO")
    _serve_alone(demonstration_ehr(state), host, port)


def _serve_alone(app: Any, host: str, port: int) -> None:  # Any: an ASGI application
    async def until_stopped() -> None:
        stop = asyncio.Event()
        for number in STOP_AT:
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await listen(app, Http(host=host, port=port), stop)

    try:
        asyncio.run(until_stopped())
    except CannotListen as why:
        raise Failed(str(why)) from why


def up(data_dir: Path) -> None:
    """Service, stand-in and demonstration EHR until SIGTERM."""
    from fundus_relay.demonstration.stack import LocalPorts, StackFailed, keep_up

    try:
        keep_up(read(LocalPorts), data_dir)
    except StackFailed as why:
        raise Failed(f"{why}; everything is stopped") from why


def demo(image: Path | None, out: Path) -> None:
    """One run of the whole line."""
    from fundus_relay.demonstration.demo import DemoFailed, demonstrate
    from fundus_relay.demonstration.stack import StackFailed

    try:
        demonstrate(image, out)
    except (DemoFailed, StackFailed, OSError) as why:
        raise Failed(str(why)) from why
