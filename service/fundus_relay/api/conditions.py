"""What a sender wants to hold before it writes. A condition is honoured or refused, never passed over.

Source: FHIR R4 4.0.1, http (conditional create, managing resource contention); RFC 9110 §13.1. That a server passes
over `If-Modified-Since` on a write, as §13.1.3 has it, would be news to who sends it: we refuse that, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from starlette.requests import Request

from fundus_relay.domain.errors import InvalidResource, Issue
from fundus_relay.domain.values import Entry, Submitted
from fundus_relay.fhir.search import canonical_criteria

from .addresses import query_of
from .errors import MalformedRequest
from .negotiation import version_named

_CONDITIONS = ("If-Match", "If-None-Match", "If-None-Exist", "If-Modified-Since", "If-Unmodified-Since")


def criteria(request: Request, kind: str) -> str | None:
    """Criteria of a conditional create: the header, or the query as fhirpy has it. None when nothing is stated.

    Raises:
        InvalidResource: a header that selects nothing: its sender does not want a second.
        MalformedRequest: header and query are two conditions, or there is another one.
    """
    header = _stated(request, "If-None-Exist").get("If-None-Exist")
    queried = canonical_criteria(kind, query_of(request))
    if header is None:
        return queried
    condition = _selective(kind, header, "http.If-None-Exist")
    if queried not in (None, condition):
        raise MalformedRequest("header and URL state two conditions", element="http.If-None-Exist")
    return condition


def expected_version(request: Request) -> int | None:
    """The version that a PUT expects to be the newest; 0 when there must be none yet, None when any will do.

    Raises: MalformedRequest.
    """
    stated = _stated(request, "If-Match", "If-None-Match")
    if len(stated) == 2:
        raise MalformedRequest("state one condition", element="http.If-Match")
    if "If-None-Match" in stated:
        if stated["If-None-Match"].strip() != "*":
            raise MalformedRequest("only * can be for a PUT", element="http.If-None-Match")
        return 0
    if "If-Match" not in stated:
        return None
    version = version_named(stated["If-Match"])
    if not version:
        raise MalformedRequest('write a version, as in If-Match: W/"3"', element="http.If-Match")
    return version


def no_condition(request: Request) -> None:
    """A Bundle's conditions are those of its entries. Raises MalformedRequest."""
    _stated(request)


def _stated(request: Request, *honoured: str) -> Mapping[str, str]:
    """The conditional headers. Raises MalformedRequest for one that is not honoured, or that stands twice."""
    stated: dict[str, str] = {}
    for name in _CONDITIONS:
        values = request.headers.getlist(name)
        if values and name not in honoured:
            raise MalformedRequest("this request cannot be conditional like this", element=f"http.{name}")
        if len(values) > 1:
            raise MalformedRequest("state one condition", element=f"http.{name}")
        if values:
            stated[name] = values[0]
    return stated


def with_criteria(submitted: Submitted) -> Submitted:
    """The same with every `ifNoneExist` in its one spelling, so that equal conditions exclude each other."""
    entries: list[Entry] = []
    seen: set[tuple[str, str]] = set()
    for entry in submitted.entries:
        if entry.if_none_exist is None:
            entries.append(entry)
            continue
        kind, element = entry.resource["resourceType"], f"{entry.element.removesuffix('.resource')}.request.ifNoneExist"
        condition = _selective(kind, entry.if_none_exist, element)
        if submitted.bundle == "transaction" and (kind, condition) in seen:
            raise InvalidResource(Issue(element, "duplicate", "another entry has this condition", "entry-twice"))
        seen.add((kind, condition))
        entries.append(replace(entry, if_none_exist=condition))
    return replace(submitted, entries=tuple(entries))


def _selective(kind: str, criteria: str, element: str) -> str:
    """Criteria in their one spelling. Raises InvalidResource at `element`."""
    try:
        if condition := canonical_criteria(kind, criteria):
            return condition
    except InvalidResource as why:
        raise InvalidResource(*(replace(issue, element=element) for issue in why.issues)) from why
    text = "the condition does not say which resource is meant"
    raise InvalidResource(Issue(element, "value", text, "search-parameter"))
