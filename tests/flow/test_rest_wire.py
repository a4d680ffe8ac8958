"""The FHIR endpoint over a real socket: what happens to bodies in flight."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
import uvicorn
from tests.unit.imaging.pictures import a_jpeg

from fundus_relay.adapters.blobs import DirectoryBlobs
from fundus_relay.adapters.clock import SystemClock
from fundus_relay.adapters.database.ledger import PostgresLedger
from fundus_relay.adapters.image_archive import HttpImageArchive
from fundus_relay.api.app import application
from fundus_relay.pipeline.receive import Limits

Json = dict[str, Any]


@pytest.fixture
async def base(ledger: PostgresLedger, tmp_path: Path) -> AsyncIterator[str]:
    """URL of the FHIR endpoint of a server on a free port."""
    app = application(
        ledger=ledger,
        blobs=DirectoryBlobs(tmp_path),
        archive=HttpImageArchive(sources=(), private_networks=()),
        clock=SystemClock(),
        limits=Limits(),
        max_body_bytes=30_000_000,
    )
    server = uvicorn.Server(uvicorn.Config(app, port=0, http="httptools", log_config=None, access_log=False))
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup()
    turning = asyncio.create_task(server.main_loop())
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}/fhir"
    server.should_exit = True
    await turning
    await server.shutdown()


def a_media(**elements: Any) -> Json:
    return {
        "resourceType": "Media",
        "status": "completed",
        "subject": {"reference": "Patient/p1"},
        "content": {"contentType": "image/jpeg", "data": base64.b64encode(a_jpeg()).decode()},
        **elements,
    }


@pytest.mark.parametrize("content_type", ["application/fhir+xml", "application/json"])
async def test_a_sender_of_megabytes_reads_why_it_was_refused(base: str, content_type: str) -> None:
    body = b"[" * 25_000_000

    answer = await asyncio.to_thread(
        requests.post, f"{base}/Media", data=body, headers={"Content-Type": content_type}, timeout=30
    )

    assert 400 <= answer.status_code < 500
    assert answer.json()["resourceType"] == "OperationOutcome"


async def test_a_sender_that_leaves_in_the_middle_leaves_nothing(base: str, caplog: pytest.LogCaptureFixture) -> None:
    host, port = base.removeprefix("http://").removesuffix("/fhir").split(":")
    body = json.dumps(a_media()).encode()
    with caplog.at_level(logging.INFO):
        _, writer = await asyncio.open_connection(host, int(port))
        head = (
            f"POST /fhir/Media HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        )
        writer.write(f"{head}\r\n".encode() + body[:-100])
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        async with httpx.AsyncClient() as client:
            found = await client.get(f"{base}/Media?_summary=count")

    assert found.json()["total"] == 0
    assert "request-failed" not in caplog.messages


async def test_the_log_names_the_route_and_no_patient(base: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="fundus_relay"):
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"{base}/Patient/MRN-4711?identifier=MRN-4711")

    (record,) = [record for record in caplog.records if record.message == "request"]
    assert record.route == "read"
    assert record.status == 404
    assert record.request == answer.headers["x-request-id"]
    assert "4711" not in str(record.__dict__)


async def test_head_answers_without_a_body(base: str) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.head(f"{base}/metadata/")

    assert answer.status_code == 200
    assert answer.content == b""
