"""The parties of a run as processes, the connections between them, and what may be done to either."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from tests.bench.processes import free_port
from tests.interruption import Interruption
from tests.proxy import Address, Proxy, proxied
from tests.system.faults.plan import APIS, PEERS, REPLICAS, Act, Doom, Plan
from tests.system.faults.replica import live

STOPS_WITHIN_S = 30
"""Of a process that is told to stop: what Kubernetes waits for by default."""

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.system.faults.replica"])


@cache
def settable_clocks() -> Path | None:
    """The library by which a process's clock can be set, made if there is a compiler."""
    source = Path(__file__).with_name("clock.c")
    made = Path("/tmp") / f"fundus-relay-clock-{source.stat().st_mtime_ns}.so"  # noqa: S108 - no secret
    if not made.exists():
        if (compiler := shutil.which("cc")) is None:
            return None
        fresh = made.with_suffix(f".{os.getpid()}")
        subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", str(fresh), str(source)], check=True)
        fresh.rename(made)
    return made


@cache
def can_fill_disks() -> bool:
    return os.geteuid() == 0 and shutil.which("mount") is not None


def start_forks() -> None:
    """Begin what processes are forked from; they inherit the settable clock."""
    if (library := settable_clocks()) is not None:
        os.environ["LD_PRELOAD"] = str(library)
    multiprocessing.forkserver.ensure_running()  # type: ignore[attr-defined]  # typeshed has it elsewhere
    os.environ.pop("LD_PRELOAD", None)


@dataclass
class Party:
    """A process, and what it is started with again."""

    name: str
    role: str
    port: int
    environment: dict[str, str]
    state: Path | None
    log: Path
    dooms: list[Doom] = field(default_factory=list)
    process: Any = None  # Any: multiprocessing's process of this context
    may_live_at: float = 0
    is_stopping: bool = False

    def start(self) -> None:
        """Raise OSError or EOFError when no process could be forked; the one that was there before is kept then."""
        start_forks()
        doom = self.dooms[0] if self.dooms else None
        process = _FORKS.Process(
            target=live, args=(self.role, self.environment, self.port, self.state, self.log, doom), daemon=True
        )
        process.start()
        self.process = process
        del self.dooms[:1]

    @property
    def is_alive(self) -> bool:
        return self.process is not None and self.process.is_alive()

    def kill(self) -> None:
        if self.is_alive:
            os.kill(self.process.pid, signal.SIGKILL)


class Scene:
    """All parties of one run. `violations` are what no party may do."""

    def __init__(self, plan: Plan, folder: Path, database: Interruption, url: str) -> None:
        self.plan = plan
        self.folder = folder
        self.database_url = url
        self._database = database
        self._database_turn = asyncio.Lock()
        self.parties: dict[str, Party] = {}
        self.proxies: dict[str, Proxy] = {}
        self.violations: list[str] = []
        self.failed_starts: list[str] = []
        self.not_run: set[str] = set()
        self.deaths = 0
        self._doing: set[asyncio.Task[None]] = set()

    # ------------------------------------------------------------------------------------------------------- beginning

    @asynccontextmanager
    async def begun(self) -> AsyncIterator[None]:
        """Every process runs, and is started again when it ends, until the context ends."""
        async with AsyncExitStack() as stack:
            blobs = self._blob_folder(stack)
            self._outsiders()
            for name in REPLICAS:
                await self._replica(name, blobs, stack)
            stack.callback(self._end)
            keeping = asyncio.create_task(self._keep_alive())
            try:
                yield
            finally:
                for task in (keeping, *self._doing):
                    task.cancel()
                await asyncio.wait([keeping, *self._doing])
                if not keeping.cancelled():
                    self.violations.append(f"processes were not started again: {keeping.exception()!r}")

    def _blob_folder(self, stack: AsyncExitStack) -> Path:
        blobs = self.folder / "blobs"
        blobs.mkdir()
        if can_fill_disks():
            mounted = subprocess.run(
                ["mount", "-t", "tmpfs", "-o", "size=64m", "faults", str(blobs)], check=False, capture_output=True
            )
            if mounted.returncode == 0:
                stack.callback(lambda: subprocess.run(["umount", "-l", str(blobs)], check=False))
                return blobs
        self.not_run.add("disk_full: needs root and a mount")
        return blobs

    def _outsiders(self) -> None:
        for name in ("analyser", "ehr"):
            environment = {
                "FUNDUS_RELAY_STANDIN__ANALYSER": "instant",
                "FUNDUS_RELAY_STANDIN__CREDITS": "100000",
                "FUNDUS_RELAY_STANDIN__LATENCY_S": str(self.plan.latency_s),
            }
            self.parties[name] = Party(
                name, name, free_port(), environment, self.folder / f"{name}.sqlite", self.folder / f"{name}.log"
            )

    async def _replica(self, name: str, blobs: Path, stack: AsyncExitStack) -> None:
        port = free_port()
        socket_folder = urlsplit(self.database_url)
        upstreams: dict[str, Address] = {
            "callers": ("127.0.0.1", port),
            "database": self._database.socket,
            "analyser": ("127.0.0.1", self.parties["analyser"].port),
            "ehr": ("127.0.0.1", self.parties["ehr"].port),
        }
        ports: dict[str, int] = {}
        for peer in PEERS[name]:
            proxy = await stack.enter_async_context(proxied(upstreams[peer]))
            self.proxies[f"{name}:{peer}"] = proxy
            ports[peer] = proxy.port
        environment = {
            "FUNDUS_RELAY_DATA_DIR": str(self.folder),
            "FUNDUS_RELAY_BLOBS__URL": str(blobs),
            "FUNDUS_RELAY_DATABASE__URL": f"postgresql://postgres@127.0.0.1:{ports['database']}{socket_folder.path}",
            "FUNDUS_RELAY_HTTP__PORT": str(port),
            "FUNDUS_RELAY_PROBES__PORT": "0",
            "FUNDUS_RELAY_HTTP__PUBLIC_URL": "http://relay.test/fhir",
            "FUNDUS_RELAY_ANALYSER__BASE_URL": f"http://127.0.0.1:{ports.get('analyser', 9)}/v1",
            "FUNDUS_RELAY_ANALYSER__USERNAME": "demo",
            "FUNDUS_RELAY_ANALYSER__PASSWORD": "demo",
            "FUNDUS_RELAY_ANALYSER__POLL_INTERVAL": "0.4",
            "FUNDUS_RELAY_ANALYSER__CONNECT_TIMEOUT": "1",
            "FUNDUS_RELAY_ANALYSER__ANSWER_TIMEOUT": "2.5",
            "FUNDUS_RELAY_ANALYSER__AMBIGUOUS_UPLOAD": "resend-once",
            "FUNDUS_RELAY_RECORD__BASE_URL": f"http://127.0.0.1:{ports.get('ehr', 9)}/fhir",
            "FUNDUS_RELAY_RECORD__TIMEOUT": "3",
            "FUNDUS_RELAY_RECORD__PDF": self.plan.pages,
            "FUNDUS_RELAY_RECORD__OVERLAYS": self.plan.pages,
            "FAULTS_CLOCK": str(self._clock_of(name)),
        }
        role = "api" if name in APIS else "worker"
        self.parties[name] = Party(
            name, role, port, environment, None, self.folder / f"{name}.log", list(self.plan.dooms.get(name, ()))
        )

    def _clock_of(self, name: str) -> Path:
        """How far off its clock is."""
        return self.folder / f"{name}.clock"

    def _end(self) -> None:
        for party in self.parties.values():
            party.kill()
        for party in self.parties.values():
            if party.process is not None:
                party.process.join()
                party.process.close()

    async def _keep_alive(self) -> None:
        """As Kubernetes does: start what does not run, and again what ended, a moment later."""
        while True:
            for party in self.parties.values():
                if not party.is_alive and not party.is_stopping and time.monotonic() > party.may_live_at:
                    self._start(party)
            await asyncio.sleep(0.1)

    def _start(self, party: Party) -> None:
        ended = party.process
        try:
            party.start()
        except (OSError, EOFError) as error:  # of this machine, not of what is tested
            self.failed_starts.append(f"{party.name} could not be started: {error!r}")
            return
        if ended is not None:
            self.deaths += 1
            if ended.exitcode not in {-signal.SIGKILL, -signal.SIGTERM, 0}:  # SIGTERM: before it could listen to it
                self.violations.append(f"{party.name} ended with exit code {ended.exitcode}")

    # ------------------------------------------------------------------------------------------------------------- acts

    def address(self, name: str) -> str:
        """Base URL of an API as its callers know it, or of a party outside, past every proxy."""
        if name in APIS:
            return f"http://127.0.0.1:{self.proxies[f'{name}:callers'].port}"
        return f"http://127.0.0.1:{self.parties[name].port}"

    async def play(self, told: Callable[[str], None]) -> None:
        """Do everything that is planned; returns when the last is over."""
        began = time.monotonic()
        for act in self.plan.acts:
            await asyncio.sleep(max(0.0, act.at_s - (time.monotonic() - began)))
            told(str(act))
            task = asyncio.create_task(getattr(self, f"do_{act.kind}")(act))
            self._doing.add(task)
        if self._doing:
            done, _ = await asyncio.wait(self._doing)
            for task in done:
                task.result()

    async def do_kill(self, act: Act) -> None:
        party = self.parties[act.target]
        party.may_live_at = time.monotonic() + act.lasts_s
        twins = [each for each in self.parties.values() if each.role == party.role and each is not party]
        if self.is_gone(party.name) and any(self.is_gone(each.name) for each in twins):
            party.may_live_at = 0  # one of them has to live
        party.kill()

    def is_gone(self, name: str) -> bool:
        """Whether it was killed for good."""
        return self.parties[name].may_live_at - time.monotonic() > 60

    async def do_terminate(self, act: Act) -> None:
        """SIGTERM, and a successor."""
        party = self.parties[act.target]
        if not party.is_alive:
            return
        party.is_stopping = True
        process = party.process
        process.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(STOPS_WITHIN_S):
                while process.is_alive():  # noqa: ASYNC110 - its exit code can be read once, and by one thread
                    await asyncio.sleep(0.05)
        if process.exitcode is None:
            self.violations.append(f"{party.name} did not stop within {STOPS_WITHIN_S} s")
            party.kill()
        party.is_stopping = False

    async def do_roll(self, act: Act) -> None:
        """A rolling update."""
        for name in REPLICAS:
            await self.do_terminate(Act(act.at_s, "terminate", name))
            while not self.parties[name].is_alive and not self.is_gone(name):  # noqa: ASYNC110 - another task does
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.5)

    async def do_database_away(self, act: Act) -> None:
        async with self._database_turn:
            try:
                await asyncio.to_thread(self._database.kill if act.what == "kill" else self._database.stop)
                await asyncio.sleep(act.lasts_s)
            finally:
                await asyncio.to_thread(self._database.start)

    async def do_cut(self, act: Act) -> None:
        await self.proxies[act.target].cut()

    async def do_slow(self, act: Act) -> None:
        proxy = self.proxies[act.target]
        proxy.delay_s = act.amount
        await asyncio.sleep(act.lasts_s)
        proxy.delay_s = 0

    async def do_silent(self, act: Act) -> None:
        """Half open: nobody hears anything; in the end both sides are told."""
        proxy = self.proxies[act.target]
        proxy.is_silent = True
        await asyncio.sleep(act.lasts_s)
        proxy.is_silent = False
        await proxy.cut()

    async def do_closed(self, act: Act) -> None:
        proxy = self.proxies[act.target]
        proxy.is_closed = True
        await proxy.cut()
        await asyncio.sleep(act.lasts_s)
        proxy.is_closed = False

    async def do_disk_full(self, act: Act) -> None:
        if self.not_run:
            return
        ballast = self.folder / "blobs" / "ballast"
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(65536))
        await asyncio.sleep(act.lasts_s)
        ballast.unlink(missing_ok=True)  # two of these may overlap

    async def do_clock(self, act: Act) -> None:
        if settable_clocks() is None:
            self.not_run.add("clock: needs a C compiler")
            return
        await asyncio.to_thread(self._clock_of(act.target).write_text, str(int(act.amount)))

    async def do_analyser(self, act: Act) -> None:
        await self._misbehave("analyser", act)

    async def do_ehr(self, act: Act) -> None:
        await self._misbehave("ehr", act)

    async def _misbehave(self, name: str, act: Act) -> None:
        """For a while, or the next so many times."""
        await self._ask_for(name, {act.what: act.amount if act.what.endswith("_s") else int(act.amount)})
        if act.what.endswith("_s"):
            await asyncio.sleep(act.lasts_s)
            await self._ask_for(name, {act.what: self.plan.latency_s if name == "analyser" else 0})

    async def _ask_for(self, name: str, faults: dict[str, float]) -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=2) as client:
            with suppress(httpx.HTTPError):  # it was killed
                await client.post(f"{self.address(name)}/admin/faults", json=faults)
