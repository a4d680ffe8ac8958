"""Calls to the analyser over HTTP, and what each failure means.

How this works. Only doAnalysis costs, and only it has no second chance. The token is the last thing in its form, so
until the last piece was handed to the socket nothing can have been taken, and every failure up to there is certain:
no connection, a connection lost half way, a gateway that answers before it read the form. After it, an answer that
says no in the analyser's own words, or any 4xx or 3xx, is certain too; silence, 5xx and an answer that nobody
understands are ambiguous. Uploads do not reuse connections: one that the other side has just closed would look like
an upload without an answer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx

from fundus_relay.adapters.bounded import ask, retry_after
from fundus_relay.domain.errors import AnalyserUnavailable, AnswerNotUnderstood, UploadAmbiguous
from fundus_relay.netra.forms import CONTENT_TYPE, UploadForm
from fundus_relay.netra.notation import Members
from fundus_relay.netra.replies import Refusal, Refused, explain_refusal, read_reply, says_standin
from fundus_relay.settings import NetraAccount

STANDIN_HEADER = "x-standin"
LONGEST_REPLY = 8_000_000
IDLE_S = 3.0
"""How long an unused connection is kept: shorter than servers do."""

UPLOAD = "doAnalysis"
HTTP_DECLINES = frozenset({400, 415, 422})
"""Of an upload: whoever answers so does not like the form, and will not like it any better later."""
HTTP_REFUSALS = {401: Refusal.TOKEN, 402: Refusal.CREDITS, 403: Refusal.TOKEN, 413: Refusal.PICTURE}


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply in the analyser's form.

    Attributes:
        is_standin: whether the answering server says that it is a stand-in.
    """

    members: Members
    is_standin: bool


class Wire:
    """Connections to one account's API."""

    def __init__(self, account: NetraAccount, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._answer_timeout = account.answer_timeout
        self._base = account.base_url.rstrip("/")
        self._asking = _client(account, transport, kept=account.concurrency)
        self._uploading = _client(account, transport, kept=0)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._asking.aclose()
        await self._uploading.aclose()

    async def ask(self, call: str, form: bytes) -> Reply:
        """A call that may be repeated.

        Raises:
            Refused: in the analyser's words, or by HTTP.
            AnalyserUnavailable: whatever else keeps a reply from us.
        """
        request = self._asking.build_request("POST", f"{self._base}/{call}", content=form)
        try:
            answer = await ask(self._asking, request, longest=LONGEST_REPLY, within=2 * self._answer_timeout)
        except (httpx.HTTPError, TimeoutError) as exc:
            raise AnalyserUnavailable(f"{call}: {type(exc).__name__}") from exc
        try:
            members = read_reply(answer.content)
            refused = None if answer.is_success else explain_refusal(members)
        except AnswerNotUnderstood as exc:  # a gateway's page, not the analyser's word
            raise _refused_by_http(call, answer) from exc
        if not answer.is_success:
            raise refused or _refused_by_http(call, answer)
        return Reply(members, STANDIN_HEADER in answer.headers or says_standin(members))

    async def hand_in(self, form: UploadForm) -> Reply:
        """doAnalysis.

        Raises:
            StoreUnavailable: as reading the picture does; certainly not taken.
            Refused: in the analyser's words, or by HTTP; certainly not taken.
            AnalyserUnavailable: certainly not taken.
            UploadAmbiguous: perhaps taken.
        """
        body = _Leaving(form)
        request = self._uploading.build_request(
            "POST", f"{self._base}/{UPLOAD}", content=body, headers={"Content-Length": str(form.byte_count)}
        )
        try:
            answer = await ask(self._uploading, request, longest=LONGEST_REPLY, within=10 * self._answer_timeout)
        except (httpx.HTTPError, TimeoutError) as exc:
            failure = UploadAmbiguous if body.has_left else AnalyserUnavailable
            raise failure(f"{UPLOAD}: {type(exc).__name__}") from exc
        try:
            members = read_reply(answer.content)
            refused = explain_refusal(members)
        except AnswerNotUnderstood as exc:
            raise _not_taken(answer, body) or UploadAmbiguous(f"{UPLOAD}: HTTP {answer.status_code}, {exc}") from exc
        if refused is not None and refused.why is not Refusal.FAULT:
            raise refused
        if not answer.is_success or refused is not None:
            raise _not_taken(answer, body) or UploadAmbiguous(
                f"{UPLOAD}: HTTP {answer.status_code}, a fault"
            ) from refused
        return Reply(members, STANDIN_HEADER in answer.headers or says_standin(members))


class _Leaving:
    """A form on its way out, that knows whether all of it was handed to the socket."""

    def __init__(self, form: UploadForm) -> None:
        self._form = form
        self.has_left = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        missing = self._form.byte_count
        async for piece in self._form.pieces():
            missing -= len(piece)
            self.has_left = missing == 0  # before it goes: what is under way counts as gone
            yield piece


def _client(account: NetraAccount, transport: httpx.AsyncBaseTransport | None, *, kept: int) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        headers={"Content-Type": CONTENT_TYPE, "Accept": "application/json"},
        timeout=httpx.Timeout(
            account.answer_timeout.total_seconds(), connect=account.connect_timeout.total_seconds(), pool=None
        ),
        limits=httpx.Limits(
            max_connections=account.concurrency + 1,  # one for the token
            max_keepalive_connections=kept,
            keepalive_expiry=IDLE_S,
        ),
        follow_redirects=False,
        trust_env=False,
        transport=transport,
    )


def _not_taken(answer: httpx.Response, body: _Leaving) -> Exception | None:
    """The error to raise if this answer, which does not say so itself, means that nothing was taken; else None."""
    if answer.status_code in HTTP_DECLINES:
        return Refused(Refusal.OTHER, f"HTTP-{answer.status_code}")
    is_early = not body.has_left and not answer.is_success
    return _refused_by_http(UPLOAD, answer) if is_early or 300 <= answer.status_code < 500 else None


def _refused_by_http(call: str, answer: httpx.Response) -> Exception:
    """What an HTTP status says where the body says nothing."""
    if (why := HTTP_REFUSALS.get(answer.status_code)) is not None:
        return Refused(why)
    return AnalyserUnavailable(f"{call}: HTTP {answer.status_code}", retry_after=retry_after(answer))
