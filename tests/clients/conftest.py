"""Stock clients, each in its own process, against the real application on real PostgreSQL, over real HTTP."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.serving import an_application, served

from fundus_relay.adapters.database.ledger import PostgresLedger

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

Json = dict[str, Any]  # Any: FHIR JSON


class RefusedError(Exception):
    """What a client shows of an error.

    Attributes:
        status: HTTP status, or None from a client that does not tell.
        why: the body, or what the client makes of it.
        says: the client's own message.
    """

    def __init__(self, status: int | None, why: str, says: str) -> None:
        super().__init__(f"{status} {says} {why}")
        self.status = status
        self.why = why
        self.says = says


class Client:
    """A program that uses a stock client; it starts with the first act and serves the whole run."""

    def __init__(self, name: str, command: tuple[str, ...], installed: Path | None = None) -> None:
        """Describe it.

        Args:
            command: reads acts and writes what the client gave, a line of JSON each.
            installed: what `make clients` leaves when everything that it needs is there.
        """
        self.name = name
        self.command = command
        self.installed = installed
        self._process: asyncio.subprocess.Process | None = None

    async def __call__(self, base: str, act: str, **arguments: Any) -> Any:  # Any: what the act gives, as JSON
        """What the client gave. Raises RefusedError with what it shows of an error."""
        if self._process is None:
            self._process = await asyncio.create_subprocess_exec(
                *self.command, cwd=HERE, stdin=PIPE, stdout=PIPE, limit=10_000_000
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"base": base, "act": act, "with": arguments}).encode() + b"\n")
        await self._process.stdin.drain()
        line = await self._process.stdout.readline()
        assert line, f"{self.name} ended: its stderr says why"
        answer = json.loads(line)
        if "refused" in answer:
            raise RefusedError(answer["refused"], answer["why"], answer["says"])
        return answer["gave"]

    async def end(self) -> None:
        """Let the program end; another act would start it again."""
        if self._process is not None:
            await self._process.communicate(b"")  # closes stdin
            self._process = None


KINDLING, NODE = ROOT / ".venv-kindling", HERE / "node_modules"

CLIENTS = {
    each.name: each
    for each in (
        Client("fhirclient", (sys.executable, "fhirclient_driver.py")),
        Client("fhirpy", (sys.executable, "fhirpy_driver.py")),
        Client("kindling", (f"{KINDLING}/bin/python", "kindling_driver.py"), KINDLING / ".installed"),
        Client("fhir_kit", ("node", "fhir_kit_driver.mjs"), NODE / ".installed"),
        Client("medplum", ("node", "medplum_driver.mjs"), NODE / ".installed"),
    )
}


@pytest.fixture(scope="session")
async def clients() -> AsyncIterator[dict[str, Client]]:
    yield CLIENTS
    for each in CLIENTS.values():
        await each.end()


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest, clients: dict[str, Client]) -> Client:
    """Each of the five in turn; a test that is for some of them names them by indirect parameters."""
    chosen = clients[request.param]
    if chosen.installed == NODE / ".installed" and shutil.which("node") is None:
        pytest.skip(f"NOT RUN: {chosen.name} IS NOT TESTED, because Node is not on this machine (20.19 or newer)")
    if chosen.installed is not None and not chosen.installed.exists():
        pytest.skip(f"NOT RUN: {chosen.name} IS NOT TESTED, because it is not installed: `make clients` does it")
    return chosen


@pytest.fixture
async def base(ledger: PostgresLedger, tmp_path: Path) -> AsyncIterator[str]:
    """URL of the FHIR endpoint, without a slash at its end."""
    app = an_application(ledger, tmp_path)
    async with served(app) as origin:
        yield f"{origin}/fhir"
