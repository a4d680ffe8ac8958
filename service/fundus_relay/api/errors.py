"""From what went wrong to an HTTP status and an OperationOutcome."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil

from starlette.responses import Response

from fundus_relay.domain.errors import (
    CriteriaNotSelective,
    InvalidResource,
    Issue,
    PicturePurged,
    PictureTooLarge,
    Rejected,
    RelayError,
    Unavailable,
    VersionConflict,
)
from fundus_relay.domain.values import Json
from fundus_relay.fhir.outcome import MAX_ISSUES, outcome

from .negotiation import fhir_response

WAIT_S = 5
"""Seconds that a sender waits before it tries again, unless something else is known."""


class HttpRefusal(Rejected):
    """The request, not the resource, is at fault."""

    status = 400
    kind = "invalid"
    code = "http-refusal"

    def __init__(self, text: str = "", *, element: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__(text)
        self.element = element
        self.headers = headers or {}


class MalformedRequest(HttpRefusal):
    """A header or the body's encoding does not parse."""

    code = "request-malformed"


class NotAuthenticated(HttpRefusal):
    """The request needs a bearer token that is known here."""

    status, kind, code = 401, "login", "not-authenticated"


class NotPermitted(HttpRefusal):
    """The token lacks the scope that this needs."""

    status, kind, code = 403, "forbidden", "not-permitted"


class NotFound(HttpRefusal):
    """There is no such thing here."""

    status, kind, code = 404, "not-found", "not-found"


class MethodNotAllowed(HttpRefusal):
    """This cannot be done with that."""

    status, kind, code = 405, "not-supported", "method-not-allowed"


class NotAcceptable(HttpRefusal):
    """We answer in JSON only."""

    status, kind, code = 406, "not-supported", "json-only"


class BodyTooLarge(HttpRefusal):
    """The body is larger than we take."""

    status, kind, code = 413, "too-long", "body-too-large"


class BodyTooSlow(HttpRefusal):
    """The sender fell silent in the middle of the body; nothing was kept."""

    status, kind, code = 408, "timeout", "body-too-slow"


class UnsupportedBody(HttpRefusal):
    """The body's media type or encoding is not one that we read."""

    status, kind, code = 415, "not-supported", "body-type"


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is answered to an error."""

    status: int
    outcome: Json
    headers: dict[str, str] = field(default_factory=dict)


def refusal(error: RelayError, *, at_most: int = MAX_ISSUES) -> Refusal:
    """The answer to one of our errors. What is no fault of the sender is told without details.

    Args:
        at_most: issues that are shown.
    """
    match error:
        case InvalidResource():
            return Refusal(_status_of(error.issues), outcome(*error.issues, at_most=at_most))
        case HttpRefusal():
            return Refusal(error.status, outcome(_issue(error, error.kind, error.element)), error.headers)
        case CriteriaNotSelective():
            return Refusal(412, outcome(_issue(error, "multiple-matches")))
        case VersionConflict():
            return Refusal(412, outcome(_issue(error, "conflict")))
        case PictureTooLarge():
            return Refusal(413, outcome(_issue(error, "too-long")))
        case PicturePurged():
            return Refusal(410, outcome(_issue(error, "deleted")))
        case Rejected():
            return Refusal(422, outcome(_issue(error, "processing")))
        case Unavailable():
            wait = ceil(error.retry_after.total_seconds()) if error.retry_after else WAIT_S
            told = Issue("", "transient", "not available now; nothing was kept; send the same again later", error.code)
            return Refusal(503, outcome(told), {"Retry-After": str(wait)})
    return Refusal(500, outcome(Issue("", "exception", "an unexpected answer; see the log", error.code)))


def refusal_response(error: RelayError) -> Response:
    """The same as an HTTP response."""
    answer = refusal(error)
    return fhir_response(answer.outcome, answer.status, answer.headers)


def bug_response(request_id: str) -> Response:
    """What a bug gets: its id in the log, nothing else."""
    return fhir_response(outcome(Issue("", "exception", f"internal error {request_id}", "internal")), 500)


TOO_LARGE = frozenset({"picture-too-large", BodyTooLarge.code})


def _status_of(issues: tuple[Issue, ...]) -> int:
    """400 when there is no FHIR to speak of, 413 when something is too large, else 422."""
    if any(issue.kind == "structure" and "." not in issue.element for issue in issues):
        return 400
    if any(issue.element.startswith("http.") for issue in issues):
        return 400
    return 413 if any(issue.code in TOO_LARGE for issue in issues) else 422


def _issue(error: RelayError, kind: str, element: str = "") -> Issue:
    return Issue(element, kind, str(error), error.code)
