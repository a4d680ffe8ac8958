"""Searching what the guide defines: a few dozen resources that never change while we run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from fundus_relay import guide
from fundus_relay.domain.errors import InvalidResource, Issue
from fundus_relay.domain.values import Json

from .search_parameters import MANNERS

KINDS = ("StructureDefinition", "CodeSystem", "ValueSet", "ConceptMap", "CapabilityStatement")

PARAMETERS: Mapping[str, str] = {
    "_id": "token",
    "url": "uri",
    "version": "token",
    "name": "string",
    "status": "token",
}
"""Search parameter → its type. Source: FHIR R4 4.0.1, search parameter registry."""

_Test = Callable[[str, str], bool]

_MODIFIED: Mapping[str, _Test] = {
    "": lambda held, sought: held.casefold().startswith(sought.casefold()),
    ":exact": lambda held, sought: held == sought,
    ":contains": lambda held, sought: sought.casefold() in held.casefold(),
}
"""Of a string. Source: FHIR R4 4.0.1, search, 3.1.1.5.9."""


def matching(kind: str, stated: Sequence[tuple[str, str]], *, is_lenient: bool = False) -> list[Json]:
    """The artefacts of a kind that a query asks for, in the order of their ids.

    Args:
        is_lenient: parameters that we do not know are passed over.

    Raises:
        InvalidResource: names a parameter that is not known.
    """
    found = list(guide.artefacts(kind).values())
    for name, value in stated:
        if name in MANNERS:
            continue
        plain, modifier = _taken_apart(name)
        test = _test_of(plain, modifier)
        if test is not None:
            found = [each for each in found if any(test(_held(each, plain), part) for part in value.split(","))]
        elif not is_lenient:
            text = f"{kind} cannot be searched by this here; GET metadata lists what it can be searched by"
            raise InvalidResource(Issue(f"http.{name}", "not-supported", text, "search-parameter"))
    return found


def _taken_apart(name: str) -> tuple[str, str]:
    plain, colon, modifier = name.partition(":")
    return plain, f"{colon}{modifier}"


def _test_of(plain: str, modifier: str) -> _Test | None:
    if PARAMETERS.get(plain) == "string":
        return _MODIFIED.get(modifier)
    return _MODIFIED[":exact"] if plain in PARAMETERS and not modifier else None


def _held(resource: Json, plain: str) -> str:
    return str(resource.get(plain.removeprefix("_"), ""))
