"""Netra.AI over HTTP: tokens, time-outs, and what each failure means for an image and for its credit.

How this works. Only doAnalysis costs, and only it has no second chance: an upload counts as *not taken* when no
connection came about, when a gateway turned it away before the analyser saw it (429, 502 and 503 are not among these:
they may come after it), or when the analyser says no in its own words. Every other failure after the request began to
leave is ambiguous. A partly sent form is too: we cannot know how much the other side read.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

import httpx

from fundus_relay.domain.errors import (
    AnalyserRefused,
    AnalyserUnavailable,
    AnswerNotUnderstood,
    CredentialsRefused,
    CreditsExhausted,
    RelayError,
    UploadAmbiguous,
)
from fundus_relay.domain.values import Answer, JobStatus, Upload
from fundus_relay.netra.forms import CONTENT_TYPE, job_form, token_form, upload_form
from fundus_relay.netra.replies import Refusal, Refused, read_answer, read_status, read_token, read_upload
from fundus_relay.pipeline.ports import Clock
from fundus_relay.settings import NetraAccount

from .token_row import Held, TokenStore

EARLY = timedelta(minutes=5)
"""How long before its end a token is replaced."""

STANDIN_HEADER = "x-standin"
LONGEST_REPLY = 8_000_000

_NEVER_LEFT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


@dataclass(frozen=True, slots=True)
class _Reply:
    """A reply's JSON, and whether a stand-in gave it."""

    body: Any  # JSON, not yet looked at
    is_standin: bool


class NetraAnalyser:
    """See `ports.Analyser`. Use as a context manager: it owns its connections."""

    def __init__(self, account: NetraAccount, tokens: TokenStore, clock: Clock) -> None:
        self._account = account
        self._tokens = tokens
        self._clock = clock
        self._turns = asyncio.Semaphore(account.concurrency)
        self._held = Held(None, None)
        self._client = httpx.AsyncClient(
            base_url=account.base_url.rstrip("/"),
            headers={"Content-Type": CONTENT_TYPE, "Accept": "application/json"},
            timeout=httpx.Timeout(
                account.answer_timeout.total_seconds(), connect=account.connect_timeout.total_seconds(), pool=None
            ),
            limits=httpx.Limits(max_connections=account.concurrency + 1, max_keepalive_connections=account.concurrency),
            follow_redirects=False,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    # --------------------------------------------------------------------------------------------------------- port

    async def credits(self) -> int | None:
        async with self._tokens.turn() as turn:
            return await self._fetch_token(turn)

    async def upload(self, picture: bytes, media_type: str, label: str) -> Upload:
        async with self._turns:
            token = await self._token()
            try:
                return await self._upload(upload_form(token, picture, media_type, label))
            except Refused as why:
                if why.why is not Refusal.TOKEN:
                    raise _meaning(why) from why
            token = await self._token(instead_of=token)  # refused before it was taken: safe to send again
            try:
                return await self._upload(upload_form(token, picture, media_type, label))
            except Refused as why:
                raise _meaning(why) from why

    async def status(self, job_id: str) -> JobStatus:
        reply = await self._ask("/getStatus", job_id)
        try:
            return JobStatus(read_status(reply.body, job_id))
        except Refused as why:
            raise _meaning(why) from why

    async def result(self, job_id: str) -> Answer:
        reply = await self._ask("/getResult", job_id)
        try:
            analysis, used_on = read_answer(reply.body, job_id)
        except Refused as why:
            raise _meaning(why) from why
        return Answer(analysis, used_on, reply.is_standin)

    # -------------------------------------------------------------------------------------------------------- calls

    async def _upload(self, form: bytes) -> Upload:
        """Raises Refused, AnalyserUnavailable, UploadAmbiguous."""
        try:
            answer = await self._client.post("/doAnalysis", content=form)
        except _NEVER_LEFT as exc:
            raise AnalyserUnavailable(f"doAnalysis: {type(exc).__name__}") from exc
        except httpx.HTTPError as exc:
            raise UploadAmbiguous(f"doAnalysis: {type(exc).__name__}") from exc
        if answer.status_code in (401, 403):
            raise Refused(Refusal.TOKEN)
        if answer.status_code == 413:
            raise Refused(Refusal.PICTURE)
        if not answer.is_success:
            raise UploadAmbiguous(f"doAnalysis: HTTP {answer.status_code}")
        try:
            job_id, remaining = read_upload(answer.json())
        except Refused as why:
            if why.why is Refusal.FAULT:  # "Error in API": whether before or after the credit, nobody says
                raise UploadAmbiguous("doAnalysis: the analyser reports a fault of its own") from why
            raise
        except (ValueError, AnswerNotUnderstood) as exc:
            raise UploadAmbiguous("doAnalysis: an answer that is not understood") from exc
        return Upload(job_id, remaining)

    async def _ask(self, path: str, job_id: str) -> _Reply:
        """A question that costs nothing; asked again once with a new token when the old one is refused."""
        async with self._turns:
            token = await self._token()
            reply = await self._post(path, job_form(token, job_id))
            if _is_token_refused(reply.body):
                token = await self._token(instead_of=token)
                reply = await self._post(path, job_form(token, job_id))
            return reply

    async def _post(self, path: str, form: bytes) -> _Reply:
        """Raises AnalyserUnavailable for whatever keeps an understandable reply from us."""
        call = path.strip("/")
        try:
            answer = await self._client.post(path, content=form)
            if answer.status_code in (401, 403):
                return _Reply({"status": 411, "message": "token"}, is_standin=False)
            if not answer.is_success:
                raise AnalyserUnavailable(f"{call}: HTTP {answer.status_code}", retry_after=_retry_after(answer))
            return _Reply(answer.json(), is_standin=STANDIN_HEADER in answer.headers)
        except httpx.HTTPError as exc:
            raise AnalyserUnavailable(f"{call}: {type(exc).__name__}") from exc
        except ValueError as exc:
            raise AnalyserUnavailable(f"{call}: the reply is no JSON") from exc

    # -------------------------------------------------------------------------------------------------------- token

    async def _token(self, *, instead_of: str | None = None) -> str:
        """A token that is good for minutes; one process of all fetches it."""
        if (known := self._good(self._held, instead_of)) is not None:
            return known
        self._held = await self._tokens.look()
        if (known := self._good(self._held, instead_of)) is not None:
            return known
        async with self._tokens.turn() as turn:
            self._held = turn.held
            if (known := self._good(turn.held, instead_of)) is not None:
                return known
            await self._fetch_token(turn)
        assert self._held.token is not None  # noqa: S101 - just fetched
        return self._held.token

    def _good(self, held: Held, refused: str | None) -> str | None:
        if held.token is None or held.valid_until is None or held.token == refused:
            return None
        return held.token if held.valid_until - EARLY > self._clock.now() else None

    async def _fetch_token(self, turn: Any) -> int | None:  # Any: a Turn; the context manager's type is structural
        reply = await self._post(
            "/getToken", token_form(self._account.username, self._account.password.get_secret_value())
        )
        try:
            fresh = read_token(reply.body)
        except Refused as why:
            raise _meaning(why) from why
        except AnswerNotUnderstood as exc:
            raise AnalyserUnavailable(str(exc)) from exc
        await turn.keep(fresh.token, fresh.valid_until, fresh.remaining, self._clock.now())
        self._held = Held(fresh.token, fresh.valid_until)
        return fresh.remaining


def _meaning(why: Refused) -> RelayError:
    """The analyser's no in our words."""
    match why.why:
        case Refusal.PICTURE:
            return AnalyserRefused(f"the analyser refuses the picture {why.code}".strip())
        case Refusal.CREDITS:
            return CreditsExhausted(retry_after=timedelta(minutes=5))
        case Refusal.CREDENTIALS:
            return CredentialsRefused(retry_after=timedelta(minutes=1))
        case Refusal.TOKEN | Refusal.FAULT:
            return AnalyserUnavailable(f"the analyser says no {why.code}".strip())


def _is_token_refused(body: object) -> bool:
    try:
        read_status(body, "")
    except Refused as why:
        return why.why is Refusal.TOKEN
    except AnswerNotUnderstood:
        return False
    return False


def _retry_after(answer: httpx.Response) -> timedelta | None:
    stated = answer.headers.get("retry-after", "")
    return timedelta(seconds=int(stated)) if stated.isascii() and stated.isdigit() else None
