"""Probes of real processes: a worker alone has them, and readiness ends before the work does."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import tempfile
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from tests.interruption import Interruption
from tests.unit.test_environment import NEEDED

from fundus_relay.adapters.database.embedded import embedded_postgres

pytestmark = pytest.mark.slow

FHIR = {"Content-Type": "application/fhir+json"}
SEEN_WITHIN_S = 15
"""Of a database that went away, or came back."""


PURGED = 'fundus_relay_rounds_total{outcome="ok",task="purge"}'
"""As the alerts have it."""


@pytest.fixture
def own_database() -> Iterator[Path]:
    """A folder that no other run of pytest closes to the server's user, as it does with all of `tmp_path`."""
    with tempfile.TemporaryDirectory(prefix="fundus-relay-tests-") as folder:
        yield Path(folder)


@asynccontextmanager
async def serving(only: str, url: str, folder: Path, **more: str) -> AsyncIterator[tuple[Process, int, str]]:
    """The process, its own port, and its probes once they say that it is ready. `more` is its environment."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        port, probed = one.getsockname()[1], other.getsockname()[1]
    given = {
        **NEEDED,
        "FUNDUS_RELAY_DATABASE__URL": url,
        "FUNDUS_RELAY_DATA_DIR": str(folder),
        "FUNDUS_RELAY_HTTP__PORT": str(port),
        "FUNDUS_RELAY_PROBES__PORT": str(probed),
        **more,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fundus_relay", "serve", "--only", only, env=os.environ | given
    )
    probes = f"http://127.0.0.1:{probed}"
    try:
        await until(f"{probes}/readyz", 200, process)
        yield process, port, probes
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def until(url: str, status: int, process: Process, *, seconds: float = 60) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(seconds):
        while process.returncode is None:
            try:
                answer = await client.get(url)
                if answer.status_code == status:
                    return answer
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)
    raise RuntimeError(f"the service ended with {process.returncode}")


async def test_a_worker_alone_has_probes_and_metrics(database_url: str, tmp_path: Path) -> None:
    ages = {"FUNDUS_RELAY_RETENTION__SOURCE_PICTURES_DAYS": "30", "FUNDUS_RELAY_RETENTION__PAGES_DAYS": "90"}
    async with serving("worker", database_url, tmp_path, **ages) as (process, _, probes):
        assert (await until(f"{probes}/livez", 200, process)).text == "live\n"
        told = ""
        async with asyncio.timeout(60):
            while PURGED not in told:  # as soon as it leads
                told = (await until(f"{probes}/metrics", 200, process)).text
        process.terminate()
        code = await asyncio.wait_for(process.wait(), 30)

    assert 'fundus_relay_rows{state="received",subject="image"}' in told
    assert "fundus_relay_retention_classes 2.0" in told
    assert code == 0


async def test_who_is_being_stopped_says_so_while_what_is_under_way_still_ends(
    database_url: str, tmp_path: Path
) -> None:
    async with serving("api", database_url, tmp_path) as (process, port, probes):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"POST /fhir/Patient HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 30\r\n\r\n"
        )
        await writer.drain()
        process.send_signal(signal.SIGTERM)

        await until(f"{probes}/readyz", 503, process)
        assert (await until(f"{probes}/livez", 200, process)).text == "live\n"
        writer.write(b'{"resourceType": "Patient"   }')
        head = await asyncio.wait_for(reader.readline(), 30)
        writer.close()
        code = await asyncio.wait_for(process.wait(), 30)

    assert head == b"HTTP/1.1 201 Created\r\n"
    assert code == 0


async def test_a_database_that_goes_away_ends_readiness_alone_until_it_is_back(own_database: Path) -> None:
    """With a server of its own, which takes its time to start and to stop; what is seen is in observability.md."""
    folder = own_database / "database"
    server = Interruption(folder)
    with embedded_postgres(folder) as url:
        async with serving("api", url, own_database) as (process, port, probes):
            await asyncio.to_thread(server.stop)
            told = await until(f"{probes}/readyz", 503, process, seconds=SEEN_WITHIN_S)
            alive = [await until(f"{each}/livez", 200, process) for each in (probes, f"http://127.0.0.1:{port}")]
            async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
                sent = await client.post(
                    f"http://127.0.0.1:{port}/fhir/Patient", json={"resourceType": "Patient"}, headers=FHIR
                )
            counted = (await until(f"{probes}/metrics", 200, process)).text
            await asyncio.to_thread(server.start)
            await until(f"{probes}/readyz", 200, process, seconds=SEEN_WITHIN_S)
            process.terminate()
            code = await asyncio.wait_for(process.wait(), 30)

    assert told.text == "the database does not answer\n"
    assert [each.text for each in alive] == ["live\n"] * 2
    assert (sent.status_code, sent.json()["issue"][0]["code"]) == (503, "transient")
    assert "fundus_relay_census_timestamp_seconds" in counted
    assert code == 0
