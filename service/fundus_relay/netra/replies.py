"""The four replies. HTTP says 200 whatever happened; the body's `status` says it, or says something else.

`status` is a number in most replies and a job's state in one; the job's state is called `jobStatus`, `statusJob` or
`status`; the job's id `jobId` or `jobid`. Times count milliseconds or microseconds and are both called unix timestamps:
they are told apart by their size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Any

from fundus_relay.domain.analysis import Analysis, AnalysisFailed
from fundus_relay.domain.errors import AnswerNotUnderstood

from .result import read_result
from .vocabulary import COMPLETED, ERROR, JOB_STATES

TOO_LARGE, WRONG_FORMAT = "LC-ERR-0033", "LC-ERR-0034"

Reply = Mapping[str, Any]  # a reply's JSON object, not yet looked at


class Refusal(Enum):
    """Why a reply says no."""

    TOKEN = auto()
    CREDENTIALS = auto()
    CREDITS = auto()
    PICTURE = auto()
    FAULT = auto()  # its own (500), or one that it does not explain


@dataclass(frozen=True, slots=True)
class Refused(Exception):
    """The reply says no.

    Attributes:
        code: the vendor's, e.g. `LC-ERR-0034`, or empty.
    """

    why: Refusal
    code: str = ""


@dataclass(frozen=True, slots=True)
class Token:
    """What getToken gives. `repr` shows no token."""

    token: str
    valid_until: datetime
    remaining: int | None
    is_standin: bool

    def __repr__(self) -> str:
        return f"Token(valid_until={self.valid_until!r}, remaining={self.remaining!r})"


def read_token(reply: object) -> Token:
    """Raises Refused, AnswerNotUnderstood."""
    fields = _accepted(reply, Refusal.CREDENTIALS)
    token = fields.get("token")
    if not isinstance(token, str) or not token:
        raise AnswerNotUnderstood("getToken: token missing")
    valid_until = moment(fields.get("validUpto"))
    if valid_until is None:
        raise AnswerNotUnderstood("getToken: validUpto is no time")
    return Token(token, valid_until, credits_of(fields), fields.get("standin") is True)


def read_upload(reply: object) -> tuple[str, int | None]:
    """Job id and remaining credits. Raises Refused, AnswerNotUnderstood."""
    fields = _accepted(reply, Refusal.FAULT)
    job_id = _job_id(fields)
    if job_id is None:
        raise AnswerNotUnderstood("doAnalysis: jobId missing")
    return job_id, credits_of(fields)


def read_status(reply: object, job_id: str) -> str:
    """The job's state as it stands there. Raises Refused, AnswerNotUnderstood."""
    fields = _accepted(reply, Refusal.FAULT)
    _check_job(fields, job_id, "getStatus")
    state = _state(fields)
    if state is None:
        raise AnswerNotUnderstood("getStatus: no job status")
    return state


def read_answer(reply: object, job_id: str) -> tuple[Analysis, datetime | None]:
    """The result of a job that ended, and when it ran. Raises Refused, AnswerNotUnderstood."""
    fields = _accepted(reply, Refusal.FAULT)
    _check_job(fields, job_id, "getResult")
    state = _state(fields)
    used_on = moment(fields.get("usedOn"))
    if state == ERROR:
        return AnalysisFailed(code=_code(fields)), used_on
    if state != COMPLETED:
        raise AnswerNotUnderstood("getResult: the job has not ended")
    return read_result(fields.get("result"), fields.get("lesionBbox")), used_on


def credits_of(fields: Reply) -> int | None:
    """Remaining credits, when told."""
    return _whole(fields.get("remaining"))


def moment(value: object) -> datetime | None:
    """A time in seconds, milliseconds or microseconds since 1970, between the years 2001 and 2286; else None."""
    number = _whole(value)
    if number is None:
        return None
    for unit in (1, 1_000, 1_000_000):
        if 10**9 <= number // unit < 10**10:
            return datetime.fromtimestamp(number / unit, UTC)
    return None


def _accepted(reply: object, otherwise: Refusal) -> Reply:
    """The reply's fields, if it says yes."""
    if not isinstance(reply, dict):
        raise AnswerNotUnderstood("the reply is no object")
    status = _whole(reply.get("status"))
    if status == 200 or (status is None and reply.get("status") in JOB_STATES):
        return reply
    if status in (411, 500):
        raise Refused(_why(reply, otherwise if status == 411 else Refusal.FAULT), _code(reply))
    raise AnswerNotUnderstood("status: neither a number that we know nor a job's state")


def _why(reply: Reply, otherwise: Refusal) -> Refusal:
    """By the vendor's code, else by the words of the message: the document lists no others."""
    message = str(reply.get("message", "")).casefold()
    if _code(reply) in (TOO_LARGE, WRONG_FORMAT):
        return Refusal.PICTURE
    if "token" in message:
        return Refusal.TOKEN
    if "credit" in message:
        return Refusal.CREDITS
    if "password" in message or "username" in message or "credential" in message:
        return Refusal.CREDENTIALS
    return otherwise


def _code(fields: Reply) -> str:
    word = str(fields.get("message", "")).split(":", 1)[0].strip()
    return word if word.startswith("LC-ERR-") and len(word) <= 16 else ""


def _job_id(fields: Reply) -> str | None:
    found = {fields[name] for name in ("jobId", "jobid") if isinstance(fields.get(name), str) and fields[name]}
    return found.pop() if len(found) == 1 else None


def _check_job(fields: Reply, job_id: str, call: str) -> None:
    if _job_id(fields) not in (None, job_id):
        raise AnswerNotUnderstood(f"{call}: the answer is about another job")


def _state(fields: Reply) -> str | None:
    """`statusJob`, `jobStatus`, or `status` when it is a word; contradictions are none."""
    words = {fields.get(name) for name in ("statusJob", "jobStatus", "status")}
    states = {word.strip().upper() for word in words if isinstance(word, str) and not word.strip().isdigit()}
    return states.pop() if len(states) == 1 else None


def _whole(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20 else None
