"""How pages for people travel to an EHR: in their attachment, as a Binary beside it, as a link to us, or not at all.

Many EHRs refuse texts of more than a megabyte, and most a body of tens of them. So a page of which base64 makes more
than that stays with us and is linked to, and so are those that would make the whole too large.

Source: @medplum/core 4.5.2, observed: "String cannot be larger than 1 MB".
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from fundus_relay.domain.packed import Packed
from fundus_relay.domain.policy import Carriage
from fundus_relay.domain.values import Json

from .pages import blob_of, is_overlay, is_purged, page_of
from .withdrawn import withdrawn

LARGEST = 750_000
"""Bytes of a page that travels; a million of base64."""

LARGEST_TOGETHER = 8_000_000
"""Bytes of all pages that travel with one report."""


@dataclass(frozen=True, slots=True)
class Manner:
    """What an EHR is to get of a report's pages."""

    sheet: Carriage
    overlays: Carriage

    def of(self, page: Json) -> Carriage:
        """How this Binary of ours travels. One that has its own bytes says that a page was withdrawn."""
        if "data" in page:
            return Carriage.BINARY if Carriage.BINARY in (self.sheet, self.overlays) else Carriage.NONE
        is_sheet = page["securityContext"]["reference"].startswith("DiagnosticReport/")
        return self.sheet if is_sheet else self.overlays


def travelling(resources: Packed, manner: Manner) -> Iterator[tuple[str, str]]:
    """Binary id and digest of each page whose bytes go along."""
    sizes = {page_of(each): each["size"] for each in _attachments(resources.heads) if "size" in each}
    total = 0
    for page in resources.heads:
        digest = blob_of(page) if page["resourceType"] == "Binary" else None
        if digest is None or manner.of(page) not in (Carriage.INLINE, Carriage.BINARY):
            continue
        size = sizes.get(page["id"], LARGEST + 1)
        if size <= LARGEST and total + size <= LARGEST_TOGETHER:
            total += size
            yield page["id"], digest


def without_bytes(resources: Packed, manner: Manner, contents: Mapping[str, bytes]) -> Iterator[tuple[str, bool]]:
    """Overlays that an EHR could be given without their bytes alone, by `Media/id`, and whether these were purged."""
    purged = {page["id"] for page in resources.heads if page["resourceType"] == "Binary" and is_purged(page)}
    lost = {page for page, _ in travelling(resources, manner) if page not in contents}
    for each in resources.heads:
        if is_overlay(each) and (page := page_of(each["content"])) in purged | lost:
            yield f"Media/{each['id']}", page in purged


def carried(resources: Packed, manner: Manner, contents: Mapping[str, bytes]) -> Packed:
    """The report as one EHR gets it.

    Args:
        contents: by Binary id, the bytes of the pages that travel.
    """
    manners = {page["id"]: manner.of(page) for page in resources.heads if page["resourceType"] == "Binary"}
    overlays = [each for each in resources.heads if is_overlay(each) and manner.overlays is Carriage.NONE]
    left_out = {f"Media/{each['id']}" for each in overlays}
    return resources.mapped(lambda each: _carried(each, manners, contents, left_out, manner.sheet))


def without(resources: Packed, overlays: AbstractSet[str], wrong: AbstractSet[str]) -> Packed:
    """The report as an EHR gets it that does not have these overlays, and cannot be given them.

    Args:
        overlays: by `Media/id`.
        wrong: those of them in whose place the EHR shows something else; that is taken back.
    """
    return resources.mapped(lambda each: _without(each, overlays, wrong)) if overlays else resources


def _without(resource: Json, overlays: AbstractSet[str], wrong: AbstractSet[str]) -> Json | None:
    name = f"{resource['resourceType']}/{resource['id']}"
    if name in overlays:
        return withdrawn(resource) if name in wrong else None
    if resource["resourceType"] != "DiagnosticReport":
        return resource
    return {**resource, "media": [each for each in resource["media"] if each["link"]["reference"] not in overlays]}


def _carried(
    resource: Json,
    manners: Mapping[str, Carriage],
    contents: Mapping[str, bytes],
    left_out: set[str],
    sheet: Carriage,
) -> Json | None:
    match resource["resourceType"]:
        case "Binary":
            return _page(resource, manners[resource["id"]], contents)
        case "DiagnosticReport":
            forms = resource.get("presentedForm", []) if sheet is not Carriage.NONE else []
            told = {name: value for name, value in resource.items() if name != "presentedForm"}
            told["media"] = [each for each in resource["media"] if each["link"]["reference"] not in left_out]
            return told | ({"presentedForm": [_led(each, manners, contents) for each in forms]} if forms else {})
        case "Media" if f"Media/{resource['id']}" in left_out:
            return None
        case "Media" if is_overlay(resource):
            return {**resource, "content": _led(resource["content"], manners, contents)}
        case "Provenance":
            return {**resource, "target": [each for each in resource["target"] if each["reference"] not in left_out]}
    return resource


def _page(page: Json, manner: Carriage, contents: Mapping[str, bytes]) -> Json | None:
    """A Binary with its bytes, if that is how it travels."""
    if manner is not Carriage.BINARY:
        return None
    if "data" in page:
        return page
    if page["id"] not in contents:
        return None
    told = {name: value for name, value in page.items() if name != "_data"}
    return {**told, "data": b64encode(contents[page["id"]]).decode()}


def _led(attachment: Json, manners: Mapping[str, Carriage], contents: Mapping[str, bytes]) -> Json:
    """An attachment that leads to its page, or has it."""
    page = page_of(attachment)
    if page not in contents:
        return attachment
    if manners[page] is Carriage.BINARY:
        return {**attachment, "url": f"Binary/{page}"}
    told = {name: value for name, value in attachment.items() if name != "url"}
    return {**told, "data": b64encode(contents[page]).decode()}


def _attachments(resources: Sequence[Json]) -> Iterator[Json]:
    for each in resources:
        yield from each.get("presentedForm", [])
        if is_overlay(each):
            yield each["content"]
