"""What we ask of each resource beyond its structure.

Source: FHIR R4 4.0.1 where a rule has a name; the rest is what an analysis and its report need.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from fundus_relay.domain.errors import Issue
from fundus_relay.domain.laterality import BOTH_EYES, LEFT_EYE, RIGHT_EYE
from fundus_relay.domain.values import Entry, Json

from ..names import SNOMED
from ..pages import is_overlay
from ..search_index import check_lengths
from ..withdrawn import ENTERED_IN_ERROR
from .attachment import stated_media_type
from .references import Names

TYPES = frozenset({
    "Media", "Patient", "Device", "ServiceRequest", "ImagingStudy",
    "Encounter", "Practitioner", "PractitionerRole", "Organization", "Endpoint",
})  # fmt: skip
"""What we take."""

MEDIA_TYPES = ("image/jpeg", "image/png", "image/tiff", "application/dicom")
_TYPES_IN_WORDS = f"{', '.join(MEDIA_TYPES[:-1])} or {MEDIA_TYPES[-1]}"

_SPOKEN = {"R": re.compile(r"\b(?:(?i:right)|OD)\b"), "L": re.compile(r"\b(?:(?i:left)|OS)\b")}

DRAWN = "this is a picture that a report's boxes were drawn on, and no photograph; nothing is analysed"

VOID_STATUSES = {
    "ServiceRequest": frozenset({"revoked", "entered-in-error"}),
    "ImagingStudy": frozenset({"cancelled", "entered-in-error"}),
    "Encounter": frozenset({"cancelled", "entered-in-error"}),
}
_WHY_NOT = {
    "preparation": "the photograph is not taken yet",
    "in-progress": "the photograph is not finished yet",
    "not-done": "no photograph was taken",
    "on-hold": "the photograph is on hold",
    "stopped": "the photograph was not finished",
    "unknown": "it is not known whether the photograph is finished",
}


def check_rules(entry: Entry) -> Iterator[Issue]:
    """What is wrong with a resource whose structure is right."""
    resource, element = entry.resource, entry.element
    if len(resource.get("id", "")) > 64:
        yield Issue(f"{element}.id", "value", "an id has 64 characters at most", "value-invalid")
    yield from _check_identifiers(resource, element)
    yield from check_lengths(resource, element)
    if resource["resourceType"] == "Media":
        yield from _check_media(resource, element)


def _check_media(media: Json, element: str) -> Iterator[Issue]:
    if is_overlay(media):
        yield Issue(f"{element}.identifier", "business-rule", DRAWN, "media-drawn")
    status = media.get("status", "unknown")
    if status not in {"completed", ENTERED_IN_ERROR}:
        yield Issue(f"{element}.status", "business-rule", f"{status}: {_WHY_NOT[status]}", "media-not-completed")
    if "subject" not in media:
        yield Issue(f"{element}.subject", "required", "a photograph needs its patient", "element-missing")
    elif media["subject"].get("reference", "").startswith("#"):
        text = "the patient must be a resource of its own, or one that the EHR knows"
        yield Issue(f"{element}.subject", "not-supported", text, "patient-contained")
    elif not media["subject"].get("reference") and not media["subject"].get("identifier", {}).get("value"):
        yield Issue(
            f"{element}.subject", "required", "the patient needs a reference or an identifier", "element-missing"
        )
    if status != ENTERED_IN_ERROR:  # whoever takes a photograph back need not send it again
        yield from _check_content(media["content"], f"{element}.content")
    if len(eyes(media)) > 1:
        yield Issue(f"{element}.bodySite", "conflict", "the codes name different eyes", "laterality-conflict")
    elif eyes(media) | eyes_in_words(media) == {"R", "L"} and not eyes(media) & eyes_in_words(media):
        yield Issue(f"{element}.bodySite", "conflict", "code and words name different eyes", "laterality-conflict")


def _check_content(content: Json, path: str) -> Iterator[Issue]:
    if "data" not in content and "url" not in content:
        yield Issue(path, "required", "the photograph must be in `data` or at `url`", "picture-missing")
    if "data" in content and "url" in content:
        yield Issue(f"{path}.url", "conflict", "give either `data` or `url`", "picture-twice")
    if "contentType" not in content:
        yield Issue(f"{path}.contentType", "required", f"say {_TYPES_IN_WORDS} (att-1)", "element-missing")
    elif stated_media_type(content) not in MEDIA_TYPES:
        yield Issue(f"{path}.contentType", "not-supported", f"send {_TYPES_IN_WORDS}", "content-type")


def eyes(media: Json) -> frozenset[str]:
    """What the codes of `bodySite` say: `R`, `L`, `both`; texts and displays are never read."""
    return eyes_of(media.get("bodySite", {}).get("coding", []))


def eyes_of(codings: Sequence[Json]) -> frozenset[str]:
    """The same of any codings."""
    codes = {coding.get("code") for coding in codings if coding.get("system") == SNOMED}
    named = {"R": RIGHT_EYE, "L": LEFT_EYE, "both": BOTH_EYES}
    return frozenset(eye for eye, known in named.items() if codes & known)


def eyes_in_words(media: Json) -> set[str]:
    """What text and displays of `bodySite` plainly say. Nothing is read from it; it may only contradict a code."""
    site = media.get("bodySite", {})
    words = " ".join([site.get("text", ""), *(coding.get("display", "") for coding in site.get("coding", []))])
    return {eye for eye, spoken in _SPOKEN.items() if spoken.search(words)}


def _check_identifiers(resource: Json, element: str) -> Iterator[Issue]:
    tokens = Counter(_tokens(resource))
    for index, token in enumerate(_tokens(resource)):
        if tokens[token] > 1:
            path = f"{element}.identifier[{index}]"
            yield Issue(path, "duplicate", "the same identifier stands twice in one resource", "identifier-twice")
            return


def check_together(entries: Sequence[Entry], names: Names) -> Iterator[Issue]:
    """What is wrong with the entries of a Bundle as a whole."""
    seen: set[tuple[str, str, str]] = set()
    for entry in entries:
        kind = entry.resource["resourceType"]
        for index, token in enumerate(_tokens(entry.resource)):
            if (kind, *token) in seen:
                path = f"{entry.element}.identifier[{index}]"
                yield Issue(path, "duplicate", f"another {kind} of the Bundle has this identifier", "identifier-twice")
            seen.add((kind, *token))
        if kind == "Patient" and not _can_be_named(entry):
            text = "a Patient needs an identifier or an id of the EHR, or the report cannot name it"
            yield Issue(f"{entry.element}.identifier", "required", text, "patient-unnamed")
        if kind in {"Media", "ImagingStudy"}:
            yield from _check_orders(entry, names)


def _check_orders(entry: Entry, names: Names) -> Iterator[Issue]:
    """A photograph for a revoked order or a cancelled study must not go out."""
    media = entry.resource
    named = [(f"partOf[{n}]", each) for n, each in enumerate(media.get("partOf", []))]
    named += [(f"basedOn[{n}]", each) for n, each in enumerate(media.get("basedOn", []))]
    named += [("encounter", media["encounter"])] if "encounter" in media else []
    for path, reference in named:
        target = names.target(reference, entry)
        kind = target.resource["resourceType"] if target is not None else ""
        if target is not None and target.resource.get("status") in VOID_STATUSES.get(kind, ()):
            text = f"the {kind} is {target.resource['status']}"
            yield Issue(f"{entry.element}.{path}", "business-rule", text, "order-void")


def _can_be_named(entry: Entry) -> bool:
    if any(value for _, value in _tokens(entry.resource)):
        return True
    return entry.method == "PUT" or (entry.full_url or "").startswith("Patient/")


def _tokens(resource: Json) -> list[tuple[str, str]]:
    """System and value of each identifier; one without a value is none."""
    stated = resource.get("identifier", [])
    listed = stated if isinstance(stated, list) else [stated]
    return [(each.get("system", ""), each.get("value", "")) for each in listed]
