"""What an EHR's answers mean: come again later, or a person must look; and what of them may be told."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import httpx
from pydantic import BaseModel, ValidationError

from fundus_relay.adapters.bounded import retry_after
from fundus_relay.domain.errors import RecordCredentialsRefused, RecordRefused, RecordUnavailable
from fundus_relay.domain.values import Json

LATER = frozenset({408, 409, 412, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same may succeed.

Source: HAPI FHIR 8.8.0, observed: 409 is a lost race (also that of a stale `ifMatch`); 412 is more than one match.
"""

OUR_TOKEN = frozenset({401, 403})
"""Statuses that speak of the caller and not of the report: all reports wait, and go on once the token is mended."""

ISSUE_TYPE = re.compile(
    "invalid|structure|required|value|invariant|security|login|unknown|expired|forbidden|suppressed|processing"
    "|not-supported|duplicate|multiple-matches|not-found|deleted|too-long|code-invalid|extension|too-costly"
    "|business-rule|conflict|transient|lock-error|no-store|exception|timeout|incomplete|throttled|informational"
)
"""Source: FHIR R4 4.0.1, value set issue-type."""

MEANINGS = {
    "HAPI-0528": "the Bundle has more entries than the EHR takes",
    "HAPI-0958": "a search by identifier finds more than one",
    "HAPI-1091": "a search reference finds nothing",
    "HAPI-1094": "a resource that the report refers to is not there",
    "HAPI-2207": "a search reference finds more than one",
}
"""Source: HAPI FHIR 8.8.0, observed."""

_HAPI = re.compile(r"\bHAPI-\d{3,5}\b")
_PATH = r"(?:Bundle|DiagnosticReport|Observation|Device|Media|Provenance)(?:\.[a-z][A-Za-z0-9]*(?:\[\d+\])?)*"
_ELEMENT = re.compile(_PATH)
_IN_WORDS = re.compile(rf"\bpath: ({_PATH})")
_DECORATION = re.compile(r"/\*.*?\*/|\.ofType\(\w+\)")


class PreconditionFailed(RecordUnavailable):
    """412: something changed since we looked, or a condition fits more than one resource."""


@dataclass(frozen=True, slots=True)
class Searchset:
    """One page of what a search found.

    Attributes:
        next_page: URL, or None.
    """

    resources: tuple[Json, ...]
    next_page: str | None


class _Reference(BaseModel):
    reference: str = ""


class _Identifier(BaseModel):
    system: str = ""
    value: str = ""


class _Meta(BaseModel):
    versionId: str | None = None  # noqa: N815 - FHIR's name


class _Narrative(BaseModel):
    div: str = ""


class _Found(BaseModel):
    """What we read of a resource that somebody else may have written."""

    resourceType: str  # noqa: N815
    id: str = ""
    meta: _Meta = _Meta()
    identifier: list[_Identifier] = []
    status: str = ""
    issued: str = ""
    subject: _Reference = _Reference()
    result: list[_Reference] = []
    text: _Narrative = _Narrative()


class _Entry(BaseModel):
    resource: _Found | None = None


class _Link(BaseModel):
    relation: str
    url: str


class _Page(BaseModel):
    resourceType: Literal["Bundle"]  # noqa: N815
    entry: list[_Entry] = []
    link: list[_Link] = []


def check(answer: httpx.Response) -> None:
    """See that it is a success.

    Raises:
        RecordUnavailable: the same may succeed later.
        RecordCredentialsRefused: it may once an operator has mended the token.
        RecordRefused: it will not; says why without anything that may be of the patient.
    """
    if answer.is_success:
        return
    told = f"the EHR answers {answer.status_code} {scrubbed(answer)}".strip()
    if answer.status_code == httpx.codes.PRECONDITION_FAILED:
        raise PreconditionFailed(told)
    if answer.status_code in LATER:
        raise RecordUnavailable(told, retry_after=retry_after(answer))
    if answer.status_code in OUR_TOKEN:
        raise RecordCredentialsRefused(told, retry_after=retry_after(answer))
    raise RecordRefused(told)


def read_searchset(answer: httpx.Response) -> Searchset:
    """What a search found.

    Raises:
        RecordUnavailable: the body is no searchset; what the EHR holds is not known then.
    """
    try:
        body = answer.json()
        page = _Page.model_validate(body)
    except ValidationError as exc:
        raise RecordUnavailable("the EHR answers a search with something else") from exc
    except (ValueError, RecursionError) as exc:
        raise RecordUnavailable("the EHR answers a search with no JSON") from exc
    found = [each["resource"] for each in body.get("entry", []) if "id" in each.get("resource", {})]
    return Searchset(tuple(found), next((link.url for link in page.link if link.relation == "next"), None))


def moment(value: object) -> datetime:
    """A FHIR instant; whatever is none counts as long ago, so that ours is the later one."""
    try:
        return datetime.fromisoformat(str(value)).astimezone(UTC)
    except (ValueError, OverflowError):
        return datetime.fromtimestamp(0, UTC)


def scrubbed(answer: httpx.Response) -> str:
    """What an OperationOutcome says without what it may quote: codes, element paths, HAPI's message numbers.

    Of errors if there are any: a validator's warnings come along with them, and are not why it refuses.
    A path has to begin with a type that we write, and a code to be one of FHIR's: a name passes as neither.
    """
    try:
        outcome = answer.json()
    except ValueError:
        return ""
    told: list[str] = []
    issues = _list(outcome, "issue")
    grave = [each for each in issues if isinstance(each, dict) and each.get("severity") in ("error", "fatal")]
    for issue in (grave or issues)[:5]:
        told += [code for code in _list(issue, "code") if isinstance(code, str) and ISSUE_TYPE.fullmatch(code)]
        words = " ".join(str(text) for text in _list(issue, "diagnostics"))
        numbers = _HAPI.findall(words)
        told += [f"{number} ({MEANINGS[number]})" if number in MEANINGS else number for number in numbers]
        paths = [_DECORATION.sub("", str(path)) for path in (*_list(issue, "expression"), *_list(issue, "location"))]
        told += [path for path in [*paths, *_IN_WORDS.findall(words)] if _ELEMENT.fullmatch(path)][:3]
    return " ".join(dict.fromkeys(told))


def _list(part: Any, name: str) -> list[Any]:  # Any: an error body may be anything
    """The values of a member, whatever it is; none when there is none."""
    value = part.get(name, []) if isinstance(part, dict) else []
    return value if isinstance(value, list) else [value]
