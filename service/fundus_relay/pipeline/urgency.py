"""How urgent a sender says that a photograph, or a study in an archive, is.

Urgent: its order (`basedOn`), or that of the study that it is part of, has the priority urgent, asap or stat. Backfill:
it, or the study that it is part of, says so in `meta.tag`; or it was taken longer ago than the operator has set. Should
both be true, an order that somebody waits for counts for more than what its photograph is tagged with.

Who is urgent overtakes everybody and spends what is kept for that, so the operator says whose orders count, whoever
sends the photographs. An order of a sender who may not be urgent is kept with a tag that says so, and makes nothing
urgent; what comes for it is taken all the same, and its sender is told. Only this tag tells which orders count: what a
sender says of it is taken away, and it goes when somebody who may be urgent writes the order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from fundus_relay.domain.errors import Issue
from fundus_relay.domain.urgency import Urgency
from fundus_relay.domain.values import Entry, Json
from fundus_relay.fhir import names
from fundus_relay.fhir.intake.submission import captured
from fundus_relay.fhir.search_dates import intervals

from .identity import Known, at_ehr, key_of
from .ports import Transaction

URGENT = frozenset({"urgent", "asap", "stat"})
"""Source: FHIR R4 4.0.1, value set request-priority; the fourth is routine."""

NOT_PERMITTED = "priority-not-permitted"
"""Of the code system `handling`: the tag of an order whose priority does not count."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Who hands something in, and what the operator has set for it.

    Attributes:
        tenant: the caller's name; empty for all that nobody asks for a name.
        old_after: photographs of longer ago are backfill; none without it.
        may_be_urgent: whether orders that it writes make photographs urgent.
    """

    tenant: str = ""
    old_after: timedelta | None = None
    may_be_urgent: bool = True


NOBODY = Sender()


@dataclass(frozen=True, slots=True)
class Claim:
    """How urgent something is by what is said of it, and whether its order would be urgent, had it been let."""

    urgency: Urgency
    is_refused: bool = False


ROUTINE = Claim(Urgency.ROUTINE)


async def urgency_of(
    resource: Json,
    stored: Sequence[Json],
    known: Mapping[str, Known],
    tx: Transaction,
    *,
    now: datetime,
    sender: Sender,
) -> Claim:
    """The urgency of a Media or ImagingStudy.

    Args:
        resource: as sent.
        stored: what was here before of the orders, encounters and studies that it names.
    """
    named = [*stored, *_sent_along(resource, ("basedOn", "partOf"), known)]
    studies = [each for each in named if each["resourceType"] == "ImagingStudy"]
    orders = [each for each in named if each["resourceType"] == "ServiceRequest"]
    for study in studies:
        orders += await _orders_of(study, known, tx)
    if any(map(_is_urgent, orders)):
        return Claim(Urgency.URGENT)
    is_old = sender.old_after is not None and _is_older(resource, now - sender.old_after)
    is_tagged = any(_is_tagged(each) for each in (resource, *studies))
    return Claim(
        Urgency.BACKFILL if is_old or is_tagged else Urgency.ROUTINE, is_refused=any(map(is_unpermitted, orders))
    )


def as_permitted(resource: Json, before: Json | None, sender: Sender) -> Json:
    """What a sender wrote as it is kept: orders whose priority does not count are tagged, contained ones, too.

    Args:
        before: what was kept under its id; an order that is written again, as urgent as it was, asks for nothing.
    """
    if resource["resourceType"] == "ServiceRequest":
        may_be = sender.may_be_urgent or (before is not None and _is_urgent(before))
        resource = _tagged(resource, is_refused=not may_be and resource.get("priority") in URGENT)
    if "contained" in resource:
        resource = {**resource, "contained": [as_permitted(each, None, sender) for each in resource["contained"]]}
    return resource


def _tagged(order: Json, *, is_refused: bool) -> Json:
    meta = order.get("meta", {})
    tags = [each for each in meta.get("tag", []) if not _is(each, NOT_PERMITTED)]
    if is_refused:
        tags.append({"system": names.HANDLING, "code": NOT_PERMITTED})
    meta = {**{name: value for name, value in meta.items() if name != "tag"}, **({"tag": tags} if tags else {})}
    return {**{name: value for name, value in order.items() if name != "meta"}, **({"meta": meta} if meta else {})}


def note_on(entry: Entry) -> Issue:
    """What a sender is told of an order whose priority does not count; true whatever becomes of what it sent."""
    text = "taken, and its order's priority makes nothing urgent: whoever wrote that lacks the scope urgent"
    return Issue(entry.element, "forbidden", text, "urgency-not-permitted")


def _is_urgent(order: Json) -> bool:
    return order.get("priority") in URGENT and not is_unpermitted(order)


def is_unpermitted(resource: Json) -> bool:
    """Whether it is an order whose priority does not count."""
    return resource["resourceType"] == "ServiceRequest" and any(
        _is(each, NOT_PERMITTED) for each in resource.get("meta", {}).get("tag", [])
    )


def hurried_by(entry: Entry, known: Mapping[str, Known]) -> str | None:
    """The key of the study that this order groups, if it is an urgent order that the EHR knows.

    Photographs of it that came before become urgent with it, unless they name an ImagingStudy, which groups them first.
    """
    if entry.resource["resourceType"] != "ServiceRequest" or not _is_urgent(entry.resource):
        return None
    subject = at_ehr(entry.resource["subject"], known)
    itself = at_ehr({"reference": entry.element}, known)
    return key_of(subject, itself["reference"]) if subject and itself else None


def _sent_along(resource: Json, elements: Sequence[str], known: Mapping[str, Known]) -> list[Json]:
    """What these references lead to within the same request."""
    found: list[Json] = []
    for reference in (each for element in elements for each in resource.get(element, [])):
        literal = str(reference.get("reference", ""))
        if literal in known and not known[literal].is_earlier:
            found.append(known[literal].resource)
        elif literal.startswith("#"):
            found += [each for each in resource.get("contained", []) if f"#{each.get('id')}" == literal]
    return found


async def _orders_of(study: Json, known: Mapping[str, Known], tx: Transaction) -> list[Json]:
    found = _sent_along(study, ["basedOn"], known)
    for reference in study.get("basedOn", []):
        kind, _, id = str(reference.get("reference", "")).partition("/")
        if kind == "ServiceRequest" and (order := await tx.resources.read(kind, id)) is not None:
            found.append(order)
    return found


def _is_tagged(resource: Json) -> bool:
    return any(_is(each, Urgency.BACKFILL) for each in resource.get("meta", {}).get("tag", []))


def _is(tag: Json, code: str) -> bool:
    return (tag.get("system"), tag.get("code")) == (names.HANDLING, code)


def _is_older(resource: Json, moment: datetime) -> bool:
    taken_at = captured(resource) or resource.get("started")
    end = intervals(taken_at)[0].end if taken_at else None
    return end is not None and end <= moment
