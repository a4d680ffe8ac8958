"""References between the resources of one request, and whose they are.

Source: FHIR R4 4.0.1, references ("Literal References"), bundle ("Resolving references in Bundles"), http
("Conditional References").
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from urllib.parse import parse_qsl

from fundus_relay.domain.errors import Issue
from fundus_relay.domain.values import Entry, Json

from ..literals import LITERAL, Bases, tail
from .elements import model_of
from .structure import Pointer

_NO_BASES = Bases()

_ANY = "Resource"
_REPEATED = ("subject", "patient", "encounter", "partOf", "basedOn")
"""Elements whose references a report repeats, or that say whose something is: the EHR must know them by that name."""


class Names:
    """The entries of one request by what references may call them.

    A relative reference means what lies beside the entry that holds it: under the base of its fullUrl, when that is at
    some other server, else whatever entry has that id, by its PUT, its fullUrl or itself. Two entries that may be meant
    are never chosen between.
    """

    def __init__(self, entries: Sequence[Entry], bases: Bases = _NO_BASES) -> None:
        self._bases = bases
        self._called: defaultdict[object, dict[str, Entry]] = defaultdict(
            dict
        )  # element → entry; by URL, (Type/id), (type, system, value)
        self._names: defaultdict[str, list[object]] = defaultdict(list)
        for entry in entries:
            for name in self._names_of(entry):
                self._called[name][entry.element] = entry
                self._names[entry.element].append(name)

    @staticmethod
    def _names_of(entry: Entry) -> Iterator[object]:
        kind = entry.resource["resourceType"]
        if entry.full_url:
            yield from (entry.full_url, (tail(entry.full_url),))
        if id := entry.resource.get("id"):
            yield (f"{kind}/{id}",)
        for identifier in entry.resource.get("identifier", []):
            yield kind, *_token(identifier)

    def forget(self, entry: Entry) -> None:
        """No reference means this entry any more."""
        for name in self._names.pop(entry.element, []):
            self._called[name].pop(entry.element, None)

    def meant(self, reference: Json, holder: Entry) -> list[Entry]:
        """The entry that a reference means, if it came along; two when it may mean either.

        Args:
            holder: the entry that holds the reference.
        """
        literal = reference.get("reference", "")
        if literal == "":
            system, value = _token(reference.get("identifier", {}))
            return self._first((reference.get("type", "Patient"), system, value), most=1) if value else []
        base = self._bases.elsewhere(holder.full_url)
        if base is None:
            return self._first(literal, (literal,))
        return self._first(literal, f"{base}/{literal}") or [
            entry for entry in self._first((literal,)) if self._bases.elsewhere(entry.full_url) is None
        ]

    def _first(self, *names: object, most: int = 2) -> list[Entry]:
        found: dict[str, Entry] = {}
        for name in names:
            for element, entry in self._called.get(name, {}).items():
                found[element] = entry
                if len(found) == most:
                    return list(found.values())
        return list(found.values())

    def target(self, reference: Json, holder: Entry) -> Entry | None:
        """The one entry that a reference means."""
        found = self.meant(reference, holder)
        return found[0] if len(found) == 1 else None

    def identity(self, reference: Json, holder: Entry) -> str:
        """The same text for references that are known to mean the same thing."""
        if (entry := self.target(reference, holder)) is not None:
            return entry.element
        literal = reference.get("reference", "")
        return str(literal) if literal else "|".join(_token(reference.get("identifier", {})))

    def is_foreign(self, literal: str, holder: Entry) -> bool:
        """Whether a reference that nothing here answers to leads to a server that is neither ours nor the EHR."""
        match = LITERAL.fullmatch(literal)
        is_beside = match is not None and match["base"] is None and match["id"] is not None
        return self._bases.elsewhere(holder.full_url if is_beside else literal) is not None


def check_pointers(pointers: Sequence[Pointer], holder: Entry, names: Names, *, is_batch: bool) -> Iterator[Issue]:
    """What is wrong with the references of one entry."""
    beside = {f"#{each.get('id', '')}": each["resourceType"] for each in holder.resource.get("contained", [])}
    inside = {**beside, "#": holder.resource["resourceType"]}
    for pointer in pointers:
        contained = inside if ".contained[" in pointer.element else beside
        meant = names.meant(pointer.reference, holder) if pointer.reference.get("reference") else []
        if (issue := _check_name(pointer, meant, contained, holder, names, is_batch=is_batch)) is not None:
            yield issue
        else:
            yield from _check_type(pointer, _kind(pointer, meant, contained))


def _check_name(
    pointer: Pointer,
    meant: Sequence[Entry],
    contained: Mapping[str, str],
    holder: Entry,
    names: Names,
    *,
    is_batch: bool,
) -> Issue | None:
    """Whether the literal of a reference leads to one thing, here or at the EHR."""
    path, literal = f"{pointer.element}.reference", pointer.reference.get("reference")
    if literal is None or literal in contained:
        return None
    if len(meant) > 1:
        return Issue(path, "multiple-matches", "more than one entry has that name: use fullUrls", "reference-ambiguous")
    if meant and is_batch and not (meant[0].method == "PUT" and literal == put_name(meant[0])):
        text = "entries of a batch cannot refer to each other: send a transaction"
        return Issue(path, "not-found", text, "reference-unresolved")
    if meant:
        return None
    if literal.startswith(("#", "urn:")):
        return Issue(path, "not-found", "nothing in this request has that name", "reference-unresolved")
    match = LITERAL.fullmatch(literal)
    if match is None or model_of(match["kind"]) is None:
        text = "a reference is Type/id, an absolute URL or a urn of the Bundle"
        return Issue(path, "value", text, "value-invalid")
    if pointer.element.rpartition(".")[2].partition("[")[0] not in _REPEATED:
        return None
    if names.is_foreign(literal, holder):
        text = "this server is not the EHR that gets the reports: name what the EHR knows"
        return Issue(path, "not-found", text, "reference-foreign")
    if match["query"] is not None and not _names_one(match["query"]):
        return Issue(path, "value", "a search here must be by one identifier alone", "value-invalid")
    return None


def _kind(pointer: Pointer, meant: Sequence[Entry], contained: Mapping[str, str]) -> str | None:
    """The type of what a sound reference points to, as far as it can be known."""
    literal = pointer.reference.get("reference", "")
    if meant:
        return str(meant[0].resource["resourceType"])
    match = LITERAL.fullmatch(literal)
    return contained.get(literal) or (match["kind"] if match else None) or pointer.reference.get("type")


def _check_type(pointer: Pointer, kind: str | None) -> Iterator[Issue]:
    stated = pointer.reference.get("type")
    if stated is not None and stated != kind:
        yield Issue(f"{pointer.element}.type", "value", "the reference points to another type", "reference-type")
    if kind is not None and kind not in pointer.targets and _ANY not in pointer.targets:
        text = f"the reference must point to {' or '.join(sorted(pointer.targets))}"
        yield Issue(pointer.element, "value", text, "reference-type")


def put_name(entry: Entry) -> str:
    return f"{entry.resource['resourceType']}/{entry.resource.get('id')}"


def _names_one(query: str) -> bool:
    """Whether a conditional reference searches by one identifier, which can be of one thing only."""
    match parse_qsl(query, keep_blank_values=True):
        case [("identifier", value)]:
            return bool(value.rpartition("|")[2].strip()) and "," not in value.replace("\\,", "")
    return False


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
        path = f"{entry.element}.{'subject' if 'subject' in entry.resource else 'patient'}"
        who, target = names.identity(subject, entry), names.target(subject, entry)
        if target is not None and _contradicts(subject, target.resource):
            text = "this reference and this identifier are not of one patient"
            yield Issue(f"{path}.identifier", "conflict", text, "patient-mismatch")
        elif patients and who not in patients:
            yield Issue(path, "conflict", "this is about none of the patients of the Bundle", "patient-mismatch")
        elif entry.resource["resourceType"] in {"Media", "ImagingStudy"}:
            yield from _check_owners(entry, who, path, names, owners)


def _check_owners(entry: Entry, who: str, path: str, names: Names, owners: dict[str, str]) -> Iterator[Issue]:
    for reference in grouping(entry.resource):
        group, target = names.identity(reference, entry), names.target(reference, entry)
        theirs = subject_of(target.resource) if target is not None else None
        owner = owners.setdefault(group, names.identity(theirs, target) if theirs and target else who)
        if owner != who:
            text = (
                f"the order, encounter or study that this {entry.resource['resourceType']} names is about somebody else"
            )
            yield Issue(path, "conflict", text, "patient-mismatch")
            return


def _contradicts(subject: Json, patient: Json) -> bool:
    """Whether the identifier that stands in a reference is another one than the patient has in that system."""
    system, value = _token(subject.get("identifier", {}))
    theirs = {number for place, number in map(_token, patient.get("identifier", [])) if place == system}
    return bool(value and theirs) and value not in theirs


def grouping(media: Json) -> list[Json]:
    """The references of a Media that name the order, encounter or study that it belongs to."""
    encounter = [media["encounter"]] if "encounter" in media else []
    return [*media.get("partOf", []), *media.get("basedOn", []), *encounter]


def _token(identifier: Json) -> tuple[str, str]:
    return identifier.get("system", ""), identifier.get("value", "")
