"""Two versions of the service on one database, as processes, with the parties outside that both have."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import signal
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from PIL import Image, ImageDraw
from tests.bench.processes import free_port
from tests.unit.imaging.pictures import a_raster

ROOT = Path(__file__).parents[2]
MIGRATIONS = "service/fundus_relay/adapters/database/migrations"
PIN = Path(__file__).with_name("upgrade_from.txt")
TRIALS = {
    "9001_pre_trial.sql": "alter table image add column trial text not null default ''; create table trial (id int);",
    "9002_pre_index.sql": "drop index concurrently if exists image_trial;"
    " create index concurrently image_trial on image (trial);",
    "9003_post_trial.sql": "drop table trial;",
}
"""What the new version has besides, so that both phases have something to do whatever the last release brought."""

STOPS_WITHIN_S = 30
SYSTEM = "urn:fundus-relay:upgrade"
FHIR = {"Content-Type": "application/fhir+json"}


def pinned() -> str:
    """The commit that we come from; skips the test where it is not in the clone."""
    commit = PIN.read_text().split()[-2]
    if subprocess.run(["git", "cat-file", "-e", f"{commit}^{{commit}}"], cwd=ROOT, capture_output=True).returncode:  # noqa: PLW1510 - that is the question
        pytest.skip(f"NOT RUN: the version before this one ({commit[:7]}) is not in this clone: fetch all of it")
    return commit


@dataclass(frozen=True)
class Tree:
    """The code of one version."""

    name: str
    path: Path

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(self.path / "service")}

    async def says(self, code: str) -> Any:  # Any: what its JSON holds
        """What its Python prints."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", code), cwd=self.path, env=self.environment(), stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
        assert process.returncode == 0
        return json.loads(out)


def old_tree(folder: Path) -> Tree:
    archive = subprocess.run(
        ["git", "archive", "--format=tar", pinned(), "service"], cwd=ROOT, capture_output=True, check=True
    )
    folder.mkdir()
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return Tree("old", folder)


def new_tree(folder: Path) -> Tree:
    shutil.copytree(ROOT / "service", folder / "service", ignore=shutil.ignore_patterns("site", "__pycache__"))
    for name, sql in TRIALS.items():
        (folder / MIGRATIONS / name).write_text(sql)
    return Tree("new", folder)


@dataclass
class Part:
    """A process of one version, and what it logged."""

    name: str
    process: Process
    log: Path
    url: str = ""

    def times(self, event: str) -> int:
        return self.log.read_text(errors="replace").count(f'"{event}"')

    def kill(self) -> None:
        self.process.kill()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """It stands still, for less than it takes to be thought dead."""
        self.process.send_signal(signal.SIGSTOP)
        yield
        self.process.send_signal(signal.SIGCONT)

    async def stopped(self) -> int:
        """Its exit code after SIGTERM."""
        self.process.terminate()
        return await asyncio.wait_for(self.process.wait(), STOPS_WITHIN_S)


async def until(what: str, condition: Callable[[], Any], *, within_s: float = 60) -> None:  # Any: true or not
    """Wait for what other processes do."""
    try:
        async with asyncio.timeout(within_s):
            while True:
                found = condition()
                if await found if asyncio.iscoroutine(found) else found:
                    return
                await asyncio.sleep(0.1)
    except TimeoutError:
        pytest.fail(f"not within {within_s:g} s: {what}")


@cache
def _ground() -> Image.Image:
    return a_raster(noise=4)


def picture(number: int) -> bytes:
    """A JPEG like no other."""
    raster = _ground().copy()
    x, y = 100 + 40 * (number % 25), 100 + 40 * (number // 25)
    ImageDraw.Draw(raster).rectangle((x, y, x + 25, y + 25), fill=(0, 255, 0))
    file = BytesIO()
    raster.save(file, "JPEG", quality=40)
    return file.getvalue()


@dataclass
class Town:
    """The database, the blobs, the stand-in and the EHR; versions come and go."""

    folder: Path
    database_url: str
    stack: AsyncExitStack
    parties: dict[str, Part] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    trees: dict[str, Tree] = field(default_factory=dict)
    _count: int = 0

    @property
    def ehr(self) -> str:
        return f"http://127.0.0.1:{self.ports['ehr']}"

    @property
    def standin(self) -> str:
        return f"http://127.0.0.1:{self.ports['standin']}"

    def settings(self) -> dict[str, str]:
        """Of both versions."""
        return {
            "FUNDUS_RELAY_DATABASE__URL": self.database_url,
            "FUNDUS_RELAY_DATA_DIR": str(self.folder),
            "FUNDUS_RELAY_PROBES__PORT": "0",
            "FUNDUS_RELAY_HTTP__PUBLIC_URL": "http://relay.test/fhir",
            "FUNDUS_RELAY_ANALYSER__BASE_URL": f"{self.standin}/v1",
            "FUNDUS_RELAY_ANALYSER__USERNAME": "demo",
            "FUNDUS_RELAY_ANALYSER__PASSWORD": "demo",
            "FUNDUS_RELAY_ANALYSER__POLL_INTERVAL": "1",
            "FUNDUS_RELAY_ANALYSER__AMBIGUOUS_UPLOAD": "resend-once",
            "FUNDUS_RELAY_ANALYSER__PRECHECK": "off",
            "FUNDUS_RELAY_RECORD__BASE_URL": f"{self.ehr}/fhir",
            "FUNDUS_RELAY_RECORD__PDF": "none",
            "FUNDUS_RELAY_RECORD__OVERLAYS": "none",
        }

    async def start(self, tree: Tree, *arguments: str, **environment: str) -> Part:
        """A process; killed at the end if it is still there."""
        self._count += 1
        name = f"{self._count}-{tree.name}-{'-'.join(each.strip('-') for each in arguments[:3])}"
        log = self.folder / f"{name}.log"
        with log.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "fundus_relay", *arguments),
                cwd=tree.path,
                env={**tree.environment(), **self.settings(), **environment},
                stdout=file,
                stderr=file,
            )
        part = Part(name, process, log)
        self.stack.push_async_callback(_end, part)
        return part

    async def run(self, tree: Tree, *arguments: str) -> tuple[int, str]:
        """A command to its end: exit code, and what it said."""
        part = await self.start(tree, *arguments)
        code = await asyncio.wait_for(part.process.wait(), 60)
        return code, part.log.read_text()

    async def api(self, tree: Tree) -> Part:
        port = free_port()
        part = await self.start(tree, "serve", "--only", "api", FUNDUS_RELAY_HTTP__PORT=str(port))
        part.url = f"http://127.0.0.1:{port}"
        await until(f"{part.name} is ready", lambda: self._answers(f"{part.url}/readyz"))
        return part

    async def worker(self, tree: Tree) -> Part:
        part = await self.start(tree, "serve", "--only", "worker")
        await until(f"{part.name} has started", lambda: part.times("started"))
        return part

    async def outside(self, tree: Tree, name: str) -> None:
        """Start the stand-in or the EHR; or the stand-in again, which remembers everything."""
        if (before := self.parties.get(name)) is not None:
            before.process.terminate()
            await before.process.wait()
        port = self.ports[name]
        memory = ["--state", str(self.folder / "standin.sqlite")] if name == "standin" else []
        self.parties[name] = await self.start(
            tree,
            *(name, "--port", str(port), *memory),
            FUNDUS_RELAY_STANDIN__ANALYSER="instant",
            FUNDUS_RELAY_STANDIN__CREDITS="100000",
        )
        await until(f"{name} answers", lambda: self._answers(f"http://127.0.0.1:{port}/livez"))

    async def fault(self, name: str, **faults: Any) -> None:  # Any: as the party wants it
        await self.ask(name, "faults", **faults)

    async def ask(self, name: str, what: str, **told: Any) -> None:  # Any: likewise
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(f"http://127.0.0.1:{self.ports[name]}/admin/{what}", json=told)
            answer.raise_for_status()

    async def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:  # Any: what a row holds
        async with await psycopg.AsyncConnection.connect(
            self.database_url, options="-c search_path=relay,engine"
        ) as connection:
            return await (await connection.execute(query.encode(), values)).fetchall()

    async def count(self, condition: str) -> int:
        return int((await self.rows(f"select count(*) from {condition}"))[0][0])  # noqa: S608 - the test's own

    async def until_count(self, least: int, condition: str, *, within_s: float = 90) -> None:
        async def is_enough() -> bool:
            return await self.count(condition) >= least

        await until(f"{least} {condition}", is_enough, within_s=within_s)

    async def _answers(self, url: str) -> bool:
        async with httpx.AsyncClient(trust_env=False) as client:
            with suppress(httpx.HTTPError):
                return (await client.get(url)).is_success
        return False

    def blobs_of(self, sha256: str) -> Sequence[Path]:
        return [path for path in (self.folder / "blobs").rglob(f"*{sha256[4:]}*") if path.is_file()]


async def _end(part: Part) -> None:
    if part.process.returncode is None:
        part.process.send_signal(signal.SIGKILL)
    await part.process.wait()


@asynccontextmanager
async def a_town(folder: Path, database_url: str) -> AsyncIterator[Town]:
    """With the code of both versions, and the parties outside at work."""
    async with AsyncExitStack() as stack:
        town = Town(folder, database_url, stack)
        town.ports = {"standin": free_port(), "ehr": free_port()}
        town.trees = {"old": old_tree(folder / "old"), "new": new_tree(folder / "new")}
        for name in town.ports:
            await town.outside(town.trees["new"], name)
        yield town


async def send(number: int, patient: str, api: str, *, data: bytes | None = None) -> str:
    """One photograph of this patient's visit; returns the id of its Media. Nothing but a 201 will do."""
    media = {
        "resourceType": "Media",
        "identifier": [{"system": SYSTEM, "value": f"{patient}-{number}"}],
        "status": "completed",
        "subject": {"reference": f"Patient/{patient}"},
        "encounter": {"reference": f"Encounter/{patient}"},
        "content": {
            "contentType": "image/jpeg",
            "data": base64.b64encode(picture(number) if data is None else data).decode(),
        },
    }
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        answer = await client.post(f"{api}/fhir/Media", json=media, headers=FHIR)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def take_back(media_id: str, api: str) -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        media = (await client.get(f"{api}/fhir/Media/{media_id}")).json()
        answer = await client.put(
            f"{api}/fhir/Media/{media_id}", json={**media, "status": "entered-in-error"}, headers=FHIR
        )
    assert answer.status_code == 200, answer.text
