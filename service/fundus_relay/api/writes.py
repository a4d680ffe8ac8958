"""Taking resources: create, update, conditional create, transaction and batch."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from email.utils import format_datetime

from starlette.requests import Request
from starlette.responses import Response

from fundus_relay.domain.access import Scope
from fundus_relay.domain.errors import InvalidResource, Issue, RelayError
from fundus_relay.domain.values import Accepted, Entry, Json, Submitted
from fundus_relay.fhir.exchange import (
    accepted_entry,
    instant,
    refused_entry,
    response_bundle,
    shown,
    version_path,
    version_tag,
)
from fundus_relay.fhir.literals import Bases
from fundus_relay.fhir.outcome import MAX_ISSUES_OF_AN_ENTRY, noted
from fundus_relay.pipeline.accept import accept
from fundus_relay.pipeline.ports import Blobs, Clock, ImageArchive, Ledger, StudyArchive
from fundus_relay.pipeline.receive import Limits, receive
from fundus_relay.pipeline.urgency import Sender

from .addresses import base_url, id_of, kind_of
from .body import json_body
from .conditions import criteria, expected_version, no_condition, with_criteria
from .errors import refusal
from .negotiation import Prefer, fhir_response, prefer
from .own_pictures import OwnPictures

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Writes:
    """Endpoints that take something over. A success is said when everything is durable."""

    ledger: Ledger
    blobs: Blobs
    archive: ImageArchive
    studies: StudyArchive
    clock: Clock
    limits: Limits
    max_body_bytes: int
    public_url: str | None = None
    ehr_urls: tuple[str, ...] = ()
    old_after: timedelta | None = None

    async def create(self, request: Request) -> Response:
        """POST Type; conditional with If-None-Exist or with criteria in the query, as fhirpy has it."""
        kind = kind_of(request, "type")
        condition = criteria(request, kind)
        entry = await self._one(request, kind)
        taken = await self._accept_one(request, replace(entry, method="POST", if_none_exist=condition))
        return self._answer(request, taken, 201 if taken.is_new else 200)

    async def update(self, request: Request) -> Response:
        """PUT Type/id; also creates."""
        kind, id = kind_of(request, "instance"), id_of(request)
        expected = expected_version(request)
        entry = await self._one(request, kind)
        if entry.resource.get("id") != id:
            issue = Issue(f"{kind}.id", "value", "the resource's id must be that of the URL", "id-mismatch")
            raise InvalidResource(issue)
        taken = await self._accept_one(request, replace(entry, method="PUT", if_match=expected))
        return self._answer(request, taken, 201 if taken.is_new and _is_first(taken.resource) else 200)

    async def exchange(self, request: Request) -> Response:
        """POST of a transaction or batch Bundle to the base."""
        no_condition(request)
        submitted = with_criteria(await self._received(request, "Bundle"))
        taken = _in_order(
            submitted,
            await accept(submitted, self.ledger, self.blobs, self.studies, self.clock, self._sender(request)),
        )
        wishes, base = _wishes(request), base_url(request, self.public_url)
        notes = [note for each in taken if isinstance(each, Accepted) for note in each.notes]
        _log_notes(request, notes)
        if wishes.is_async and (where := _tasks_url(taken, base)):
            return _later(where, notes)
        entries = [_entry_answer(each, wishes, base) for each in taken]
        return fhir_response(response_bundle(submitted.bundle or "batch", entries))

    async def _one(self, request: Request, kind: str) -> Entry:
        return (await self._received(request, kind)).entries[0]

    async def _received(self, request: Request, expected: str) -> Submitted:
        body, base = json_body(request, self.max_body_bytes), base_url(request, self.public_url)
        pictures = OwnPictures(self.archive, self.ledger, self.blobs, base)
        return await receive(body, self.blobs, pictures, self.limits, expected, Bases((base,), self.ehr_urls))

    def _sender(self, request: Request) -> Sender:
        caller = request.scope.get("caller")
        if caller is None:
            return Sender(old_after=self.old_after)
        return Sender(caller.name, self.old_after, may_be_urgent=Scope.URGENT in caller.scopes)

    async def _accept_one(self, request: Request, entry: Entry) -> Accepted:
        (taken,) = await accept(
            Submitted((entry,)), self.ledger, self.blobs, self.studies, self.clock, self._sender(request)
        )
        if isinstance(taken, RelayError):
            raise taken
        return taken

    def _answer(self, request: Request, taken: Accepted, status: int) -> Response:
        wishes, base = _wishes(request), base_url(request, self.public_url)
        _log_notes(request, taken.notes)
        if wishes.is_async and taken.task_id:
            return _later(f"{base}/Task/{taken.task_id}", taken.notes)
        return fhir_response(
            _body(taken, wishes, base),
            status,
            {
                **_warning(taken.notes),
                "Location": f"{base}/{version_path(taken.resource)}",
                "ETag": version_tag(taken.resource),
                "Last-Modified": format_datetime(instant(taken.resource), usegmt=True),
            },
        )


def _wishes(request: Request) -> Prefer:
    """What the caller prefers; who may not read is shown nothing: a conditional create answers with what it found."""
    wishes, caller = prefer(request), request.scope.get("caller")
    is_told = wishes.content == "OperationOutcome" or caller is None or Scope.READ in caller.scopes
    return wishes if is_told else replace(wishes, content="minimal")


def _is_first(resource: Json) -> bool:
    return bool(resource["meta"]["versionId"] == "1")


def _body(taken: Accepted, wishes: Prefer, base: str) -> Json | None:
    match wishes.content:
        case "minimal":
            return None
        case "OperationOutcome":
            return noted("taken and durable", taken.notes)
    return shown(taken.resource, base)


def _later(where: str, notes: Sequence[Issue]) -> Response:
    headers = {"Content-Location": where, **_warning(notes)}
    return fhir_response(noted("taken and durable; the Task tells the rest", notes), 202, headers)


def _warning(notes: Sequence[Issue]) -> dict[str, str]:
    """Where an answer that is a resource, or empty, has room for it.

    Source: RFC 7234 §5.5.7, which is obsolete for caches; a persistent warning (299) is what others use it for still.
    """
    return {"Warning": ", ".join(f'299 fundus-relay "{each.code}: {each.text}"' for each in notes)} if notes else {}


def _log_notes(request: Request, notes: Sequence[Issue]) -> None:
    caller = request.scope.get("caller")
    for code in dict.fromkeys(each.code for each in notes):
        count = sum(each.code == code for each in notes)
        log.warning("taken-with-notes", extra={"code": code, "count": count, "caller": caller.name if caller else None})


def _tasks_url(taken: Sequence[Accepted | RelayError], base: str) -> str | None:
    """Where the Tasks of a Bundle are; None without any, and when an entry was refused: that must be said now."""
    if any(isinstance(each, RelayError) for each in taken):
        return None
    ids = list(dict.fromkeys(each.task_id for each in taken if isinstance(each, Accepted) and each.task_id))
    if len(ids) > 1:
        return f"{base}/Task?_id={','.join(ids)}"
    return f"{base}/Task/{ids[0]}" if ids else None


def _in_order(submitted: Submitted, taken: Sequence[Accepted | RelayError]) -> list[Accepted | RelayError]:
    """What became of each entry as sent, those refused at the door among them."""
    rest = iter(taken)
    return [
        submitted.refused[at] if at in submitted.refused else next(rest)
        for at in range(len(submitted.refused) + len(taken))
    ]


def _entry_answer(taken: Accepted | RelayError, wishes: Prefer, base: str) -> Json:
    if isinstance(taken, RelayError):
        refused = refusal(taken, at_most=MAX_ISSUES_OF_AN_ENTRY)
        return refused_entry(refused.status, refused.outcome)
    is_created, asks = taken.is_new and _is_first(taken.resource), wishes.content == "OperationOutcome"
    return accepted_entry(
        201 if is_created else 200,
        taken.resource,
        body=shown(taken.resource, base) if wishes.content == "representation" else None,
        outcome=noted("taken and durable", taken.notes) if taken.notes or asks else None,
    )
