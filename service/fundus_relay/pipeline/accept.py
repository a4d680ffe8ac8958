"""Accepting what a sender handed in: resources, studies, images, wishes to an archive, Tasks and the first jobs, in one
commit.

The pictures are durable already (`receive`); when `accept` returned, the rest is too, and only then a 201 may be said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl
from uuid import uuid4

from fundus_relay import tracing
from fundus_relay.domain.errors import (
    CriteriaNotSelective,
    InvalidResource,
    Issue,
    RelayError,
    StoreUnavailable,
    VersionConflict,
)
from fundus_relay.domain.values import Accepted, Entry, Json, Submitted

from .identity import OURS, Known, id_at_ehr, is_ours
from .imaging_studies import AskedStudy, take_studies
from .kept import make_sure
from .ownership import check_found, check_groups, check_studies
from .photographs import Photograph, photograph_of, take_photographs
from .ports import Blobs, Clock, Ledger, StudyArchive, Transaction
from .urgency import NOBODY, Sender, as_permitted, hurried_by, is_unpermitted, note_on, urgency_of
from .withdrawal import take_back


async def accept(
    submitted: Submitted,
    ledger: Ledger,
    blobs: Blobs,
    archive: StudyArchive,
    clock: Clock,
    sender: Sender = NOBODY,
) -> list[Accepted | RelayError]:
    """Take a request over; the answers stand in the order of its entries.

    A transaction and a single resource are taken whole or not at all (the error is raised); each entry of a batch has
    its own fate (its error is returned in its place).
    """
    with _traced(submitted.entries) as entries:
        if submitted.bundle != "batch":
            return [*await _accept_together(entries, ledger, blobs, archive, clock, sender)]
        answers: list[Accepted | RelayError] = []
        for entry in entries:
            try:
                answers += await _accept_together([entry], ledger, blobs, archive, clock, sender)
            except RelayError as why:
                answers.append(why)
        return answers


@contextmanager
def _traced(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    """The entries with the trace that each goes on in: the request's, unless several photographs share that."""
    pictured = [entry for entry in entries if entry.picture is not None]
    with tracing.apart("photograph", len(pictured) if len(pictured) > 1 else 0) as parts:
        own = {entry.element: part for entry, part in zip(pictured, parts, strict=False)}
        yield [replace(entry, trace=own.get(entry.element, tracing.own())) for entry in entries]


@dataclass(frozen=True, slots=True)
class _Placed:
    """An entry and where it is stored.

    Attributes:
        found: what a conditional create matched; then nothing is written.
    """

    entry: Entry
    reference: str
    found: Json | None = None


async def _accept_together(
    entries: Sequence[Entry], ledger: Ledger, blobs: Blobs, archive: StudyArchive, clock: Clock, sender: Sender
) -> list[Accepted]:
    async with ledger.transaction() as tx:
        await make_sure([entry.picture.sha256 for entry in entries if entry.picture is not None], tx, blobs)
        await tx.hold([name for entry in entries if (name := _contended_name(entry))])
        placed = [await _place(entry, tx) for entry in entries]
        links = {p.entry.element: p.reference for p in placed}
        placed = [await _as_permitted(p, links, sender, tx) for p in placed]
        known = await _known_at_ehr(placed, tx)
        answers: dict[str, Accepted] = {}
        photographs: list[Photograph] = []
        studies: list[AskedStudy] = []
        for p in placed:
            if p.found is not None:
                if p.entry.picture is not None:
                    await check_found(p.entry, p.entry.picture, p.found, known, tx)
                answers[p.reference] = Accepted(p.found, is_new=False)
                continue
            if (taken_back := await take_back(p.entry, tx)) is not None:
                answers[p.reference] = taken_back
                continue
            stored, is_new = await tx.resources.put(_stored_form(p, links), is_fresh=p.entry.method == "POST")
            answers[p.reference] = Accepted(stored, is_new)
            if stored["resourceType"] == "ImagingStudy":
                studies.append(AskedStudy(p.entry, stored, is_new, sender))
            if p.entry.picture is not None:
                photograph = photograph_of(p.entry, p.entry.picture, stored, known)
                groups = await check_groups(p.entry, photograph.subject, known, tx)
                await check_studies(p.entry, known, tx)
                claim = await urgency_of(p.entry.resource, groups, known, tx, now=clock.now(), sender=sender)
                photographs.append(replace(photograph, claim=claim, tenant=sender.tenant))
        hurried = [key for each in placed if (key := hurried_by(each.entry, known)) is not None]
        begun = await take_photographs(photographs, hurried, known, tx, clock)
        asked = await take_studies(studies, photographs, known, archive, tx, clock)
        tasks = {f"Media/{id}": task_id for id, task_id in begun.items()}
        tasks |= {f"ImagingStudy/{id}": each.task_id for id, each in asked.items()}
        refused = {f"Media/{each.stored['id']}" for each in photographs if each.claim.is_refused}
        refused |= {f"ImagingStudy/{id}" for id, each in asked.items() if each.is_refused}
        refused |= {each.entry.element for each in placed if is_unpermitted(each.entry.resource)}
        return [_answer(p, answers[p.reference], tasks, refused) for p in placed]


def _answer(placed: _Placed, taken: Accepted, tasks: Mapping[str, str], refused: Set[str]) -> Accepted:
    """With its Task and notes, which are known by its type and id, and those of an order by its entry."""
    is_refused = placed.found is None and not refused.isdisjoint({placed.reference, placed.entry.element})
    return replace(taken, task_id=tasks.get(placed.reference), notes=(note_on(placed.entry),) if is_refused else ())


def _contended_name(entry: Entry) -> str | None:
    """What two requests at once must not both decide about."""
    kind = entry.resource["resourceType"]
    if entry.method == "PUT":
        return f"{kind}/{entry.resource['id']}"
    return f"{kind}?{entry.if_none_exist}" if entry.if_none_exist else None


async def _as_permitted(placed: _Placed, links: dict[str, str], sender: Sender, tx: Transaction) -> _Placed:
    """With its priority as far as that counts, for whatever looks at it from here on."""
    resource = placed.entry.resource
    before = None
    if resource["resourceType"] == "ServiceRequest" and placed.entry.method == "PUT":
        before = await tx.resources.read("ServiceRequest", resource["id"])
        if before is not None and before.get("subject") != _relinked(resource.get("subject"), links):
            before = None  # as urgent as another patient's was
    return replace(placed, entry=replace(placed.entry, resource=as_permitted(resource, before, sender)))


async def _place(entry: Entry, tx: Transaction) -> _Placed:
    """Find the entry's id: its own for PUT, that of the match for a conditional create, else a new one of ours."""
    kind = entry.resource["resourceType"]
    if entry.method == "PUT":
        await _check_version(entry, tx)
        return _Placed(entry, f"{kind}/{entry.resource['id']}")
    if entry.if_none_exist:
        criteria = parse_qsl(entry.if_none_exist.removeprefix(f"{kind}?"), keep_blank_values=True)
        if kind == "Media":  # one that was withdrawn stands for no photograph
            criteria.append(("status", "completed"))
        page = await tx.resources.search(kind, criteria, count=2)
        if page.total > 1:
            raise CriteriaNotSelective(f"If-None-Exist of {entry.element} matches {page.total} resources")
        if page.matches:
            found = await tx.resources.lean_on(kind, page.matches[0]["id"])
            if found is None:
                raise StoreUnavailable("what the condition found was purged in this very moment")
            return _Placed(entry, f"{kind}/{found['id']}", found=found)
    return _Placed(entry, f"{kind}/{OURS}{uuid4()}")


async def _check_version(entry: Entry, tx: Transaction) -> None:
    if entry.if_match is None:
        return
    newest = await tx.resources.read(entry.resource["resourceType"], entry.resource["id"])
    if (int(newest["meta"]["versionId"]) if newest else 0) != entry.if_match:
        raise VersionConflict(f"{entry.element} is not at the version that its sender expects")


async def _known_at_ehr(placed: Sequence[_Placed], tx: Transaction) -> dict[str, Known]:
    """What stands behind the references of this request, by every name that they may use."""
    known: dict[str, Known] = {}
    for p in placed:
        resource = p.found or p.entry.resource
        is_earlier = p.found is not None
        known[p.entry.element] = known[p.reference] = Known(resource, id_at_ehr(p.entry), is_earlier)
    for p in placed:
        for element, literal in _literals(p.entry.resource, p.entry.element):
            if literal not in known and is_ours(literal):
                known[literal] = Known(await _earlier(element, literal, tx), None, is_earlier=True)
    return known


async def _earlier(element: str, literal: str, tx: Transaction) -> Json:
    kind, _, id = literal.partition("/")
    resource = await tx.resources.lean_on(kind, id)
    if resource is None:
        issue = Issue(f"{element}.reference", "not-found", "there is no such resource here", "reference-unresolved")
        raise InvalidResource(issue)
    return resource


def _literals(part: Any, path: str) -> list[tuple[str, str]]:  # Any: any part of a FHIR resource
    """Every literal reference in a resource, and where it stands."""
    if isinstance(part, list):
        return [found for index, item in enumerate(part) for found in _literals(item, f"{path}[{index}]")]
    if not isinstance(part, dict):
        return []
    own = [(path, part["reference"])] if isinstance(part.get("reference"), str) else []
    return own + [found for key, value in part.items() for found in _literals(value, f"{path}.{key}")]


def _stored_form(placed: _Placed, links: dict[str, str]) -> Json:
    """The resource as our endpoint shows it: our id, our references, and where the pixels lie in place of them."""
    resource: Json = {**_relinked(placed.entry.resource, links), "id": placed.reference.partition("/")[2]}
    picture = placed.entry.picture
    if picture is None:
        return resource
    content = {key: value for key, value in resource["content"].items() if key not in {"data", "url", "size"}}
    content |= {"contentType": picture.media_type, "url": f"Binary/{picture.sha256}", "size": picture.byte_count}
    return {**resource, "width": picture.size.columns, "height": picture.size.rows, "content": content}


def _relinked(part: Any, links: dict[str, str]) -> Any:  # Any: any part of a FHIR resource
    """The same with every reference to an entry of this request replaced by where that entry is stored."""
    if isinstance(part, list):
        return [_relinked(item, links) for item in part]
    if not isinstance(part, dict):
        return part
    linked = {key: _relinked(value, links) for key, value in part.items()}
    if (target := links.get(linked.get("reference", ""))) is not None:
        linked["reference"] = target
    return linked
