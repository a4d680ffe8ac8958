"""References between the resources of one request, and whose they are.

Source: FHIR R4 4.0.1, references ("Literal References"), bundle ("Resolving references in Bundles"), http
("Conditional References").
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

from fundus_relay.domain.errors import Issue
from fundus_relay.domain.values import Entry, Json

from ..literals import LITERAL, tail
from .elements import model_of
from .structure import Pointer

_ANY = "Resource"
_REPEATED = ("subject", "patient", "encounter", "partOf", "basedOn")
"""Elements whose references a report repeats, or that say whose something is: the EHR must know them by that name."""


class Names:
    """The entries of one request by what references may call them."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        """Every entry by its fullUrl, by `Type/id` and by its identifiers.

        An exact name goes before a name without its base, and the last entry of a name before the others; of an
        identifier it is the first.
        """
        self._called: defaultdict[object, list[Entry]] = defaultdict(list)  # the one that is meant stands last
        self._forgotten: set[str] = set()
        for entry in entries:
            if entry.full_url:
                self._called[tail(entry.full_url)].append(entry)
        for entry in entries:
            if id := entry.resource.get("id"):
                self._called[f"{entry.resource['resourceType']}/{id}"].append(entry)
        for entry in entries:
            if entry.full_url:
                self._called[entry.full_url].append(entry)
        for entry in reversed(entries):
            for identifier in entry.resource.get("identifier", []):
                self._called[entry.resource["resourceType"], *_token(identifier)].append(entry)

    def forget(self, entry: Entry) -> None:
        """No reference means this entry any more."""
        self._forgotten.add(entry.element)

    def target(self, reference: Json) -> Entry | None:
        """The entry that a reference means, if it came along."""
        literal = reference.get("reference", "")
        if literal == "" and "identifier" in reference:
            system, value = _token(reference["identifier"])
            return self._meant((reference.get("type", "Patient"), system, value)) if value else None
        return self._meant(literal)

    def _meant(self, name: object) -> Entry | None:
        called = self._called.get(name, [])
        while called and called[-1].element in self._forgotten:
            called.pop()
        return called[-1] if called else None

    def identity(self, reference: Json) -> str:
        """The same text for references that are known to mean the same thing."""
        if (entry := self.target(reference)) is not None:
            return entry.element
        literal = reference.get("reference", "")
        return str(literal) if literal else "|".join(_token(reference.get("identifier", {})))


def check_pointers(pointers: Sequence[Pointer], resource: Json, names: Names) -> Iterator[Issue]:
    """What is wrong with the references of one resource."""
    contained = {f"#{each.get('id', '')}": each["resourceType"] for each in resource.get("contained", [])}
    for pointer in pointers:
        is_inside = ".contained[" in pointer.element  # where `#` is the resource that contains
        yield from _check_pointer(
            pointer, {**contained, "#": resource["resourceType"]} if is_inside else contained, names
        )


def _check_pointer(pointer: Pointer, contained: Mapping[str, str], names: Names) -> Iterator[Issue]:
    literal, stated = pointer.reference.get("reference"), pointer.reference.get("type")
    kind = stated
    if literal is not None:
        path = f"{pointer.element}.reference"
        entry = names.target(pointer.reference)
        match = LITERAL.fullmatch(literal)
        if literal.startswith("#"):
            kind = contained.get(literal)
        elif entry is not None:
            kind = entry.resource["resourceType"]
        elif match is not None and model_of(match["kind"]) is not None:
            kind = match["kind"]
            if match["base"] is not None and pointer.element.rpartition(".")[2].partition("[")[0] in _REPEATED:
                text = "this server is not the EHR that gets the reports: name what the EHR knows"
                yield Issue(path, "not-found", text, "reference-foreign")
                return
        elif literal.startswith("urn:"):
            kind = None
        else:
            yield Issue(
                path, "value", "a reference is Type/id, an absolute URL or a urn of the Bundle", "value-invalid"
            )
            return
        if kind is None:
            yield Issue(path, "not-found", "nothing in this request has that name", "reference-unresolved")
            return
        if stated is not None and stated != kind:
            yield Issue(f"{pointer.element}.type", "value", "the reference points to another type", "reference-type")
    if kind is not None and kind not in pointer.targets and _ANY not in pointer.targets:
        text = f"the reference must point to {' or '.join(sorted(pointer.targets))}"
        yield Issue(pointer.element, "value", text, "reference-type")


def subject_of(resource: Json) -> Json | None:
    """The reference to whom a resource is about."""
    subject = resource.get("subject") or resource.get("patient")
    return subject if isinstance(subject, dict) else None


def check_patients(entries: Sequence[Entry], names: Names, patients: Collection[str]) -> Iterator[Issue]:
    """Nothing may be filed under two people.

    Whoever a Bundle's resources are about must be a patient of the Bundle, if it brings any; and a Media must be about
    the same person as the orders, encounters and studies that it names, and as the other Media that name them.

    Args:
        patients: elements of the Bundle's own.
    """
    owners: dict[str, str] = {}
    for entry in entries:
        subject = subject_of(entry.resource)
        if subject is None:
            continue
        who, path = (
            names.identity(subject),
            f"{entry.element}.{'subject' if 'subject' in entry.resource else 'patient'}",
        )
        if patients and who not in patients:
            yield Issue(path, "conflict", "this is about none of the patients of the Bundle", "patient-mismatch")
        elif entry.resource["resourceType"] == "Media":
            yield from _check_owners(entry, who, path, names, owners)


def _check_owners(entry: Entry, who: str, path: str, names: Names, owners: dict[str, str]) -> Iterator[Issue]:
    for reference in grouping(entry.resource):
        group, target = names.identity(reference), names.target(reference)
        theirs = subject_of(target.resource) if target is not None else None
        owner = owners.setdefault(group, names.identity(theirs) if theirs else who)
        if owner != who:
            text = "the order, encounter or study that this Media names is about somebody else"
            yield Issue(path, "conflict", text, "patient-mismatch")
            return


def grouping(media: Json) -> list[Json]:
    """The references of a Media that name the order, encounter or study that it belongs to."""
    encounter = [media["encounter"]] if "encounter" in media else []
    return [*media.get("partOf", []), *media.get("basedOn", []), *encounter]


def _token(identifier: Json) -> tuple[str, str]:
    return identifier.get("system", ""), identifier.get("value", "")
