"""Bundles that we answer with: pages of a search, responses to a transaction or batch."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus

from fundus_relay.domain.values import Json, Page

from .pages import is_overlay


def shown(resource: Json, base: str) -> Json:
    """A stored resource as callers get it: photographs and pages lie at our own Binary endpoint.

    Args:
        base: of the FHIR endpoint, without a slash at its end.
    """
    match resource["resourceType"]:
        case "Media" if is_overlay(resource):
            return {**resource, "content": _led(resource["content"], base)}
        case "Media" if resource["content"].get("url", "").startswith("Binary/"):
            return {**resource, "content": {**resource["content"], "url": f"{base}/Binary/{resource['id']}"}}
        case "DiagnosticReport" if "presentedForm" in resource:
            return {**resource, "presentedForm": [_led(each, base) for each in resource["presentedForm"]]}
    return resource


def _led(attachment: Json, base: str) -> Json:
    url = attachment.get("url", "")
    return {**attachment, "url": f"{base}/{url}"} if url.startswith("Binary/") else attachment


def version_path(resource: Json) -> str:
    """`Type/id/_history/version`."""
    return f"{resource['resourceType']}/{resource['id']}/_history/{resource['meta']['versionId']}"


def version_tag(resource: Json) -> str:
    """The weak ETag of a version."""
    return f'W/"{resource["meta"]["versionId"]}"'


def searchset(page: Page, base: str, *, self_url: str, next_url: str | None, is_count_only: bool = False) -> Json:
    """One page of a search, with `self` and, when there is more, `next`."""
    links = [{"relation": "self", "url": self_url}]
    if next_url is not None:
        links.append({"relation": "next", "url": next_url})
    bundle: Json = {"resourceType": "Bundle", "type": "searchset", "total": page.total, "link": links}
    if is_count_only:
        return bundle
    found = [*_found(page.matches, base, "match"), *_found(page.included, base, "include")]
    return {**bundle, "entry": found} if found else bundle  # R4 knows no empty arrays


def _found(resources: Sequence[Json], base: str, mode: str) -> list[Json]:
    return [
        {
            "fullUrl": f"{base}/{resource['resourceType']}/{resource['id']}",
            "resource": shown(resource, base),
            "search": {"mode": mode},
        }
        for resource in resources
    ]


def response_bundle(kind: str, entries: Sequence[Json]) -> Json:
    """The answer to a Bundle of type `kind`, entry by entry in the order of the request."""
    return {"resourceType": "Bundle", "type": f"{kind}-response", "entry": list(entries)}


def accepted_entry(status: int, resource: Json, *, body: Json | None, outcome: Json | None) -> Json:
    """The response to an entry that was taken."""
    response: Json = {
        "status": _status(status),
        "location": version_path(resource),
        "etag": version_tag(resource),
        "lastModified": resource["meta"]["lastUpdated"],
    }
    response |= {"outcome": outcome} if outcome else {}
    return {"resource": body, "response": response} if body else {"response": response}


def refused_entry(status: int, outcome: Json) -> Json:
    """The response to an entry of a batch that was not taken."""
    return {"response": {"status": _status(status), "outcome": outcome}}


def instant(resource: Json) -> datetime:
    """When this version was written."""
    return datetime.fromisoformat(resource["meta"]["lastUpdated"].replace("Z", "+00:00"))


def _status(status: int) -> str:
    return f"{status} {HTTPStatus(status).phrase}"
