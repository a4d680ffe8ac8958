"""(b) Whole images a second, zero-latency stand-in, beside the floor of their unavoidable work; (d) our own time."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import tempfile
import time
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import psycopg
from PIL import Image

from fundus_relay.adapters.database.embedded import embedded_postgres

from .photographs import bodies
from .processes import Watched, free_port, parties, started, surroundings

IMAGES = 80
AT_ONCE = 8
COMMITS = 8
"""Least number of commits: accept, sending, analysing, ended, answered and reported, writing, confirmed, prepared."""


@dataclass(frozen=True, slots=True)
class Row:
    """What one run gave."""

    what: str
    per_second: float
    own_p50_s: float | None = None
    own_p95_s: float | None = None


def measure() -> list[Row]:
    """The floor, the service, and the service with one image every half second."""
    rows = []
    with (
        tempfile.TemporaryDirectory(prefix="fundus-relay-bench-") as name,
        embedded_postgres(Path(name) / "pg") as url,
        parties("instant", name) as (standin, ehr),
    ):
        rows.append(Row("floor", asyncio.run(_floor(Path(name), url, standin, ehr))))
        port = free_port()
        environment = surroundings(name, url, port=port, standin=standin, ehr=ehr, poll_s=0.1)
        with started(["fundus_relay", "serve"], port, "/readyz", environment) as relay:
            asyncio.run(through(relay, 4, 0, every=0))  # warm
            rows.append(Row("relay, as fast as it can", asyncio.run(through(relay, IMAGES, 1000, every=0))))
            began = time.time()
            rate = asyncio.run(through(relay, 40, 5000, every=0.5))
            own = _own_times(url, began)
            rows.append(Row("relay, 2 images/s", rate, own[len(own) // 2], own[int(len(own) * 0.95)]))
    return rows


async def through(relay: Watched, count: int, first: int, *, every: float) -> float:
    """Send images and wait until every one is in a report at the EHR; returns images a second."""
    numbers = iter(range(first, first + count))
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{relay.port}/fhir", trust_env=False, timeout=120
    ) as client:

        async def sender() -> None:
            for number in numbers:
                answer = await client.post(
                    "/Media",
                    content=b"".join(bodies().number(number)),
                    headers={"Content-Type": "application/fhir+json", "Prefer": "return=minimal"},
                )
                answer.raise_for_status()
                if every:
                    await asyncio.sleep(every)

        began = time.perf_counter()
        before = await _completed(client)
        await asyncio.gather(*(sender() for _ in range(1 if every else AT_ONCE)))
        while await _completed(client) < before + count:  # noqa: ASYNC110 - another process completes them
            await asyncio.sleep(0.1)
        return count / (time.perf_counter() - began)


async def _completed(client: httpx.AsyncClient) -> int:
    answer = await client.get("/Task", params={"status": "completed", "_summary": "count"})
    return int(answer.raise_for_status().json()["total"])


def _own_times(url: str, since: float) -> list[float]:
    """Seconds from the end that the poll saw to the report that was read back at the EHR, sorted."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            """
            select extract(epoch from confirmed.at - ended.at)
              from relay.image
              join relay.transition as ended on ended.subject_id = image.id and ended.reason = 'analyser-ended'
              join relay.delivery on delivery.study_id = image.study_id
              join relay.transition as confirmed
                on confirmed.subject_id = delivery.id and confirmed.to_state = 'confirmed'
             where ended.at > to_timestamp(%s)
            """,
            [since],
        ).fetchall()
    return sorted(float(row[0]) for row in rows)


async def _floor(folder: Path, url: str, standin: int, ehr: int) -> float:
    """What cannot be avoided: receive, hash, fsync, decode, base64, the calls of both sides, the commits."""
    numbers = iter(range(100_000, 100_000 + IMAGES))
    async with (
        httpx.AsyncClient(trust_env=False, timeout=120) as client,
        await psycopg.AsyncConnection.connect(url, autocommit=True) as connection,
    ):
        api = f"http://127.0.0.1:{standin}/v1"
        token = (await client.post(f"{api}/getToken", data={"username": "demo", "password": "demo"})).json()["token"]
        await connection.execute("create table floor (n bigint)")

        async def worker() -> None:
            for number in numbers:
                picture = await asyncio.to_thread(_receive, number, folder)
                for _ in range(COMMITS):
                    await connection.execute("insert into floor values (%s)", [number])
                form = await asyncio.to_thread(_form, picture, token)
                kind = {"Content-Type": "application/x-www-form-urlencoded"}
                job = (await client.post(f"{api}/doAnalysis", content=form, headers=kind)).json()
                asked = {"token": token, "jobid": job["jobId"]}
                await client.post(f"{api}/getStatus", data=asked)
                await client.post(f"{api}/getResult", data=asked)
                await _publish(client, f"http://127.0.0.1:{ehr}/fhir", number)

        began = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
        return IMAGES / (time.perf_counter() - began)


def _receive(number: int, folder: Path) -> bytes:
    body = b"".join(bodies().number(number))
    start = body.index(b'"data": "') + 9
    picture = base64.b64decode(body[start : body.index(b'"', start)])
    with (folder / hashlib.sha256(picture).hexdigest()).open("wb") as file:
        file.write(picture)
        file.flush()
        os.fsync(file.fileno())
    Image.open(BytesIO(picture)).load()
    return picture


def _form(picture: bytes, token: str) -> bytes:
    encoded = base64.urlsafe_b64encode(picture).replace(b"=", b"%3D")
    rest = urlencode({"token": token, "imageName": "floor.jpg"}).encode()
    return b"image=data%3Aimage%2Fjpeg%3Bbase64%2C" + encoded + b"&" + rest


async def _publish(client: httpx.AsyncClient, ehr: str, number: int) -> None:
    """Search, one transaction with a report and five Observations, read back."""
    criteria = {"identifier": f"urn:floor|{number}"}
    await client.get(f"{ehr}/DiagnosticReport", params=criteria)
    code = {"text": "floor"}
    subject = {"reference": "Patient/demo-patient"}
    entries: list[dict[str, Any]] = [  # Any: FHIR
        _post({"resourceType": "Observation", "status": "preliminary", "code": code, "subject": subject}, number, part)
        for part in range(5)
    ]
    report = {"resourceType": "DiagnosticReport", "status": "preliminary", "code": code, "subject": subject}
    entries.append(_post(report, number, None))
    answer = await client.post(ehr, json={"resourceType": "Bundle", "type": "transaction", "entry": entries})
    answer.raise_for_status()
    await client.get(f"{ehr}/DiagnosticReport", params={**criteria, "_include": "DiagnosticReport:result"})


def _post(resource: dict[str, Any], number: int, part: int | None) -> dict[str, Any]:  # Any: FHIR
    value = f"{number}" if part is None else f"{number}-{part}"
    return {
        "resource": {**resource, "identifier": [{"system": "urn:floor", "value": value}]},
        "request": {
            "method": "POST",
            "url": resource["resourceType"],
            "ifNoneExist": f"identifier=urn:floor|{value}",
        },
    }


def table(rows: list[Row]) -> str:
    """As Markdown."""
    floor = rows[0].per_second
    lines = ["| run | images/s | of the floor | own time p50 s | p95 s |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        own = f"{row.own_p50_s:.2f} | {row.own_p95_s:.2f}" if row.own_p95_s is not None else "– | –"
        lines.append(f"| {row.what} | {row.per_second:.1f} | {row.per_second / floor:.2f} | {own} |")
    return "\n".join(lines)
