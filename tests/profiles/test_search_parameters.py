"""What can be searched by is what R4's registry says, or has a definition of ours."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.profiles.compiled import COMPILED, compiled

from fundus_relay.domain.values import Json
from fundus_relay.fhir.definitions import KINDS
from fundus_relay.fhir.definitions import PARAMETERS as OF_DEFINITIONS
from fundus_relay.fhir.search_parameters import PARAMETERS

CORE = COMPILED.parents[1] / "home" / ".fhir" / "packages" / "hl7.fhir.r4.core#4.0.1" / "package"

pytestmark = pytest.mark.skipif(not CORE.is_dir(), reason="HL7's definitions are not here: `make profiles`")

SAME = {
    ".where(resolve() is Patient)": "",  # what is about a patient is asked when it is indexed
    "(Observation.value as CodeableConcept)": "Observation.valueCodeableConcept",
}
"""Spellings of R4, and ours."""


@pytest.fixture(scope="module")
def registry() -> dict[tuple[str, str], Json]:
    """By resource type and code."""
    read = (json.loads(path.read_text()) for path in CORE.glob("SearchParameter-*.json"))
    return {(base, each["code"]): each for each in read for base in each.get("base", [])}


def paths(stated: Json, kind: str) -> Iterator[str]:
    """Where a parameter of R4 looks in a type."""
    expression = stated["expression"]
    for spelling, ours in SAME.items():
        expression = expression.replace(spelling, ours)
    yield from (each.strip() for each in expression.split("|") if each.strip().startswith(f"{kind}."))


def test_every_parameter_looks_where_that_of_r4_does(registry: dict[tuple[str, str], Json]) -> None:
    other = {
        (kind, name)
        for kind, own in PARAMETERS.items()
        for name, parameter in own.items()
        if f"{kind}.{parameter.path}" not in paths(registry[kind, name], kind)
    }

    assert other == {(kind, name) for kind, own in PARAMETERS.items() for name, each in own.items() if each.definition}


def test_every_parameter_has_the_type_of_that_of_r4(registry: dict[tuple[str, str], Json]) -> None:
    for kind, own in PARAMETERS.items():
        for name, parameter in own.items():
            stated = registry[kind, name]
            assert stated["type"] == ("reference" if parameter.type == "reference" else "token")
            assert set(parameter.targets) <= set(stated.get("target", []))
    for kind in KINDS:
        for name, type in OF_DEFINITIONS.items():
            assert registry.get((kind, name), registry.get(("Resource", name)))["type"] == type  # type: ignore[index]


def test_a_parameter_of_ours_finds_no_less_than_r4s(registry: dict[tuple[str, str], Json]) -> None:
    for kind, own in PARAMETERS.items():
        for name, parameter in own.items():
            if parameter.definition:
                stated, of_r4 = compiled("SearchParameter", parameter.definition), registry[kind, name]
                assert (stated["code"], stated["type"], stated["base"]) == (name, of_r4["type"], [kind])
                assert stated["expression"].startswith(of_r4["expression"])
                assert stated["status"] == "draft", "it would replace R4's wherever the guide is installed"
                assert stated["target"] == list(parameter.targets)
