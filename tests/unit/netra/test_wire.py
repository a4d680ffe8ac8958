"""What each failure of a call means for an image and for its credit."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from pydantic import SecretStr
from tests.fakes.analyser import TokensInMemory, Whole
from tests.fakes.analyser import upload as hand_in

from fundus_relay.adapters.analyser.netra import NetraAnalyser
from fundus_relay.adapters.clock import SystemClock
from fundus_relay.domain.errors import (
    AnalyserDeclined,
    AnalyserRefused,
    AnalyserUnavailable,
    AnswerNotUnderstood,
    CredentialsRefused,
    CreditsExhausted,
    RelayError,
    StoreUnavailable,
    UploadAmbiguous,
)
from fundus_relay.domain.values import JobStatus, Upload
from fundus_relay.settings import NetraAccount

PICTURE = b"\xff\xd8\xff" + bytes(600_000)
TOKEN = {
    "status": 200,
    "token": "the-token",
    "remaining": 9,
    "validUpto": 4_070_908_800_000,
}

Handler = Callable[[httpx.Request], httpx.Response]


def an_account(**fields: Any) -> NetraAccount:  # Any: a subset of the account's settings
    return NetraAccount(
        **{"base_url": "http://netra.test/v1/", "username": "user", "password": SecretStr("the-password"), **fields}
    )


@asynccontextmanager
async def analyser(transport: httpx.AsyncBaseTransport | Handler, **fields: Any) -> AsyncIterator[NetraAnalyser]:
    """One whose calls, but for the token's, are answered by `transport`."""
    carried = transport if isinstance(transport, httpx.AsyncBaseTransport) else httpx.MockTransport(transport)
    async with NetraAnalyser(
        an_account(**fields), TokensInMemory(), SystemClock(), transport=_WithToken(carried)
    ) as opened:
        yield opened


class _WithToken(httpx.AsyncBaseTransport):
    def __init__(self, others: httpx.AsyncBaseTransport) -> None:
        self._others = others

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/getToken":
            return httpx.Response(200, json=TOKEN)
        return await self._others.handle_async_request(request)


class BreakingAfter(httpx.AsyncBaseTransport):
    """Reads so much of the body, then ends with an error or an early answer."""

    def __init__(self, share: float, end: Exception | httpx.Response) -> None:
        self._share = share
        self._end = end

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        wanted = int(request.headers["content-length"]) * self._share
        read = 0
        assert isinstance(request.stream, httpx.AsyncByteStream)
        async for piece in request.stream:
            read += len(piece)
            if read >= wanted:
                break
        if isinstance(self._end, Exception):
            raise self._end
        return self._end


def failing(error: Exception) -> Handler:
    def fail(_: httpx.Request) -> httpx.Response:
        raise error

    return fail


def saying(status: int = 200, **how: Any) -> Handler:  # Any: as httpx.Response takes it
    return lambda _: httpx.Response(status, **how)


async def upload(transport: httpx.AsyncBaseTransport | Handler, **fields: Any) -> Upload:
    async with analyser(transport, **fields) as opened:
        return await hand_in(opened, PICTURE)


@pytest.mark.parametrize("error", [httpx.ConnectError(""), httpx.ConnectTimeout(""), httpx.PoolTimeout("")])
async def test_without_a_connection_nothing_was_taken(error: Exception) -> None:
    class Unconnected(httpx.AsyncBaseTransport):
        async def handle_async_request(self, _: httpx.Request) -> httpx.Response:
            raise error

    with pytest.raises(AnalyserUnavailable):
        await upload(Unconnected())


LOST = [
    httpx.WriteError(""),
    httpx.WriteTimeout(""),
    httpx.ReadError(""),
    httpx.ReadTimeout(""),
    httpx.RemoteProtocolError(""),
]


@pytest.mark.parametrize("error", LOST, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("share", [0, 0.5, 0.99])
async def test_a_connection_lost_before_the_token_left_took_nothing(error: Exception, share: float) -> None:
    with pytest.raises(AnalyserUnavailable):
        await upload(BreakingAfter(share, error))


@pytest.mark.parametrize("error", LOST, ids=lambda error: type(error).__name__)
async def test_a_connection_lost_after_the_token_left_is_ambiguous(error: Exception) -> None:
    with pytest.raises(UploadAmbiguous):
        await upload(BreakingAfter(1, error))


@pytest.mark.parametrize(
    ("status", "kind"),
    [(500, AnalyserUnavailable), (503, AnalyserUnavailable), (429, AnalyserUnavailable), (413, AnalyserRefused)],
)
async def test_an_error_before_the_form_was_read_took_nothing(status: int, kind: type[RelayError]) -> None:
    with pytest.raises(kind):
        await upload(BreakingAfter(0.5, httpx.Response(status)))


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nRetry-After: 3\r\n\r\n"])
async def test_a_server_that_hangs_up_in_the_middle_of_a_form_took_nothing(answer: bytes) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"getToken" in await reader.readuntil(b"\r\n\r\n"):
            body = json.dumps(TOKEN).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            return
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        account = an_account(base_url=f"http://127.0.0.1:{port}/v1")
        async with NetraAnalyser(account, TokensInMemory(), SystemClock()) as opened:
            with pytest.raises(AnalyserUnavailable):
                await hand_in(opened, bytes(60_000_000))  # more than any socket holds


class Breaking(Whole):
    """A picture whose store fails when only its last piece is missing."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        *before, _ = [piece async for piece in super().__aiter__()]
        for piece in before:
            yield piece
        raise StoreUnavailable


async def test_a_picture_whose_store_fails_half_way_leaves_no_token_behind() -> None:
    heard = bytearray()
    is_over = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"getToken" in (head := await reader.readuntil(b"\r\n\r\n")):
            body = json.dumps(TOKEN).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            return
        heard.extend(head)
        while piece := await reader.read(65_536):
            heard.extend(piece)
        is_over.set()
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        account = an_account(base_url=f"http://127.0.0.1:{port}/v1")
        async with NetraAnalyser(account, TokensInMemory(), SystemClock()) as opened, opened.ready() as hand_in:
            with pytest.raises(StoreUnavailable):
                await hand_in(Breaking(PICTURE), "image/jpeg", "image-1")
            await is_over.wait()

    assert b"doAnalysis" in heard
    assert b"the-token" not in heard


LC_33, LC_34 = "LC-ERR-0033 : Max Allowed Single Image Size 5 MB.", "LC-ERR-0034 : Only jpeg and png."


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (saying(json={"status": 411, "message": LC_33}), AnalyserRefused),
        (saying(json={"status": 411, "message": LC_34}), AnalyserRefused),
        (saying(400, json={"status": 411, "message": LC_34}), AnalyserRefused),
        (saying(413), AnalyserRefused),
        (saying(json={"status": 411, "message": "No API credits remaining."}), CreditsExhausted),
        (saying(402), CreditsExhausted),
        (saying(json={"status": 411, "message": "Token expired"}), CredentialsRefused),
        (saying(403), CredentialsRefused),
        (saying(json={"status": 411, "message": "something new"}), AnalyserDeclined),
        (saying(json={"status": 411, "message": "LC-ERR-0099 : something new"}), AnalyserDeclined),
        (saying(400), AnalyserDeclined),
        (saying(422, text="<html>"), AnalyserDeclined),
        (saying(302, headers={"location": "http://elsewhere.test"}), AnalyserUnavailable),
        (saying(404), AnalyserUnavailable),
        (saying(429), AnalyserUnavailable),
        (saying(500), UploadAmbiguous),
        (saying(502, text="<html>"), UploadAmbiguous),
        (saying(503, json={"status": 503}), UploadAmbiguous),
        (saying(json={"status": 500, "message": "Error in API"}), UploadAmbiguous),
        (saying(500, json={"status": 200, "jobId": "J"}), UploadAmbiguous),
        (saying(text="<html>"), UploadAmbiguous),
        (saying(content=b""), UploadAmbiguous),
        (saying(json=[]), UploadAmbiguous),
        (saying(json={"status": 200}), UploadAmbiguous),
        (saying(json={"jobId": "J"}), UploadAmbiguous),
        (saying(json={"status": 299, "jobId": "J"}), UploadAmbiguous),
        (saying(content=b" " * 8_000_001), UploadAmbiguous),
        (failing(httpx.DecodingError("")), UploadAmbiguous),
    ],
)
async def test_an_answer_to_an_upload_is_sorted_by_what_it_says_of_the_credit(
    answer: Handler, kind: type[RelayError]
) -> None:
    with pytest.raises(RelayError) as raised:
        await upload(answer)

    assert type(raised.value) is kind


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (saying(503, headers={"retry-after": "7"}), AnalyserUnavailable),
        (saying(500, json={"status": 500}), AnalyserUnavailable),
        (saying(503, json={"status": 503, "error": "Service Unavailable"}), AnalyserUnavailable),
        (saying(json={"status": 500, "message": "Error in API"}), AnalyserUnavailable),
        (saying(text="<html>down for maintenance</html>"), AnalyserUnavailable),
        (saying(content=b" " * 8_000_001), AnalyserUnavailable),
        (failing(httpx.ReadTimeout("")), AnalyserUnavailable),
        (failing(httpx.RemoteProtocolError("")), AnalyserUnavailable),
        (saying(json={"status": 411, "message": "Unknown jobId"}), AnalyserRefused),
        (saying(json={"status": 200, "statusJob": 7}), AnswerNotUnderstood),
        (saying(401), CredentialsRefused),
    ],
)
async def test_an_answer_to_a_question_is_sorted_by_what_happens_next(answer: Handler, kind: type[RelayError]) -> None:
    async with analyser(answer) as opened:
        for question in (opened.status, opened.result):
            with pytest.raises(RelayError) as raised:
                await question("J")
            assert type(raised.value) is kind


async def test_what_the_gateway_says_of_when_to_come_again_is_passed_on() -> None:
    async with analyser(saying(503, headers={"retry-after": "7"})) as opened:
        with pytest.raises(AnalyserUnavailable) as raised:
            await opened.status("J")

    assert raised.value.retry_after == timedelta(seconds=7)


async def test_whoever_is_ready_has_a_turn_and_a_token_and_needs_nothing_but_the_upload() -> None:
    asked: list[str] = []

    class Noting(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            asked.append(request.url.path)
            return httpx.Response(200, json=TOKEN if len(asked) == 1 else {"status": 200, "jobId": "J"})

    async with (
        NetraAnalyser(an_account(concurrency=1), TokensInMemory(), SystemClock(), transport=Noting()) as opened,
        opened.ready() as leave,
    ):
        other = asyncio.create_task(opened.status("J"))
        await asyncio.sleep(0)
        assert asked == ["/v1/getToken"]
        await leave(Whole(PICTURE), "image/jpeg", "image-1")
        assert asked == ["/v1/getToken", "/v1/doAnalysis"]
        other.cancel()


async def test_a_refused_token_is_replaced_once_and_the_upload_paid_once() -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(parse_qs(request.content.decode())["token"][0])
        refused = {"status": 411, "message": "Invalid or expired token."}
        return httpx.Response(200, json=refused if len(seen) == 1 else {"status": 200, "jobId": "J", "remaining": 8})

    assert await upload(answer) == Upload("J", 8)
    assert len(seen) == 2


@pytest.mark.parametrize("said", [{"standin": True}, {}])
@pytest.mark.parametrize("headers", [{"X-Standin": "yes"}, {}])
async def test_a_standin_is_known_by_its_header_or_its_key(said: dict[str, bool], headers: dict[str, str]) -> None:
    body = {"status": 200, "jobId": "J", "statusJob": "ERROR", **said}

    async with analyser(saying(json=body, headers=headers)) as opened:
        answer = await opened.result("J")

    assert answer.is_standin is bool(said or headers)


async def test_no_more_calls_than_agreed_are_under_way_at_once() -> None:
    under_way = most = 0
    may_answer = asyncio.Event()
    all_in = asyncio.Event()

    async def answer(_: httpx.Request) -> httpx.Response:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        if under_way == 3:
            all_in.set()
        await may_answer.wait()
        under_way -= 1
        return httpx.Response(200, json={"status": 200, "statusJob": "QUEUED"})

    async with analyser(httpx.MockTransport(answer), concurrency=3) as opened:
        questions = asyncio.gather(*(opened.status("J") for _ in range(20)))
        await all_in.wait()
        may_answer.set()
        assert await questions == [JobStatus("QUEUED")] * 20

    assert most == 3


async def test_an_answer_that_never_ends_is_given_up() -> None:
    async def forever() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    async with analyser(lambda _: httpx.Response(200, content=forever()), answer_timeout=0.01) as opened:
        with pytest.raises(AnalyserUnavailable):
            await opened.status("J")
        with pytest.raises(UploadAmbiguous):
            await hand_in(opened, PICTURE)


async def test_neither_token_nor_password_nor_answer_gets_into_a_log_or_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    answers: list[Handler] = [
        saying(json={"status": 500, "message": "said-by-analyser"}),
        saying(text="said-by-analyser"),
        saying(json={"status": 411, "message": "said-by-analyser"}),
        saying(json={"status": 200, "jobId": ["said-by-analyser"]}),
    ]
    shown = ""
    for answer in answers:
        try:
            await upload(answer)
        except RelayError as why:
            error: BaseException | None = why
            while error is not None:
                shown += repr(error) + str(error)
                error = error.__cause__ or error.__context__

    for secret in ("the-token", "the-password", "said-by-analyser"):
        assert secret not in shown + caplog.text
