"""The FHIR endpoint over a real socket: what happens to bodies in flight."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import select
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import requests
import uvicorn
from tests.serving import an_application
from tests.unit.imaging.pictures import a_jpeg

from fundus_relay import metrics
from fundus_relay.adapters.database.ledger import PostgresLedger
from fundus_relay.api.server import listen
from fundus_relay.settings import Http

Json = dict[str, Any]


@pytest.fixture
async def base(ledger: PostgresLedger, tmp_path: Path) -> AsyncIterator[str]:
    """URL of the FHIR endpoint of a server on a free port."""
    app = an_application(ledger, tmp_path)
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


@pytest.fixture
async def impatient(ledger: PostgresLedger, tmp_path: Path) -> AsyncIterator[tuple[str, int]]:
    """Host and port of the server as the service runs it, for callers that are never silent for a second."""
    silence, stop = timedelta(seconds=1), asyncio.Event()
    app = an_application(ledger, tmp_path, silence=silence)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    listening = asyncio.create_task(listen(app, Http(port=port, silence=silence, max_connections=8), stop))
    async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(retries=5)) as client:
        assert (await client.get(f"http://127.0.0.1:{port}/livez")).status_code == 200
    yield "127.0.0.1", port
    stop.set()
    await listening


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


HEAD = b"POST /fhir/Media HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (b"", b""),
        (HEAD[:20], b""),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" + HEAD[:20], b"HTTP/1.1 200 OK"),
        (HEAD + b"Content-Length: 900\r\n\r\n", b"HTTP/1.1 408 Request Timeout"),
        (HEAD + b"Content-Length: 900\r\n\r\n{", b"HTTP/1.1 408 Request Timeout"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", b"HTTP/1.1 408 Request Timeout"),
        (HEAD.replace(b"json", b"xml") + b"Content-Length: 900\r\n\r\n{", b"HTTP/1.1 415 Unsupported Media Type"),
    ],
)
async def test_who_falls_silent_is_not_waited_for(impatient: tuple[str, int], sent: bytes, answered: bytes) -> None:
    reader, writer = await asyncio.open_connection(*impatient)
    writer.write(sent)

    async with asyncio.timeout(10):
        said = await reader.read()  # till the server closes

    assert said.split(b"\r\n")[0] == answered
    assert b"body-too-slow" in said or b"408" not in answered
    writer.close()


async def test_what_follows_a_refusal_does_not_hold_the_connection(impatient: tuple[str, int]) -> None:
    reader, writer = await asyncio.open_connection(*impatient)
    writer.write(HEAD.replace(b"json", b"xml") + b"Content-Length: 900\r\n\r\n{")
    refusal = await reader.readuntil(b"\r\n\r\n")
    writer.write(b"{")

    async with asyncio.timeout(10):
        await reader.read()

    assert refusal.startswith(b"HTTP/1.1 415")
    writer.close()


async def test_a_head_must_come_whole_though_it_moves(impatient: tuple[str, int]) -> None:
    reader, writer = await asyncio.open_connection(*impatient)
    writer.write(HEAD)

    async with asyncio.timeout(10):
        while await nothing_for(reader, seconds=0.3):
            writer.write(b"x")

    assert reader.at_eof()
    writer.close()


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (HEAD + b"X: ", b"x" * 2**16),
        (HEAD, b"X: x\r\n" * 2**13),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGET /", b"x" * 2**16),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n", b"X: x\r\n" * 2**13),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1;x=" + b"x" * 2**16 + b"\r\n{\r\n"),
    ],
    ids=["value", "fields", "second", "trailer", "chunks"],
)
async def test_a_head_without_end_is_not_kept(impatient: tuple[str, int], start: bytes, more: bytes) -> None:
    _, writer = await asyncio.open_connection(*impatient)
    writer.write(start)

    with pytest.raises(ConnectionError):
        async with asyncio.timeout(10):
            for _ in range(1000):
                writer.write(more)
                await writer.drain()


async def test_a_body_in_small_chunks_is_taken(impatient: tuple[str, int]) -> None:
    body = json.dumps(a_media()).encode()
    pieces = [body[at : at + 64] for at in range(0, len(body), 64)]
    reader, writer = await asyncio.open_connection(*impatient)
    writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    writer.writelines(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""])

    assert (await reader.readline()).startswith(b"HTTP/1.1 201")
    writer.close()


async def test_a_slow_body_that_moves_is_taken(impatient: tuple[str, int]) -> None:
    body = json.dumps(a_media()).encode()
    reader, writer = await asyncio.open_connection(*impatient)
    writer.write(HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode() + body[:-5])

    for piece in body[-5:]:
        assert await nothing_for(reader, seconds=0.4)
        writer.write(bytes([piece]))

    assert (await reader.readline()).startswith(b"HTTP/1.1 201")
    writer.close()


async def test_who_takes_no_answer_is_cut_off(impatient: tuple[str, int]) -> None:
    question, _ = await a_picture_behind(impatient)
    with socket.create_connection(impatient) as caller:
        caller.sendall(question * 50)
        cut_off = select.poll()
        cut_off.register(caller, 0)  # tells of errors only

        assert await asyncio.to_thread(cut_off.poll, 20_000)


async def test_an_answer_that_is_taken_slowly_comes_whole(impatient: tuple[str, int]) -> None:
    question, byte_count = await a_picture_behind(impatient)
    with socket.socket() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**15)
        caller.connect(impatient)
        caller.setblocking(False)
        loop, taken = asyncio.get_running_loop(), 0
        await loop.sock_sendall(caller, question * 10)

        for _ in range(8):
            await asyncio.sleep(0.4)  # this is the slow caller
            taken += len(await loop.sock_recv(caller, 2**14))
        while taken < 10 * byte_count:
            piece = await loop.sock_recv(caller, 2**20)
            assert piece, "cut off"
            taken += len(piece)


async def a_picture_behind(server: tuple[str, int]) -> tuple[bytes, int]:
    """A request for a picture on its server, and the picture's bytes."""
    picture = a_jpeg(noise=80)
    content = {"contentType": "image/jpeg", "data": base64.b64encode(picture).decode()}
    async with httpx.AsyncClient(base_url="http://{}:{}/fhir".format(*server)) as client:
        media = (await client.post("Media", json=a_media(content=content))).json()
    path = urlsplit(media["content"]["url"]).path
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode(), len(picture)


async def test_who_keeps_a_connection_is_told_when_it_ends(ledger: PostgresLedger, tmp_path: Path) -> None:
    stop = asyncio.Event()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    app = an_application(ledger, tmp_path)
    listening = asyncio.create_task(listen(app, Http(port=port), stop, leave_s=30))
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", transport=httpx.AsyncHTTPTransport(retries=5)
    ) as client:
        before = await client.get("/livez")
        stop.set()
        after = await client.get("/livez")

        assert (before.status_code, "connection" in before.headers) == (200, False)
        assert (after.status_code, after.headers["connection"]) == (200, "close")
        async with asyncio.timeout(10):  # there is nobody left to be told
            await listening


async def test_one_connection_too_many_is_sent_away_till_others_leave(impatient: tuple[str, int]) -> None:
    question = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    labels = {"route": "too-many-connections", "method": "GET", "status": "503"}
    before = metrics.REGISTRY.get_sample_value("fundus_relay_http_requests_total", labels) or 0
    *others, (reader, writer) = [await asyncio.open_connection(*impatient) for _ in range(8)]

    writer.write(question)
    crowded = await reader.readline()
    for _, other in others:
        other.close()
        await other.wait_closed()
    async with httpx.AsyncClient() as client:
        after = await client.get("http://{}:{}/livez".format(*impatient))

    assert crowded == b"HTTP/1.1 503 Service Unavailable\r\n"
    assert metrics.REGISTRY.get_sample_value("fundus_relay_http_requests_total", labels) == before + 1
    assert after.status_code == 200


async def nothing_for(reader: asyncio.StreamReader, *, seconds: float) -> bool:
    """Whether the server neither says anything nor closes in that time."""
    try:
        await asyncio.wait_for(reader.read(1), seconds)
    except TimeoutError:
        return True
    return False


async def test_the_log_names_the_route_and_no_patient(base: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="fundus_relay"):
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"{base}/Patient/MRN-4711?identifier=MRN-4711")

    (record,) = [record for record in caplog.records if record.message == "request"]
    assert record.route == "read"
    assert record.status == 404
    assert record.request == answer.headers["x-request-id"]
    assert "4711" not in str(record.__dict__)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /fhir/Patient/%00 HTTP/1.1", 404),
        (b"GET /fhir/Patient/%ff HTTP/1.1", 404),
        (b"GET /fhir/Patient/p1%2F_history%2F1 HTTP/1.1", 404),
        (b"GET /fhir/Patient/p1/_history/%d9%a1 HTTP/1.1", 404),
        (b"GET /fhir/Patient/p1/_history/99999999999999999999 HTTP/1.1", 404),
        (b"GET /fhir//Patient HTTP/1.1", 404),
        (b"GET /fhir/Patient// HTTP/1.1", 404),
        (b"GET //fhir/Patient HTTP/1.1", 404),
        (b"GET /fhir/Patient?_count=99999999999999999999 HTTP/1.1", 400),
        (b"GET /fhir/Patient?identifier=%ff HTTP/1.1", 400),
        (b"GET /fhir/Patient?_format=%ff HTTP/1.1", 406),
        (b"GET /fhir/Patient HTTP/1.1\r\nAccept: \xff;q=x", 406),
        (b"TRACE /fhir/Patient HTTP/1.1", 405),
        (b"PROPFIND /fhir/Patient/p1 HTTP/1.1", 405),
        (b"OPTIONS /fhir HTTP/1.1", 405),
        (b"POST /fhir/Patient HTTP/1.1\r\nContent-Type: application/json\r\nIf-None-Exist: \xff=%00", 400),
    ],
)
async def test_what_nobody_should_send_is_refused_in_words(base: str, head: bytes, status: int) -> None:
    said, body = await answer_to(base, head)

    assert said.startswith(f"HTTP/1.1 {status} ".encode())
    assert json.loads(body)["resourceType"] == "OperationOutcome"


@pytest.mark.parametrize(
    "line",
    [
        b"Host: [",
        b"Host: \xff",
        b"Host: x:99999999",
        b"If-None-Match: \xff",
        b"If-Modified-Since: Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        b"If-Modified-Since: Mon, 01 Jan 0001 00:00:00 +2359",
        b"Prefer: \xff=\xff",
    ],
)
async def test_an_odd_header_keeps_nobody_from_reading(base: str, line: bytes) -> None:
    async with httpx.AsyncClient() as client:
        await client.put(f"{base}/Patient/p1", json={"resourceType": "Patient", "id": "p1"})

    said, body = await answer_to(base, b"GET /fhir/Patient/p1 HTTP/1.1\r\n" + line)

    assert said.startswith(b"HTTP/1.1 200 ")
    assert json.loads(body)["id"] == "p1"


@pytest.mark.parametrize(
    ("request_line", "allowed"),
    [
        (b"PROPFIND /fhir/Patient/p1 HTTP/1.1", b"GET, PUT"),
        (b"TRACE /fhir/Patient HTTP/1.1", b"GET, POST"),
        (b"TRACE /fhir/Task/ HTTP/1.1", b"GET"),
        (b"DELETE /livez HTTP/1.1", b"GET"),
    ],
)
async def test_a_method_that_is_refused_is_answered_with_those_that_are_not(
    base: str, request_line: bytes, allowed: bytes
) -> None:
    said, _ = await answer_to(base, request_line)

    assert b"allow: " + allowed in said.split(b"\r\n")


async def answer_to(base: str, head: bytes) -> tuple[bytes, bytes]:
    """Head and body of what is answered to a request without a body."""
    host, port = base.removeprefix("http://").removesuffix("/fhir").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(head + b"\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    said, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return said, body


async def test_head_answers_without_a_body(base: str) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.head(f"{base}/metadata/")

    assert answer.status_code == 200
    assert answer.content == b""
