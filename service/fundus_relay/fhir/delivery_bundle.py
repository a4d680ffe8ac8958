"""A report revision as one transaction for an EHR, given what the EHR has already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

from fundus_relay.domain.values import Json

_ESCAPED = str.maketrans({"\\": "\\\\", "|": "\\|", ",": "\\,", "$": "\\$"})


def token_of(resource: Json) -> str:
    """The resource's first identifier as a search value, FHIR-escaped and not yet url-encoded."""
    identifier = resource["identifier"][0]
    return f"{identifier['system'].translate(_ESCAPED)}|{identifier['value'].translate(_ESCAPED)}"


def delivery_bundle(resources: Sequence[Json], known: Mapping[str, Json], base_url: str) -> Json:
    """The transaction.

    New resources are conditional creates; known ones are updated under their id at the EHR, and only as the version
    that we saw (`ifMatch`). A Provenance has no identifier: it is put under an id that its revision determines, so that
    putting it twice is putting it once.

    Args:
        known: what the EHR holds now, by `Type/id` of ours.
        base_url: of the EHR; references to it by full URL become relative.
    """
    links = {name: _url(name) for name in map(_name, resources)}
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [_entry(resource, links, known, base_url) for resource in resources],
    }


def _entry(resource: Json, links: Mapping[str, str], known: Mapping[str, Json], base_url: str) -> Json:
    name, kind = _name(resource), resource["resourceType"]
    linked = {key: _linked(value, links, base_url) for key, value in resource.items() if key != "id"}
    at_ehr = known.get(name)
    if at_ehr is not None:
        request = {"method": "PUT", "url": f"{kind}/{at_ehr['id']}", "ifMatch": f'W/"{at_ehr["meta"]["versionId"]}"'}
        linked["id"] = at_ehr["id"]
    elif kind == "Provenance":
        request = {"method": "PUT", "url": name}
        linked["id"] = resource["id"]
    else:
        criteria = f"identifier={quote(token_of(resource), safe='')}"
        request = {"method": "POST", "url": kind, "ifNoneExist": criteria}
    return {"fullUrl": links[name], "resource": linked, "request": request}


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
