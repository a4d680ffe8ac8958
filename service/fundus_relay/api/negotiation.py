"""What callers ask for in headers: media types, `Prefer`, versions.

Source: FHIR R4 4.0.1, http (2.21.0.6 content types, 2.21.0.7 versions, return preferences); RFC 9110 §12.5.1, RFC 7240.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from fundus_relay.domain.values import Json

FHIR_JSON = "application/fhir+json"
JSON_TYPES = frozenset({FHIR_JSON, "application/json", "text/json", "application/json+fhir"})
_TAG = re.compile(r'(?:W/)?"?(\d{1,9})"?')


@dataclass(frozen=True, slots=True)
class Prefer:
    """What a caller prefers. `content` is `minimal`, `representation`, `OperationOutcome` or None."""

    content: str | None = None
    is_async: bool = False
    is_lenient: bool = False


def fhir_response(body: Json | None, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A resource as the answer; without one, an empty body."""
    if body is None:
        return Response(status_code=status, headers=dict(headers or {}))
    data = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(data, status, dict(headers or {}), media_type=f"{FHIR_JSON}; charset=utf-8")


def prefer(request: Request) -> Prefer:
    """Preferences that we know; others are passed over, as RFC 7240 asks."""
    stated: dict[str, str] = {}
    for part in re.split("[,;]", ",".join(request.headers.getlist("prefer"))):
        name, _, value = part.strip().partition("=")
        stated.setdefault(name.strip().lower(), value.strip().strip('"').lower())
    content = {"minimal": "minimal", "representation": "representation", "operationoutcome": "OperationOutcome"}
    return Prefer(
        content=content.get(stated.get("return", "")),
        is_async="respond-async" in stated,
        is_lenient=stated.get("handling") == "lenient",
    )


def media_type(header: str) -> tuple[str, dict[str, str]]:
    """Type, in lower case, and parameters."""
    name, *parameters = header.split(";")
    pairs = (parameter.partition("=") for parameter in parameters)
    return name.strip().lower(), {key.strip().lower(): value.strip().strip('"').lower() for key, _, value in pairs}


def is_json_body(header: str) -> bool:
    """Whether a Content-Type is JSON in UTF-8, and of our FHIR version if it names one."""
    name, parameters = media_type(header)
    return (
        name in JSON_TYPES
        and parameters.get("charset", "utf-8") in {"utf-8", "utf8", "us-ascii"}
        and _is_our_version(parameters)
    )


def takes_json(request: Request) -> bool:
    """Whether JSON is an answer to what the caller accepts; `_format` counts more than `Accept`."""
    if stated := request.query_params.get("_format"):
        name, parameters = media_type(stated.replace(" ", "+"))
        return (name in JSON_TYPES or name in {"json", "*/*"}) and _is_our_version(parameters)
    return any(_is_json_range(part) for part in _ranges(request))


def takes_picture(request: Request) -> bool:
    """Whether the caller would rather have a Binary's bytes than a Binary resource."""
    if request.query_params.get("_format"):
        return not takes_json(request)
    return not any(name in JSON_TYPES for name, _ in map(media_type, _ranges(request)))


def version_named(header: str | None) -> int | None:
    """The version in an ETag (`W/"3"`; fhirpy sends a bare `3`), or None."""
    found = _TAG.fullmatch(header.strip()) if header else None
    return int(found[1]) if found else None


def _ranges(request: Request) -> list[str]:
    ranges = [part for part in ",".join(request.headers.getlist("accept")).split(",") if part.strip()]
    return ranges or ["*/*"]


def _is_json_range(part: str) -> bool:
    name, parameters = media_type(part)
    return (
        (name in JSON_TYPES or name in {"*/*", "application/*"})
        and not re.fullmatch(r"0(\.0*)?", parameters.get("q", "1"))
        and _is_our_version(parameters)
    )


def _is_our_version(parameters: Mapping[str, str]) -> bool:
    return parameters.get("fhirversion", "4.0").startswith(("4.0", "4.3"))
