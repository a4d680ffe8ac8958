"""A report revision as one transaction for an EHR, given what the EHR has already."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any
from urllib.parse import quote, unquote
from uuid import NAMESPACE_URL, uuid5

from fundus_relay.domain.packed import Packed
from fundus_relay.domain.values import Json

from . import names
from .withdrawn import ENTERED_IN_ERROR, WITHDRAWN, withdrawn

_ESCAPED = str.maketrans({"\\": "\\\\", "|": "\\|", ",": "\\,", "$": "\\$"})

_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_SYSTEM_AND_VALUE = re.compile(r"((?:\\.|[^|\\])*)\|(.*)", re.DOTALL)


def token_of(resource: Json) -> str:
    """The resource's first identifier as a search value, FHIR-escaped and not yet url-encoded."""
    identifier = resource["identifier"][0]
    return f"{identifier['system'].translate(_ESCAPED)}|{identifier['value'].translate(_ESCAPED)}"


def identifier_of(criterion: str) -> Json:
    """The identifier that a search value names, url-encoded and FHIR-escaped as `pipeline.identity` writes it."""
    text = unquote(criterion)
    parts = _SYSTEM_AND_VALUE.fullmatch(text)
    if parts is None:
        return {"value": _ESCAPE.sub(r"\1", text)}
    return {"system": _ESCAPE.sub(r"\1", parts[1]), "value": _ESCAPE.sub(r"\1", parts[2])}


def is_withdrawn(at_ehr: Json) -> bool:
    """Whether it was we who took it back, and no person."""
    return at_ehr.get("status") == ENTERED_IN_ERROR and WITHDRAWN in at_ehr.get("text", {}).get("div", "")


def delivery_bundle(
    resources: Sequence[Json],
    known: Mapping[str, Json],
    gone: Sequence[Json],
    base_url: str,
    left_alone: AbstractSet[str] = frozenset(),
) -> Json:
    """The transaction.

    New resources are conditional creates; known ones are updated under their id at the EHR, and only as the version
    that we saw (`ifMatch`). A Device never changes, so one that is known is referred to and not written. A Provenance
    has no identifier: it is put under an id that its revision determines, so that putting it twice is putting it once.
    So is a Binary, whose id its bytes determine.

    Args:
        known: what the EHR holds now, by `Type/id` of ours.
        gone: Observations at the EHR that an earlier revision had and this one no longer has.
        base_url: of the EHR; references to it by full URL become relative.
        left_alone: what of `known` is referred to and not written, by `Type/id` of ours.
    """
    return {**ENVELOPE, "entry": list(entries(resources, known, gone, base_url, left_alone))}


ENVELOPE: Json = {
    "resourceType": "Bundle",
    "meta": {"profile": [names.profile("delivery-bundle")]},
    "type": "transaction",
}
"""The transaction without its entries."""


def entries(
    resources: Sequence[Json],
    known: Mapping[str, Json],
    gone: Iterable[Json],
    base_url: str,
    left_alone: AbstractSet[str] = frozenset(),
) -> Iterator[Json]:
    """The entries of the transaction, one after the other; arguments as of `delivery_bundle`."""
    told = Packed.of(resources)
    stays = {name for name in map(_name, told.heads) if name in known and name.startswith("Device/")} | left_alone
    links = {name: _name(known[name]) if name in stays else _url(name) for name in map(_name, told.heads)}
    for resource in told.where(lambda each: _name(each) not in stays):
        yield _entry(resource, links, known, base_url)
    for resource in gone:
        yield _withdrawal(resource)


def _entry(resource: Json, links: Mapping[str, str], known: Mapping[str, Json], base_url: str) -> Json:
    name, kind = _name(resource), resource["resourceType"]
    linked = {key: _linked(value, links, base_url) for key, value in resource.items() if key != "id"}
    at_ehr = known.get(name)
    if at_ehr is not None:
        request = _update(at_ehr)
        linked["id"] = at_ehr["id"]
    elif kind in {"Provenance", "Binary"}:
        request = {"method": "PUT", "url": name}
        linked["id"] = resource["id"]
    else:
        criteria = f"identifier={quote(token_of(resource), safe='')}"
        request = {"method": "POST", "url": kind, "ifNoneExist": criteria}
    return {"fullUrl": links[name], "resource": linked, "request": request}


def _withdrawal(at_ehr: Json) -> Json:
    """An answer that is no longer ours, such as the panel of an eye that the sender has corrected."""
    return {"fullUrl": _url(f"withdrawn {_name(at_ehr)}"), "resource": withdrawn(at_ehr), "request": _update(at_ehr)}


def _update(at_ehr: Json) -> Json:
    """The request that changes it, if nobody else has."""
    request = {"method": "PUT", "url": _name(at_ehr)}
    version = at_ehr.get("meta", {}).get("versionId")
    return request | ({"ifMatch": f'W/"{version}"'} if version else {})


def _linked(part: Any, links: Mapping[str, str], base_url: str) -> Any:  # Any: any part of a resource
    if isinstance(part, list):
        return [_linked(item, links, base_url) for item in part]
    if not isinstance(part, dict):
        return part
    linked = {key: _linked(value, links, base_url) for key, value in part.items()}
    if isinstance(literal := linked.get("reference"), str):
        linked["reference"] = links.get(literal, literal.removeprefix(f"{base_url}/"))
    return linked


def _name(resource: Json) -> str:
    return f"{resource['resourceType']}/{resource['id']}"


def _url(name: str) -> str:
    return f"urn:uuid:{uuid5(NAMESPACE_URL, name)}"
