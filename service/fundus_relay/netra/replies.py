"""The four replies. HTTP says 200 whatever happened; the body's `status` says it, or says something else.

How this works. A reply is read as `Members`, which keeps every pair, because `status` is the outcome of the call (200,
411 or 500), in one sample the job's state, and in that sample there twice, as both. So key and type decide: numbers
under `status` are outcomes, words are states. `jobId` is also spelled `jobid`; the state `statusJob`, `jobStatus` or
`status`. `validUpto` counts milliseconds, `usedOn` microseconds, both are called unix timestamps: their size decides.

Source: tables and samples of all four endpoints, Netra API 1.0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum, auto

from fundus_relay.domain.analysis import Analysis, AnalysisFailed
from fundus_relay.domain.errors import AnswerNotUnderstood
from fundus_relay.domain.geometry import Size

from .notation import Members, Value, is_word, read_object
from .result import BOXES, understand
from .vocabulary import COMPLETED, ERROR, STANDIN

OK, API_FAULT, API_REFUSAL = 200, 500, 411
TOO_LARGE, WRONG_FORMAT = "LC-ERR-0033", "LC-ERR-0034"

EARLIEST, LATEST = datetime(2015, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
"""Between these a number of seconds, milliseconds or microseconds can be told apart, and is believed."""


class Refusal(Enum):
    """Why a reply says no."""

    TOKEN = auto()
    CREDENTIALS = auto()
    CREDITS = auto()
    PICTURE = auto()
    FAULT = auto()  # 500, "Error in API": whether before or after it did something, nobody says
    OTHER = auto()  # 411, "API specific error", of a kind that the document does not list


class Refused(Exception):
    """The reply says no.

    Attributes:
        code: the vendor's, e.g. `LC-ERR-0034`, or empty.
    """

    def __init__(self, why: Refusal, code: str = "") -> None:
        super().__init__(why.name)
        self.why = why
        self.code = code


@dataclass(frozen=True, slots=True)
class TokenReply:
    """What getToken gives.

    Attributes:
        valid_until: None when it is no time that can be believed.
    """

    token: str = field(repr=False)
    valid_until: datetime | None
    remaining: int | None


@dataclass(frozen=True, slots=True)
class UploadReply:
    """What doAnalysis gives when it took the image."""

    job_id: str
    remaining: int | None


@dataclass(frozen=True, slots=True)
class ResultReply:
    """What getResult gives for a job that ended."""

    analysis: Analysis
    used_on: datetime | None


def read_reply(body: bytes) -> Members:
    """The JSON object that a reply is. Raises AnswerNotUnderstood."""
    try:
        return read_object(body.decode("utf-8-sig"), "reply")
    except UnicodeDecodeError as exc:
        raise AnswerNotUnderstood("reply: not UTF-8") from exc


def says_standin(reply: Members) -> bool:
    """Whether the reply itself says that no Netra gave it."""
    return any(value is True for value in reply.every(STANDIN))


def read_token(reply: Members) -> TokenReply:
    """Raises Refused, AnswerNotUnderstood."""
    _require_success(reply, Refusal.CREDENTIALS)
    token = reply.one("token")
    if not isinstance(token, str) or not token.strip() or not token.isprintable():
        raise AnswerNotUnderstood("getToken.token: missing")
    return TokenReply(token, moment(reply.one("validUpto")), credits_of(reply))


def read_upload(reply: Members) -> UploadReply:
    """Raises Refused, AnswerNotUnderstood."""
    _require_success(reply, Refusal.OTHER)
    job_id = _job_id(reply)
    if job_id is None:
        raise AnswerNotUnderstood("doAnalysis.jobId: missing")
    return UploadReply(job_id, credits_of(reply))


def read_status(reply: Members, job_id: str) -> str:
    """The job's state, in capitals. Raises Refused, AnswerNotUnderstood."""
    _require_success(reply, Refusal.OTHER)
    _require_job(reply, job_id)
    state = _state(reply)
    if state is None:
        raise AnswerNotUnderstood("getStatus.statusJob: missing")
    return state


def read_result(reply: Members, job_id: str, *, sent: Size | None = None) -> ResultReply | None:
    """The result of a job, or None when it has not ended yet.

    Raises: Refused, AnswerNotUnderstood.
    """
    state = _state(reply)
    if state != ERROR:  # a job in error may well be told under 411
        _require_success(reply, Refusal.OTHER)
    _require_job(reply, job_id)
    used_on = moment(_first(reply, "usedOn"))
    if state == ERROR:
        return ResultReply(AnalysisFailed(_code(reply)), used_on)
    if state not in (COMPLETED, None):
        return None
    return ResultReply(understand(reply.one("result"), boxes=reply.one(BOXES), sent=sent), used_on)


def explain_refusal(reply: Members, otherwise: Refusal = Refusal.OTHER) -> Refused | None:
    """Why the reply says no; None when it says yes, or says nothing of it. Raises AnswerNotUnderstood."""
    said = reply.every("status")
    outcomes = {outcome for value in said if (outcome := whole(value)) is not None}
    if not all(is_word(value) or whole(value) is not None for value in said):
        raise AnswerNotUnderstood("status: neither number nor word")
    if not outcomes or outcomes == {OK}:
        return None
    if len(outcomes) > 1 or not outcomes <= {API_FAULT, API_REFUSAL}:
        raise AnswerNotUnderstood("status: a number that we do not know")
    return Refused(_why(reply, Refusal.FAULT if outcomes == {API_FAULT} else otherwise), _code(reply))


def credits_of(reply: Members) -> int | None:
    """Remaining credits; None when not told. An odd count is no reason to lose what else the reply says."""
    count = whole(_first(reply, "remaining"))
    return count if count is not None and 0 <= count < 2**31 else None


def moment(value: Value) -> datetime | None:
    """A time in seconds, milliseconds or microseconds since 1970, or None when it is none that can be believed."""
    number = whole(value)
    for per_second in (1, 1_000, 1_000_000):
        if number is not None and EARLIEST.timestamp() <= number / per_second <= LATEST.timestamp():
            return datetime.fromtimestamp(number / per_second, UTC)
    return None


def whole(value: Value) -> int | None:
    """A whole number, also as digits in a string, or None."""
    if isinstance(value, str):
        return int(value) if re.fullmatch(r"\s*[0-9]{1,19}\s*", value) else None
    return value if type(value) is int and abs(value) < 10**19 else None


def _require_success(reply: Members, otherwise: Refusal) -> None:
    """The outcome is 200, or a job's state stands in its place."""
    refused = explain_refusal(reply, otherwise)
    if refused is not None:
        raise refused
    if not reply.every("status"):
        raise AnswerNotUnderstood("status: missing")


def _why(reply: Members, otherwise: Refusal) -> Refusal:
    """By the vendor's code, else by the words of its message: the document lists neither."""
    if _code(reply):
        return Refusal.PICTURE if _code(reply) in (TOO_LARGE, WRONG_FORMAT) else otherwise
    message = _message(reply)
    if "credit" in message and "credential" not in message:
        return Refusal.CREDITS
    if otherwise is not Refusal.CREDENTIALS and "token" in message:
        return Refusal.TOKEN
    if any(word in message for word in ("password", "username", "credential")):
        return Refusal.CREDENTIALS
    return otherwise


def _code(reply: Members) -> str:
    """The one code of the message, e.g. `LC-ERR-0035`."""
    codes = set(re.findall(r"\bLC-ERR-[0-9]{4}\b", _message(reply).upper()))
    return codes.pop() if len(codes) == 1 else ""


def _message(reply: Members) -> str:
    message = _first(reply, "message")
    return message.lower() if isinstance(message, str) else ""


def _first(reply: Members, name: str) -> Value:
    """The value if there is just one; None for what is not worth a refusal."""
    found = reply.every(name)
    return found[0] if len(found) == 1 else None


def _job_id(reply: Members) -> str | None:
    """Under both spellings: `Members` does not mind the case."""
    job_id = reply.one("jobId")
    if job_id is None or is_word(job_id):
        return job_id
    raise AnswerNotUnderstood("jobId: not a word")


def _require_job(reply: Members, job_id: str) -> None:
    if _job_id(reply) not in (None, job_id):
        raise AnswerNotUnderstood("jobId: the answer is about another job")


def _state(reply: Members) -> str | None:
    """The job's state under any of its names, in capitals."""
    said = [*reply.every("statusJob", "jobStatus"), *(word for word in reply.every("status") if whole(word) is None)]
    states = {word.strip().upper() for word in said if is_word(word)}
    if len(states) > 1 or len(states) < bool(said):
        raise AnswerNotUnderstood("statusJob: not one word")
    return states.pop() if states else None
