"""What a transaction or batch asks for, entry by entry.

Source: FHIR R4 4.0.1, bundle (bdl-3, bdl-5, bdl-7), http ("batch/transaction").
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from fundus_relay.domain.errors import InvalidResource, Issue
from fundus_relay.domain.values import Entry, Json

from ..literals import Bases
from .references import Names, check_pointers
from .structure import examine_structure

MAX_ENTRIES = 1000

_FULL_URL = re.compile(r"urn:(?:uuid|oid):\S+|https?://\S+/[A-Z][A-Za-z]+/[A-Za-z0-9\-.]{1,64}")
_VERSION = re.compile(r'W/"([1-9][0-9]{0,8})"')
_PUT_URL = re.compile(r"([A-Z][A-Za-z]+)/([A-Za-z0-9\-.]{1,64})")


def bundle_entries(bundle: Json, bases: Bases) -> tuple[list[Entry], list[Issue]]:
    """The entries of a Bundle, and what is wrong with the requests they make.

    Raises:
        InvalidResource: the Bundle's own structure is wrong, so that nothing can be said of its entries.
    """
    issues = list(_check_frame(bundle))
    if issues:
        raise InvalidResource(*issues)
    entries: list[Entry] = []
    seen: dict[str, int] = {}
    for index, asked in enumerate(bundle.get("entry", [])):
        element = f"Bundle.entry[{index}]"
        entry = _entry(asked, element)
        issues += _check_request(entry, asked["request"], element)
        issues += _check_names(entry, seen, index)
        entries.append(replace(entry, full_url=entry.full_url and bases.at_ehr(entry.full_url)))
    return entries, issues


def _check_frame(bundle: Json) -> Iterator[Issue]:
    """The Bundle without its resources, which are examined each by itself."""
    stated = bundle.get("entry", [])
    listed = stated if isinstance(stated, list) else []
    if len(listed) > MAX_ENTRIES:
        text = f"a Bundle has {MAX_ENTRIES} entries at most: send several"
        yield Issue("Bundle.entry", "too-costly", text, "too-many-entries")
        return
    bare = [
        {key: each[key] for key in each if key != "resource"} if isinstance(each, dict) else each for each in listed
    ]
    wrong, pointers = examine_structure({**bundle, "entry": bare} if listed else bundle, "Bundle")
    yield from wrong
    if not wrong:
        abroad = [each for each in pointers if not each.reference.get("reference", "").startswith("urn:")]
        yield from check_pointers(abroad, Entry(bundle, element="Bundle"), Names([]), is_batch=False)  # who signed it
    if bundle.get("type") not in (None, "transaction", "batch") and all(
        each.element != "Bundle.type" for each in wrong
    ):
        yield Issue("Bundle.type", "not-supported", "send a transaction or a batch", "bundle-type")
    for index, each in enumerate(listed):
        if isinstance(each, dict):
            yield from _check_parts(each, f"Bundle.entry[{index}]")


def _check_parts(entry: Json, element: str) -> Iterator[Issue]:
    if "request" not in entry:
        yield Issue(f"{element}.request", "required", "bdl-3: an entry says what it asks for", "element-missing")
    for part in ("search", "response"):
        if part in entry:
            yield Issue(f"{element}.{part}", "invariant", "this has no place in a request", "element-unknown")
    resource = entry.get("resource")
    if resource is None:
        yield Issue(f"{element}.resource", "required", "only POST and PUT of a resource are taken", "element-missing")
    elif not isinstance(resource, dict) or not isinstance(resource.get("resourceType"), str):
        yield Issue(f"{element}.resource", "structure", "this is no FHIR resource", "not-fhir")


def _entry(asked: Json, element: str) -> Entry:
    request = asked["request"]
    version = _VERSION.fullmatch(request.get("ifMatch", ""))
    criteria = request.get("ifNoneExist")
    return Entry(
        resource=asked["resource"],
        method=request["method"],
        if_none_exist=criteria.partition("?")[2] if criteria and "?" in criteria else criteria,
        if_match=int(version[1]) if version else None,
        full_url=asked.get("fullUrl"),
        element=f"{element}.resource",
    )


def _check_request(entry: Entry, request: Json, element: str) -> Iterator[Issue]:
    kind, url = entry.resource["resourceType"], request["url"].strip("/")
    path = f"{element}.request"
    match entry.method:
        case "POST":
            if url != kind:
                yield Issue(f"{path}.url", "value", f"POST of a {kind} goes to {kind}", "url-mismatch")
        case "PUT":
            yield from _check_put(entry, url, path)
        case _:
            yield Issue(f"{path}.method", "not-supported", "only POST and PUT are taken", "method-not-supported")
    if "ifMatch" in request and (entry.method != "PUT" or entry.if_match is None):
        yield Issue(f"{path}.ifMatch", "value", 'write a version, as in W/"3", and only for PUT', "value-invalid")
    if entry.if_none_exist is not None and entry.method != "POST":
        yield Issue(f"{path}.ifNoneExist", "value", "only POST can be conditional like this", "value-invalid")
    for part in ("ifNoneMatch", "ifModifiedSince"):
        if part in request:
            yield Issue(f"{path}.{part}", "not-supported", "this belongs to GET", "condition-not-supported")


def _check_put(entry: Entry, url: str, path: str) -> Iterator[Issue]:
    kind = entry.resource["resourceType"]
    if "?" in url:
        text = "conditional update is not supported: PUT to an id, or POST with ifNoneExist"
        yield Issue(f"{path}.url", "not-supported", text, "condition-not-supported")
        return
    target = _PUT_URL.fullmatch(url)
    if target is None or target[1] != kind:
        yield Issue(f"{path}.url", "value", f"PUT of a {kind} goes to {kind}/id", "url-mismatch")
    elif entry.resource.get("id") != target[2]:
        yield Issue(f"{entry.element}.id", "value", "the resource's id must be that of the URL", "id-mismatch")


def _check_names(entry: Entry, seen: dict[str, int], index: int) -> Iterator[Issue]:
    """No two entries are called the same. Source: bdl-7; http, transaction ("must not appear more than once")."""
    element = entry.element.removesuffix(".resource")
    if entry.full_url is not None:
        path = f"{element}.fullUrl"
        if not _FULL_URL.fullmatch(entry.full_url):
            yield Issue(path, "value", "write urn:uuid:… or an absolute URL that ends in Type/id", "value-invalid")
        elif seen.setdefault(entry.full_url, index) != index:
            yield Issue(path, "duplicate", "bdl-7: another entry has this fullUrl", "entry-twice")
    if entry.method == "PUT":
        name = f"PUT {entry.resource['resourceType']}/{entry.resource.get('id')}"
        if seen.setdefault(name, index) != index:
            yield Issue(f"{element}.request.url", "duplicate", "another entry changes this resource", "entry-twice")
