"""Replicas as people start them: one that is killed for good, and one that is up before its database."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import psycopg
import pytest
from tests.bench.processes import free_port
from tests.interruption import Interruption
from tests.serving import served
from tests.system.faults.callers import Photograph, picture

from fundus_relay.adapters.database.embedded import embedded_postgres
from fundus_relay.demonstration.ehr import demonstration_ehr
from fundus_relay.standin.app import standin
from fundus_relay.standin.settings import StandinSettings

pytestmark = pytest.mark.slow  # the leases are those of production

TAKEN_OVER_WITHIN_S = 30
PICTURES = 6


def an_environment(url: str, folder: Path, standin_url: str = "http://127.0.0.1:9", ehr: str = "") -> dict[str, str]:
    return {
        "FUNDUS_RELAY_DATABASE__URL": url,
        "FUNDUS_RELAY_PROBES__PORT": "0",
        "FUNDUS_RELAY_DATA_DIR": str(folder),
        "FUNDUS_RELAY_ANALYSER__BASE_URL": f"{standin_url}/v1",
        "FUNDUS_RELAY_ANALYSER__USERNAME": "demo",
        "FUNDUS_RELAY_ANALYSER__PASSWORD": "demo",
        "FUNDUS_RELAY_ANALYSER__POLL_INTERVAL": "1",
        "FUNDUS_RELAY_ANALYSER__AMBIGUOUS_UPLOAD": "resend-once",
        "FUNDUS_RELAY_RECORD__BASE_URL": f"{ehr or 'http://127.0.0.1:9'}/fhir",
    }


@asynccontextmanager
async def a_replica(only: str, environment: Mapping[str, str]) -> AsyncIterator[Process]:
    """`fundus-relay serve --only ...`; killed at the end if it is still there."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "fundus_relay", "serve", "--only", only),
        env={**os.environ, **environment},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def told(process: Process, event: str) -> str:
    """The next line of the log with this event."""
    assert process.stderr is not None
    async with asyncio.timeout(30):
        async for line in process.stderr:
            if f'"{event}"' in line.decode():
                return line.decode()
    raise AssertionError(f"the process ended before it said {event}")


async def drained(process: Process) -> None:
    assert process.stderr is not None
    while await process.stderr.read(65536):
        pass


async def post(photograph: Photograph, base: str, client: httpx.AsyncClient) -> None:
    media = {
        "resourceType": "Media",
        "status": "completed",
        "subject": {"reference": "Patient/demo-patient"},
        "content": {"contentType": "image/jpeg", "data": picture(photograph.noise)},
    }
    answer = await client.post(f"{base}/fhir/Media", json=media, headers={"Content-Type": "application/fhir+json"})
    assert answer.status_code == 201, answer.text


async def paid(standin_url: str, client: httpx.AsyncClient) -> int:
    return int((await client.get(f"{standin_url}/admin/counts")).json()["uploads"])


async def reports(ehr_url: str, client: httpx.AsyncClient) -> int:
    return int((await client.get(f"{ehr_url}/admin/counts")).json().get("DiagnosticReport", 0))


async def ids(url: str, query: str, *values: object) -> list[int]:
    async with await psycopg.AsyncConnection.connect(url, options="-c search_path=relay,engine") as connection:
        return [row[0] for row in await (await connection.execute(query.encode(), values)).fetchall()]


async def test_the_work_of_one_of_three_workers_that_is_killed_for_good_is_taken_over_within_30_seconds(
    database_url: str, tmp_path: Path
) -> None:
    analyser = standin(StandinSettings(analyser="instant", state=tmp_path / "standin.sqlite", latency_s=0.7))
    async with AsyncExitStack() as stack:
        standin_url = await stack.enter_async_context(served(analyser))
        ehr_url = await stack.enter_async_context(served(demonstration_ehr(None)))
        environment = an_environment(database_url, tmp_path, standin_url, ehr_url)
        ports = [free_port(), free_port()]
        for port in ports:
            api = await stack.enter_async_context(
                a_replica("api", {**environment, "FUNDUS_RELAY_HTTP__PORT": str(port)})
            )
            await told(api, "started")
            reading = asyncio.create_task(drained(api))
            stack.callback(reading.cancel)
        victim = await stack.enter_async_context(a_replica("worker", environment))
        await told(victim, "started")
        client = await stack.enter_async_context(httpx.AsyncClient(trust_env=False, timeout=30))
        for number in range(PICTURES):
            await post(Photograph("", "", "", number), f"http://127.0.0.1:{ports[number % 2]}", client)
        async with asyncio.timeout(30):  # it has been paid for something, and holds the rest
            while not await paid(standin_url, client):  # noqa: ASYNC110 - other processes do it
                await asyncio.sleep(0.05)
        its_workers = await ids(database_url, "select id from procrastinate_workers")
        for _ in range(2):
            heir = await stack.enter_async_context(a_replica("worker", environment))
            await told(heir, "started")
            reading = asyncio.create_task(drained(heir))
            stack.callback(reading.cancel)
        for number in range(PICTURES, 2 * PICTURES):
            await post(Photograph("", "", "", number), f"http://127.0.0.1:{ports[number % 2]}", client)
        victim.kill()
        killed_at = time.monotonic()

        held = "select id from procrastinate_jobs where status = 'doing' and worker_id = any(%s)"
        async with asyncio.timeout(TAKEN_OVER_WITHIN_S):
            while await ids(database_url, held, its_workers):  # noqa: ASYNC110 - other processes do it
                await asyncio.sleep(0.2)
        taken_over_s = time.monotonic() - killed_at
        async with asyncio.timeout(60):  # what was under way rests for 15 seconds before it is settled
            while await reports(ehr_url, client) < 2 * PICTURES:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.2)
        uploads = await paid(standin_url, client)
        counted = await ids(database_url, "select possibly_double_spent from account")

    assert taken_over_s < TAKEN_OVER_WITHIN_S
    assert 2 * PICTURES <= uploads <= 2 * PICTURES + counted[0]


async def test_a_process_that_is_up_before_its_database_waits_for_it(tmp_path: Path) -> None:
    server = Interruption(tmp_path / "database")
    with embedded_postgres(tmp_path / "database") as url:
        await asyncio.to_thread(server.stop)
        async with a_replica("worker", an_environment(url, tmp_path)) as waiting:
            assert '"attempt": 1' in await told(waiting, "store-awaited")
            assert '"attempt": 2' in await told(waiting, "store-awaited")
            await asyncio.to_thread(server.start)
            await told(waiting, "started")
            waiting.terminate()
            assert await asyncio.wait_for(waiting.wait(), 20) == 0
        await asyncio.to_thread(server.stop)
        async with a_replica("worker", an_environment(url, tmp_path)) as waiting:
            await told(waiting, "store-awaited")
            waiting.terminate()  # nobody has to wait for it
            assert await asyncio.wait_for(waiting.wait(), 10) == 0
        await asyncio.to_thread(server.start)
