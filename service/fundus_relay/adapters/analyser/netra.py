"""Netra.AI, or a stand-in of it, as the journey's analyser."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self, TypeVar, assert_never

import httpx

from fundus_relay import metrics
from fundus_relay.domain.errors import (
    AnalyserDeclined,
    AnalyserRefused,
    AnalyserUnavailable,
    AnswerNotUnderstood,
    CredentialsRefused,
    CreditsExhausted,
    RelayError,
    UploadAmbiguous,
)
from fundus_relay.domain.urgency import Urgency
from fundus_relay.domain.values import Answer, JobStatus, Pieces, Upload
from fundus_relay.netra.forms import UploadForm, job_form, token_form
from fundus_relay.netra.replies import (
    Refusal,
    Refused,
    TokenReply,
    read_result,
    read_status,
    read_token,
    read_upload,
)
from fundus_relay.pipeline.ports import Clock, HandIn
from fundus_relay.settings import NetraAccount

from .tokens import Tokens, TokenStore
from .turns import Turns, TurnsHere
from .wire import UPLOAD, Reply, Wire

T = TypeVar("T")


class NetraAnalyser:
    """See `ports.Analyser`. Use as a context manager: it owns its connections.

    Args:
        turns: of the account; without them this process counts its own calls only.
        transport: what carries the calls; the network, unless a test says otherwise.
    """

    def __init__(
        self,
        account: NetraAccount,
        tokens: TokenStore,
        clock: Clock,
        *,
        turns: Turns | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._account = account
        self._wire = Wire(account, transport)
        self._tokens = Tokens(tokens, self._ask_token, clock)
        self._turns = turns or TurnsHere(account.concurrency)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._tokens.aclose()
        await self._wire.aclose()

    async def credits(self) -> int | None:
        return (await self._tokens.ask_afresh()).remaining

    @asynccontextmanager
    async def ready(self, urgency: Urgency = Urgency.ROUTINE) -> AsyncIterator[HandIn]:
        async with self._turns.turn(urgency):
            token = await self._tokens.current()

            async def hand_in(picture: Pieces, media_type: str, label: str) -> Upload:
                try:  # a refused token took nothing: safe to send again
                    return await self._with(token, lambda token: self._upload(picture, media_type, label, token))
                except Refused as why:
                    raise _meaning(why, UPLOAD) from why

            yield hand_in

    async def _upload(self, picture: Pieces, media_type: str, label: str, token: str) -> Upload:
        try:
            with metrics.timed(metrics.analyser_seconds, UPLOAD):
                reply = await self._wire.hand_in(UploadForm(picture, media_type, label, token))
                try:
                    taken = read_upload(reply.members)
                except AnswerNotUnderstood as exc:
                    raise UploadAmbiguous(f"{UPLOAD}: {exc}") from exc
        except UploadAmbiguous:
            metrics.ambiguous_uploads.inc()
            raise
        return Upload(taken.job_id, taken.remaining, reply.is_standin)

    async def status(self, job_id: str, urgency: Urgency = Urgency.ROUTINE) -> JobStatus:
        def understand(reply: Reply) -> JobStatus:
            return JobStatus(read_status(reply.members, job_id))

        return await self._question("getStatus", job_id, understand, urgency)

    async def result(self, job_id: str, urgency: Urgency = Urgency.ROUTINE) -> Answer:
        def understand(reply: Reply) -> Answer:
            read = read_result(reply.members, job_id)
            if read is None:
                raise AnalyserUnavailable("getResult: the job has not ended")
            return Answer(read.analysis, read.used_on, reply.is_standin)

        return await self._question("getResult", job_id, understand, urgency)

    async def _question(self, call: str, job_id: str, read: Callable[[Reply], T], urgency: Urgency) -> T:
        async def ask(token: str) -> T:
            with metrics.timed(metrics.analyser_seconds, call):
                return read(await self._wire.ask(call, job_form(token, job_id)))

        try:
            async with self._turns.turn(urgency):
                return await self._with(await self._tokens.current(), ask)
        except Refused as why:
            if why.why is Refusal.OTHER:  # of this job; waiting does not change it
                raise AnalyserRefused(f"{call}: the analyser says no {why.code}".rstrip()) from why
            raise _meaning(why, call) from why

    async def _with(self, token: str, call: Callable[[str], Awaitable[T]]) -> T:
        """Do it, and once more with a new token if this one is refused."""
        try:
            return await call(token)
        except Refused as why:
            if why.why is not Refusal.TOKEN:
                raise
        return await call(await self._tokens.current(refused=token))

    async def _ask_token(self) -> TokenReply:
        """getToken. Raises AnalyserUnavailable, CredentialsRefused."""
        try:
            form = token_form(self._account.username, self._account.password.get_secret_value())
            metrics.token_requests.inc()
            with metrics.timed(metrics.analyser_seconds, "getToken"):
                return read_token((await self._wire.ask("getToken", form)).members)
        except Refused as why:
            if why.why is Refusal.TOKEN:  # there is none yet: HTTP 401 or 403
                raise CredentialsRefused("getToken: the analyser refuses our account") from why
            raise _meaning(why, "getToken") from why
        except AnswerNotUnderstood as why:
            raise AnalyserUnavailable(f"getToken: {why}") from why


def _meaning(refused: Refused, call: str) -> RelayError:
    """The analyser's no in our words."""
    match refused.why:
        case Refusal.PICTURE:
            return AnalyserRefused(f"{call}: the analyser does not take this picture {refused.code}".rstrip())
        case Refusal.CREDITS:
            return CreditsExhausted()
        case Refusal.CREDENTIALS | Refusal.TOKEN:
            return CredentialsRefused(f"{call}: the analyser refuses our account")
        case Refusal.OTHER:
            return AnalyserDeclined(f"{call}: the analyser says no {refused.code}".rstrip(), vendor_code=refused.code)
        case Refusal.FAULT:
            return AnalyserUnavailable(f"{call}: the analyser says no {refused.code}".rstrip())
        case _:
            assert_never(refused.why)
