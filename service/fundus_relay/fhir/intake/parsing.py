"""JSON as FHIR allows it, which is less than what parsers let through."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from math import isfinite
from typing import Any

from fundus_relay.domain.errors import InvalidResource, Issue
from fundus_relay.domain.values import Json

from .skeleton import malformed

GATHERED = 200
"""Issues that are looked for in one resource; two megabytes may have hundreds of thousands, each at a long path."""

_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")
_ELEMENT = re.compile(r"_?[A-Za-z]{1,64}\Z")


class _Doubled(dict[str, Any]):  # Any: parsed JSON
    """An object that has one key twice; `key` is that one."""

    key: str


def parse(text: bytes) -> Json:
    """The resource that a body without pixels holds.

    Source: FHIR R4 4.0.1, json; datatypes, string (no control characters but tab, line feed, carriage return).

    Raises:
        InvalidResource: not JSON, not UTF-8, a key twice in one object, or no object with a `resourceType`.
    """
    try:
        document = json.loads(text.decode(), object_pairs_hook=_object, parse_float=_finite, parse_constant=_constant)
    except UnicodeDecodeError as exc:
        raise malformed("the body is not UTF-8") from exc
    except (ValueError, RecursionError) as exc:
        raise malformed(f"the body is not JSON: {getattr(exc, 'msg', 'a number is out of range')}") from exc
    if not isinstance(document, dict) or not isinstance(document.get("resourceType"), str):
        raise InvalidResource(
            Issue("", "structure", "the body is no FHIR resource: it has no resourceType", "not-fhir")
        )
    if issues := tuple(islice(_oddities(document, document["resourceType"]), GATHERED)):
        raise InvalidResource(*issues)
    return document


def _object(pairs: list[tuple[str, Any]]) -> Json:  # Any: parsed JSON
    parsed = dict(pairs)
    if len(parsed) == len(pairs):
        return parsed
    doubled = _Doubled(parsed)
    seen: set[str] = set()
    doubled.key = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]  # None
    return doubled


def _finite(number: str) -> float:
    value = float(number)
    if not isfinite(value):
        raise ValueError
    return value


def _constant(name: str) -> float:
    raise json.JSONDecodeError(f"{name} is no JSON number", "", 0)


def _oddities(part: Any, path: str) -> Iterator[Issue]:  # Any: parsed JSON
    """What a JSON parser lets through and FHIR does not."""
    if isinstance(part, str):
        if _FORBIDDEN.search(part):
            yield Issue(path, "value", "the text has a character that FHIR does not allow", "character-forbidden")
    elif isinstance(part, list):
        for index, item in enumerate(part):
            yield from _oddities(item, f"{path}[{index}]")
    elif isinstance(part, dict):
        if isinstance(part, _Doubled):
            yield Issue(under(path, part.key), "structure", "the element stands twice in one object", "element-twice")
        for key, item in part.items():
            yield from _oddities(item, under(path, key))


def under(path: str, key: str) -> str:
    """The FHIRPath of a child; what is no element name is not repeated, for it may be anything."""
    return f"{path}.{key}" if _ELEMENT.match(key) else f"{path}.(unknown)"
