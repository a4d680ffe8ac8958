"""From a parsed body to its entries: one resource, or those of a transaction or batch Bundle."""

from __future__ import annotations

import re
from collections.abc import Sequence

from fundus_relay.domain.errors import InvalidResource, Issue
from fundus_relay.domain.laterality import Laterality
from fundus_relay.domain.values import Entry, Json, Submitted

from ..literals import Bases
from .bundle import bundle_entries
from .content import Content, Examined
from .elements import model_of
from .rules import TYPES, eyes
from .structure import Pointer, examine_structure

_NO_BASES = Bases()
_ENTRY = re.compile(r"Bundle\.entry\[(\d+)\]")


def read_submission(document: Json, expected: str | None = None, bases: Bases = _NO_BASES) -> Submitted:
    """Validate what a body holds.

    Args:
        document: the body without pixels; an empty string stands where they were.
        expected: the resource type that the URL names, or None when any will do.
        bases: under which a reference needs none.

    Returns:
        Its entries, `content.data` taken away. Each entry of a batch has its own fate: a wrong one is among `refused`.

    Raises:
        InvalidResource: with everything that is wrong.
    """
    kind = document["resourceType"]
    if model_of(kind) is None:
        raise InvalidResource(Issue("resourceType", "structure", "FHIR R4 has no such resource", "not-fhir"))
    if expected is not None and kind != expected:
        text = f"the URL is for {expected}, the body is a {kind}"
        raise InvalidResource(Issue("resourceType", "structure", text, "type-mismatch"))
    document = bases.applied(document)
    if kind == "Bundle":
        entries, issues = bundle_entries(document, bases)
        bundle = document.get("type")
    else:
        entries, issues, bundle = [Entry(document, element=kind)], [], None
    examined, structural = _examine(entries)
    refused: dict[int, InvalidResource] = {}
    if structural:  # what has no structure cannot be asked anything else
        refused = _fates([*issues, *structural], bundle)
        examined, issues = [each for each in examined if position(each.entry.element) not in refused], []
    content = Content(examined, bundle, bases)
    issues += content.issues()
    while issues:
        found = _fates(issues, bundle)
        refused |= found
        issues = content.issues_without([f"Bundle.entry[{at}].resource" for at in found])
    return Submitted(tuple(_finished(entry) for entry in content.entries), bundle, refused)


def _fates(issues: Sequence[Issue], bundle: str | None) -> dict[int, InvalidResource]:
    """What is wrong with each entry of a batch; all else is refused as a whole."""
    if bundle != "batch":
        raise InvalidResource(*issues)
    return by_entry(issues)


def by_entry(issues: Sequence[Issue]) -> dict[int, InvalidResource]:
    """What is wrong with each entry of a Bundle, by its position. Raises InvalidResource for what is of no entry."""
    found: dict[int, list[Issue]] = {}
    for issue in issues:
        at = position(issue.element)
        if at is None:
            raise InvalidResource(*issues)
        found.setdefault(at, []).append(issue)
    return {at: InvalidResource(*several) for at, several in found.items()}


def position(element: str) -> int | None:
    """Which entry of a Bundle a FHIRPath is in; None when in none."""
    match = _ENTRY.match(element)
    return int(match[1]) if match else None


def laterality(media: Json) -> Laterality | None:
    """The eye that the codes of `Media.bodySite` name; None when they name none or both."""
    match tuple(eyes(media)):
        case ("R",):
            return Laterality.RIGHT
        case ("L",):
            return Laterality.LEFT
    return None


def captured(media: Json) -> str | None:
    """When the photograph was taken, as sent: `createdDateTime`, or the start of `createdPeriod`."""
    moment = media.get("createdDateTime") or media.get("createdPeriod", {}).get("start")
    return str(moment) if moment else None


def _examine(entries: Sequence[Entry]) -> tuple[list[Examined], list[Issue]]:
    """The entries whose structure is right, and what is wrong with that of the others."""
    examined, issues = [], []
    for entry in entries:
        wrong: list[Issue] = [_not_taken(entry)]
        pointers: list[Pointer] = []
        if entry.resource["resourceType"] in TYPES:
            wrong, pointers = examine_structure(entry.resource, entry.element)
        if not wrong:
            examined.append(Examined(entry, pointers))
        issues += wrong
    return examined, issues


def _not_taken(entry: Entry) -> Issue:
    kind = entry.resource["resourceType"]
    return Issue(f"{entry.element}.resourceType", "not-supported", f"{kind} is not taken here", "type-not-supported")


def _finished(entry: Entry) -> Entry:
    """Without the mark of its pixels; a patient known by identifier alone is a Patient."""
    resource = entry.resource
    if resource["resourceType"] == "Media":
        resource["content"].pop("data", None)
        if "reference" not in resource["subject"]:
            resource["subject"].setdefault("type", "Patient")
    return entry
