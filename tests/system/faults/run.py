"""One run: send, break, wait until all is at rest, and hold the outcome against what was told."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psycopg
from tests.conftest import database_at
from tests.interruption import Interruption
from tests.system.faults.audit import Findings, audit, sessions, unfinished
from tests.system.faults.callers import Photograph, know_patients, photographs_of, picture, send
from tests.system.faults.plan import WINDOW_S, Plan, plan_of
from tests.system.faults.scene import Scene, start_forks

from fundus_relay.adapters.clock import SystemClock
from fundus_relay.adapters.database.embedded import embedded_postgres
from fundus_relay.adapters.database.ledger import PostgresLedger
from fundus_relay.adapters.database.migrate import migrate
from fundus_relay.adapters.database.pool import open_pool
from fundus_relay.pipeline.operator import release_all
from fundus_relay.worker.engine import Engine
from fundus_relay.worker.schema import engine_schema

SETTLES_WITHIN_S = float(os.environ.get("FAULT_PATIENCE", "60"))
"""After the last fault is over: longer than the longest lease, rest and pause one after the other."""

TEMPLATE = "faults_template"
LEFT_OVER = 40
"""Lines of each log that are shown of a run that failed."""


@dataclass
class Outcome:
    """What a run came to."""

    seed: int
    wrong: list[str]
    findings: Findings | None
    acts: list[str]
    seconds: float
    deaths: int
    released: int
    not_run: set[str]
    waits: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = ""
        if self.findings is not None:
            counts = f"{self.findings.images} images, {self.findings.paid} paid, {self.findings.counted} counted"
        verdict = "ok" if not self.wrong else "FAILED"
        lines = [f"seed {self.seed}: {verdict}; {counts}, {self.deaths} deaths, {self.seconds:.1f} s"]
        if self.wrong:
            lines += [f"  wrong: {each}" for each in self.wrong]
            lines += [f"  {each}" for each in self.acts]
            lines += [f"  waits: {each}" for each in self.waits]
        return "\n".join(lines)


class Stage:
    """A database server and a folder, for one run after the other."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.database = Interruption(folder / "database")
        self._runs = 0

    async def fresh_database(self) -> str:
        self._runs += 1
        name = f"faults_{self._runs}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"drop database if exists faults_{self._runs - 1} with (force)".encode())
            connection.execute(f"create database {name} template {TEMPLATE} strategy file_copy".encode())
        return database_at(self.url, name)


@asynccontextmanager
async def a_stage(folder: Path) -> AsyncIterator[Stage]:
    start_forks()
    with embedded_postgres(folder / "database") as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"create database {TEMPLATE}".encode())
        await migrate(database_at(url, TEMPLATE), engine_schema())
        yield Stage(folder, url)


async def run(seed: int, stage: Stage, *, plan: Plan | None = None, keep: bool = False) -> Outcome:
    """Play the plan of this seed."""
    plan = plan or plan_of(seed)
    folder = stage.folder / f"seed-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    began = time.monotonic()
    scene = Scene(plan, folder, stage.database, await stage.fresh_database())
    photographs = photographs_of(plan.patients, seed)
    for each in photographs:
        picture(each.noise)  # drawn before anything is timed
    acts: list[str] = [f"{name} dies {each}" for name, dooms in plan.dooms.items() for each in dooms]
    waits: list[str] = []
    findings: Findings | None = None
    async with scene.begun():
        await _until_up(scene)
        await know_patients(scene.address("ehr"), photographs)
        chance = random.Random(seed)  # noqa: S311 - of faults
        sending = asyncio.gather(*(_send_some_time(each, scene, chance) for each in photographs))
        await scene.play(acts.append)
        released, wrong = await _settle(scene, photographs, sending)
        if wrong:
            waits = _what_waits(scene, folder)
        if sending.done():
            findings = await audit(photographs, scene.address("ehr"), scene.address("analyser"), scene.database_url)
            wrong += findings.wrong
        else:
            sending.cancel()
        if wrong and not waits:
            waits = _what_waits(scene, folder)
    wrong += scene.violations
    if not wrong and not keep:
        shutil.rmtree(folder, ignore_errors=True)
    return Outcome(seed, wrong, findings, acts, time.monotonic() - began, scene.deaths, released, scene.not_run, waits)


async def _until_up(scene: Scene) -> None:
    """Those outside answer; the service may be killed before it ever did."""
    ends = time.monotonic() + 60
    async with httpx.AsyncClient(trust_env=False) as client:
        for name in ("analyser", "ehr"):
            while True:
                try:
                    await client.get(f"{scene.address(name)}/livez")
                    break
                except httpx.HTTPError as error:
                    if time.monotonic() > ends:
                        raise RuntimeError(f"{name} is not up: {error!r}; {scene.failed_starts[-3:]}") from error
                    await asyncio.sleep(0.05)


async def _send_some_time(photograph: Photograph, scene: Scene, chance: random.Random) -> None:
    await asyncio.sleep(chance.uniform(0, WINDOW_S))
    await send(photograph, scene, chance)


async def _settle(
    scene: Scene, photographs: list[Photograph], sending: asyncio.Future[list[None]]
) -> tuple[int, list[str]]:
    """Wait until every photograph is acknowledged and nothing waits; release what is parked, as an operator does."""
    released, ends = 0, time.monotonic() + SETTLES_WITHIN_S
    while time.monotonic() < ends:
        await asyncio.sleep(0.25)
        are_all_told = sending.done()  # before the look: what is acknowledged after it is not in it
        left = await asyncio.to_thread(unfinished, scene.database_url)
        if are_all_told and not left:
            return released, []
        if any(" parked " in each for each in left):
            released += await _release(scene)
    unsent = [each.name for each in photographs if not each.told and not each.refused]
    return released, [f"not at rest after {SETTLES_WITHIN_S:g} s; not acknowledged: {unsent}"]


async def _release(scene: Scene) -> int:
    async with open_pool(scene.database_url, size=4) as pool:
        ledger = PostgresLedger(pool, SystemClock(), Engine().enqueue)
        return (await release_all(ledger, SystemClock(), pay_again=True)).count


def _what_waits(scene: Scene, folder: Path) -> list[str]:
    told = [*unfinished(scene.database_url), *sessions(scene.database_url), *scene.failed_starts[-LEFT_OVER:]]
    for name, party in scene.parties.items():
        told.append(f"{name}: {'alive' if party.is_alive else 'dead'}")
        log = folder / f"{name}.log"
        for line in log.read_text(errors="replace").splitlines()[-LEFT_OVER:] if log.exists() else ():
            told.append(f"  {name} | {_short(line)}")
    return told


def _short(line: str) -> str:
    """A log line without what every line has."""
    try:
        said = json.loads(line)
    except ValueError:
        return line[:300]
    return (
        f"{said.pop('at', '')[11:23]} {said.pop('event', '')} "
        + " ".join(f"{key}={value}" for key, value in said.items() if key not in {"logger", "level", "trace"})[:400]
    )
