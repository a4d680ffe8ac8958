"""From a parsed body to its entries: one resource, or those of a transaction or batch Bundle."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from fundus_relay.domain.errors import InvalidResource, Issue
from fundus_relay.domain.laterality import Laterality
from fundus_relay.domain.values import Entry, Json, Submitted

from .intake_bundle import bundle_entries
from .intake_structure import Pointer, examine_structure, model_of
from .literals import Bases
from .references import Names, check_patients, check_pointers
from .rules import TYPES, check_rules, check_together, eyes

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
    issues += _check(entries, is_bundle=bundle is not None)
    refused: dict[int, InvalidResource] = {}
    while issues:
        if bundle != "batch":
            raise InvalidResource(*issues)
        refused |= by_entry(issues)
        entries = [entry for entry in entries if position(entry.element) not in refused]
        issues = _check(entries, is_bundle=True)
    return Submitted(tuple(_finished(entry) for entry in entries), bundle, refused)


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


def _check(entries: list[Entry], *, is_bundle: bool) -> list[Issue]:
    """Structure first: what has none cannot be asked anything else."""
    pointers: list[tuple[Entry, list[Pointer]]] = []
    issues: list[Issue] = []
    for entry in entries:
        if entry.resource["resourceType"] not in TYPES:
            issues.append(_not_taken(entry))
            continue
        wrong, found = examine_structure(entry.resource, entry.element)
        issues += wrong
        pointers.append((entry, found))
    if issues:
        return issues
    return list(_check_content(entries, pointers, is_bundle=is_bundle))


def _check_content(
    entries: list[Entry], pointers: list[tuple[Entry, list[Pointer]]], *, is_bundle: bool
) -> Iterator[Issue]:
    names = Names.of(entries)
    for entry, found in pointers:
        yield from check_rules(entry)
        yield from check_pointers(found, entry.resource, names)
    if is_bundle:
        yield from check_together(entries, names)
        yield from check_patients(entries, names)


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
