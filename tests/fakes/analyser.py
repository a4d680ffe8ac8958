"""An analyser in memory, with the other side's rules: it charges for each picture it takes, and knows none twice."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, auto

from fundus_relay.adapters.analyser.tokens import Held, Turn
from fundus_relay.domain.analysis import Analysis, AnalysisFailed, Graded
from fundus_relay.domain.errors import (
    AnalyserDeclined,
    AnalyserRefused,
    AnalyserUnavailable,
    AnswerNotUnderstood,
    CredentialsRefused,
    CreditsExhausted,
    UploadAmbiguous,
)
from fundus_relay.domain.urgency import Urgency
from fundus_relay.domain.values import Answer, JobStatus, Pieces, Upload
from fundus_relay.pipeline.ports import Analyser, HandIn

LARGEST = 5 * 1024 * 1024
BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
USED_ON = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)

NORMAL = Graded(has_retinopathy=False, is_referable=False)
NOT_UNDERSTOOD = AnswerNotUnderstood("drYes: a word that we do not know")


class Fault(Enum):
    """What goes wrong with an upload."""

    DECLINED = auto()  # nothing taken, for a reason that nobody knows
    REQUEST_LOST = auto()  # nothing taken, no answer
    ANSWER_LOST = auto()  # taken and paid, no answer
    HOLD = auto()  # taken, and waits for a person at the analyser's
    STUCK = auto()  # taken, and never ends
    FAILED = auto()  # taken, and ends with ERROR


@dataclass(slots=True)
class _Job:
    sha256: str
    fault: Fault | None
    asks_left: int


class FakeAnalyser:
    """See `ports.Analyser`.

    Args:
        remaining: credits to begin with.
        asks_until_done: how many questions for a job are answered with QUEUED; `finish` ends the wait.

    Attributes:
        look: what it sees in a picture of which it was told nothing, if it has eyes.
        before_turn, when_asked, when_taken: what else happens before a turn to upload is given, before an upload is
            taken, and before its answer arrives.
        when_counted: where a count that is told is kept, as the real one keeps it with the token.
        tells_credits: whether it says how many there are when it is asked.
        times_counted, times_refused: how often it was asked for the count, and for an analysis without a credit.
    """

    def __init__(self, *, remaining: int = 1000, asks_until_done: int = 0, is_standin: bool = True) -> None:
        self.remaining = remaining
        self.asks_until_done = asks_until_done
        self.is_standin = is_standin
        self.is_reachable = True
        self.knows_us = True
        self.unavailable_for = 0
        self.tells_credits = True
        self.times_counted = self.times_refused = 0
        self.labels: list[str] = []
        self.look: Callable[[bytes], Analysis] | None = None
        self.before_turn: Callable[[], Awaitable[None]] | None = None
        self.when_counted: Callable[[int], Awaitable[None]] | None = None
        self.when_asked: Callable[[], Awaitable[None]] | None = None
        self.when_taken: Callable[[], Awaitable[None]] | None = None
        self._faults: deque[Fault] = deque()
        self._conclusions: dict[str, Analysis | AnswerNotUnderstood] = {}
        self._jobs: dict[str, _Job] = {}
        self._asked: Counter[str] = Counter()

    # ------------------------------------------------------------------------------------------------- instructions

    def strike(self, *faults: Fault) -> None:
        """Let the next uploads go wrong, one after the other."""
        self._faults.extend(faults)

    def conclude(self, picture: bytes | str, conclusion: Analysis | AnswerNotUnderstood) -> None:
        """What is to be answered for a picture, given itself or by its SHA-256."""
        self._conclusions[_sha256(picture)] = conclusion

    def finish(self, job_id: str) -> None:
        """End a job now, whatever it waits for."""
        self._jobs[job_id].fault, self._jobs[job_id].asks_left = None, 0

    def times_asked(self, picture: bytes | str) -> int:
        """How often an analysis of that picture, given itself or by its SHA-256, was taken and paid."""
        return self._asked[_sha256(picture)]

    @property
    def times_paid(self) -> int:
        """Analyses of any picture."""
        return self._asked.total()

    # --------------------------------------------------------------------------------------------------------- port

    async def credits(self) -> int | None:
        self._be_there()
        self.times_counted += 1
        if not self.tells_credits:
            return None
        if self.when_counted is not None:
            await self.when_counted(self.remaining)
        return self.remaining

    @asynccontextmanager
    async def ready(self, urgency: Urgency = Urgency.ROUTINE) -> AsyncIterator[HandIn]:
        self._be_there()
        if self.before_turn is not None:
            await self.before_turn()
        yield self._hand_in

    async def _hand_in(self, pieces: Pieces, media_type: str, label: str) -> Upload:
        self._be_there()
        if self.when_asked is not None:
            await self.when_asked()
        picture = b"".join([piece async for piece in pieces])
        fault = self._faults.popleft() if self._faults else None
        if fault is Fault.DECLINED:
            raise AnalyserDeclined(vendor_code="LC-ERR-0099")
        if fault is Fault.REQUEST_LOST:
            raise UploadAmbiguous("doAnalysis: ReadError")
        if not picture.startswith(BEGINNINGS):
            raise AnalyserRefused("doAnalysis: the analyser does not take this picture LC-ERR-0034")
        if len(picture) > LARGEST:
            raise AnalyserRefused("doAnalysis: the analyser does not take this picture LC-ERR-0033")
        if self.remaining < 1:
            self.times_refused += 1
            raise CreditsExhausted
        self.remaining -= 1
        self.labels.append(label)
        job_id = f"job-{len(self._jobs) + 1}"
        self._jobs[job_id] = _Job(_sha256(picture), fault, self.asks_until_done)
        self._asked[_sha256(picture)] += 1
        if self.look is not None:
            self._conclusions.setdefault(_sha256(picture), self.look(picture))
        if self.when_taken is not None:
            await self.when_taken()
        if fault is Fault.ANSWER_LOST:
            raise UploadAmbiguous("doAnalysis: ReadError")
        return Upload(job_id, self.remaining, self.is_standin)

    async def status(self, job_id: str, urgency: Urgency = Urgency.ROUTINE) -> JobStatus:
        job = self._job(job_id)
        job.asks_left -= 1
        return JobStatus(_state(job, job.asks_left < 0))

    async def result(self, job_id: str, urgency: Urgency = Urgency.ROUTINE) -> Answer:
        job = self._job(job_id)
        match _state(job, job.asks_left <= 0):
            case "ERROR":
                conclusion: Analysis | AnswerNotUnderstood = AnalysisFailed("LC-ERR-0035")
            case "COMPLETED":
                conclusion = self._conclusions.get(job.sha256, NORMAL)
            case _:
                raise AnalyserUnavailable("getResult: the job has not ended")
        if isinstance(conclusion, AnswerNotUnderstood):
            raise conclusion
        return Answer(conclusion, USED_ON, self.is_standin)

    def _job(self, job_id: str) -> _Job:
        self._be_there()
        if job_id not in self._jobs:
            raise AnalyserRefused("getStatus: the analyser says no")
        return self._jobs[job_id]

    def _be_there(self) -> None:
        if not self.is_reachable:
            raise AnalyserUnavailable("ConnectError")
        if self.unavailable_for:
            self.unavailable_for -= 1
            raise AnalyserUnavailable("HTTP 503", retry_after=timedelta(seconds=1))
        if not self.knows_us:
            raise CredentialsRefused(retry_after=timedelta(minutes=1))


def _state(job: _Job, is_done: bool) -> str:
    match job.fault:
        case Fault.HOLD:
            return "HOLD"
        case Fault.FAILED:
            return "ERROR"
        case _:
            return "COMPLETED" if is_done and job.fault is not Fault.STUCK else "QUEUED"


def _sha256(picture: bytes | str) -> str:
    return picture if isinstance(picture, str) else hashlib.sha256(picture).hexdigest()


class Whole:
    """See `values.Pieces`; of bytes that are there already."""

    def __init__(self, picture: bytes, piece: int = 65_536) -> None:
        self.byte_count = len(picture)
        self._picture = picture
        self._piece = piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, self.byte_count, self._piece):
            yield self._picture[start : start + self._piece]


async def upload(analyser: Analyser, picture: bytes) -> Upload:
    """Hand in one picture."""
    async with analyser.ready() as hand_in:
        return await hand_in(Whole(picture), "image/jpeg", "image-1")


class TokensInMemory:
    """See `tokens.TokenStore`; for as many analysers as are given it.

    Attributes:
        remaining: credits that came with the last token that told them.
    """

    def __init__(self) -> None:
        self.held = Held()
        self.remaining: int | None = None
        self._lock = asyncio.Lock()

    async def look(self) -> Held:
        return self.held

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Turn]:
        async with self._lock:
            yield self

    async def keep(self, held: Held, remaining: int | None, at: datetime) -> None:
        self.held = held
        self.remaining = self.remaining if remaining is None else remaining
