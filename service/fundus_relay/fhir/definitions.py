"""Searching what the guide defines: a few dozen resources that never change while we run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from fundus_relay import guide
from fundus_relay.domain.values import Json

from .search import refused
from .search_parameters import MANNERS

KINDS = ("StructureDefinition", "CodeSystem", "ValueSet", "ConceptMap", "SearchParameter", "CapabilityStatement")

PARAMETERS: Mapping[str, str] = {
    "_id": "token",
    "url": "uri",
    "version": "token",
    "name": "string",
    "status": "token",
}
"""Search parameter → its type. Source: FHIR R4 4.0.1, search parameter registry."""


def is_supported(name: str) -> bool:
    """Whether a query may use this parameter; its value is not looked at."""
    plain, _, modifier = name.partition(":")
    return name in MANNERS or _test_of(PARAMETERS.get(plain), modifier, ()) is not None


def matching(kind: str, stated: Sequence[tuple[str, str]]) -> list[Json]:
    """The artefacts of a kind that a query asks for, in the order of their ids.

    Raises:
        InvalidResource: names a parameter that is not known, or has no value.
    """
    found = list(guide.artefacts(kind).values())
    for name, value in stated:
        if name in MANNERS:
            continue
        plain, _, modifier = name.partition(":")
        is_sought = _test_of(PARAMETERS.get(plain), modifier, value.split(","))
        if is_sought is None:
            raise refused(name, "not-supported", f"is none of {kind} here; GET metadata lists what there is")
        if not value:
            raise refused(name, "value", "has no value")
        found = [each for each in found if is_sought(_held(each, plain))]
    return found


def _test_of(type: str | None, modifier: str, sought: Sequence[str]) -> Callable[[str], bool] | None:
    """Whether a value is one of those sought, or None where nothing can be; quick, however many are sought.

    Source: FHIR R4 4.0.1, search, 3.1.1.5.9 (string) and 3.1.1.5.10 (token; the system of a code is implied).
    """
    folded = tuple(each.casefold() for each in sought)
    match type, modifier:
        case "string", "":
            return lambda held: held.casefold().startswith(folded)
        case "string", "contains":
            return lambda held: any(map(held.casefold().__contains__, folded))
        case ("string", "exact") | ("uri", ""):
            return frozenset(sought).__contains__
        case "token", "":
            return frozenset(each.rpartition("|")[2] for each in sought).__contains__
    return None


def _held(resource: Json, plain: str) -> str:
    return str(resource.get(plain.removeprefix("_"), ""))
