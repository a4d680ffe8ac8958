"""What a resource is found by: the values of its search parameters.

Source: FHIR R4 4.0.1, search, and the search parameter registry for names and paths.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fundus_relay.domain.errors import Issue
from fundus_relay.domain.values import Json

from .search_parameters import META, PARAMETERS, Parameter

LITERAL = re.compile(r"(?:(?P<base>https?://.+)/)?(?P<local>[A-Z][A-Za-z]+/[A-Za-z0-9.-]{1,64})(?:/_history/[^/]+)?")

LONGEST_VALUE = 2000
"""Bytes of system and value together. With type and parameter they must fit a key of an index, which has 2704 bytes.

Source: PostgreSQL 16, "B-Tree Indexes": an entry is at most about a third of a page.
"""


@dataclass(frozen=True, slots=True)
class IndexValue:
    """One value that a resource is found by.

    Attributes:
        system: of a token, or the foreign base of an absolute reference; None without.
        value: code, identifier value, or `Type/id`.
    """

    parameter: str
    system: str | None
    value: str


def index_values(resource: Json) -> list[IndexValue]:
    """Everything that this resource may be found by, each once."""
    return list(dict.fromkeys(value for _, value in _located(resource, resource["resourceType"])))


def check_lengths(resource: Json, element: str) -> Iterator[Issue]:
    """What is longer than anything can be found by.

    Args:
        element: FHIRPath of the resource.
    """
    text = f"system and value, or a reference, may have {LONGEST_VALUE} bytes"
    located = _located(resource, element)
    for path in dict.fromkeys(path for path, value in located if _byte_count(value) > LONGEST_VALUE):
        yield Issue(path, "too-long", text, "value-too-long")


def _byte_count(value: IndexValue) -> int:
    return len(f"{value.system or ''}{value.value}".encode())


def _located(resource: Json, element: str) -> Iterator[tuple[str, IndexValue]]:
    """Each value with the FHIRPath of where it stands."""
    table = {**PARAMETERS.get(resource["resourceType"], {}), **META}
    for name, parameter in table.items():
        for path, part in _elements(resource, parameter.path.split("."), element):
            yield from ((path, value) for value in _values(name, parameter, part))


def _elements(part: Any, steps: Sequence[str], path: str) -> Iterator[tuple[str, Any]]:  # Any: any part of a resource
    if isinstance(part, list):
        for index, item in enumerate(part):
            yield from _elements(item, steps, f"{path}[{index}]")
    elif not steps:
        yield path, part
    elif isinstance(part, dict) and steps[0] in part:
        yield from _elements(part[steps[0]], steps[1:], f"{path}.{steps[0]}")


def _values(name: str, parameter: Parameter, element: Any) -> Iterator[IndexValue]:  # Any: an element of any type
    if parameter.type == "reference" and isinstance(element, dict):
        yield from _reference_values(name, element)
    elif isinstance(element, str):
        yield IndexValue(name, None, element)
    elif isinstance(element, dict):
        for coding in element.get("coding", [element]):
            if value := coding.get("code") or coding.get("value"):
                yield IndexValue(name, coding.get("system"), str(value))


def _reference_values(name: str, reference: Json) -> Iterator[IndexValue]:
    literal = LITERAL.fullmatch(reference.get("reference", ""))
    if literal and (name != "patient" or literal["local"].startswith("Patient/")):
        yield IndexValue(name, literal["base"], literal["local"])
    if value := reference.get("identifier", {}).get("value"):
        yield IndexValue(f"{name}:identifier", reference["identifier"].get("system"), value)
