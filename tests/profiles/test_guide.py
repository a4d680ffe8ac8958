"""The compiled guide against the code: equal codes, equal URLs, and the emitted documents stay within the profiles."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.profiles.compiled import COMPILED, compiled, needs_the_guide, profile_of

from fundus_relay.domain.values import Json
from fundus_relay.fhir import names
from fundus_relay.fhir.capability import capability_statement
from fundus_relay.fhir.withdrawn import withdrawn_report

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "service" / "fundus_relay" / "guide" / "compiled"
GOLDEN = sorted((ROOT / "tests" / "golden").glob("*.json"))
pytestmark = needs_the_guide


def emitted() -> list[Any]:
    return [
        pytest.param(each, id=f"{path.stem}-{number}-{each['resourceType']}")
        for path in GOLDEN
        for number, each in enumerate(json.loads(path.read_text()))
    ]


def taken_back() -> list[Any]:
    said = withdrawn_report(json.loads(GOLDEN[0].read_text()), revision=3, issued="2026-11-26T09:30:15.250+00:00")
    return [pytest.param(each, id=f"{number}-{each['resourceType']}") for number, each in enumerate(said)]


def at(part: Any, steps: list[str]) -> Iterator[Any]:  # Any: parsed JSON
    """What stands at a path of an ElementDefinition; a choice is found by its first part."""
    if isinstance(part, list):
        for item in part:
            yield from at(item, steps)
    elif not steps:
        yield part
    elif isinstance(part, dict):
        step, *rest = steps
        found = [key for key in part if (key.startswith(step[:-3]) if step.endswith("[x]") else key == step)]
        for key in found:
            yield from at(part[key], rest)


def matches(part: Any, pattern: Any) -> bool:  # Any: parsed JSON
    """Whether a value has everything that a pattern has."""
    if isinstance(pattern, dict):
        return isinstance(part, dict) and all(key in part and matches(part[key], pattern[key]) for key in pattern)
    if isinstance(pattern, list):
        return all(any(matches(item, each) for item in part) for each in pattern)
    return bool(part == pattern)


def departures(resource: Json, profile: Json) -> Iterator[str]:
    """Where a resource has fewer, more or other values than the profile's unsliced elements allow."""
    for element in profile["differential"]["element"]:
        steps = element["path"].split(".")[1:]
        if not steps or ":" in element["id"]:
            continue
        parents = list(at(resource, steps[:-1]))
        for parent in parents:
            values = list(at(parent, steps[-1:]))
            most = element.get("max", "*")
            if len(values) < element.get("min", 0) or (most != "*" and len(values) > int(most)):
                yield f"{element['id']}: {len(values)} values"
            patterns = [element[key] for key in element if key.startswith("pattern")]
            if not all(matches(value, pattern) for value in values for pattern in patterns):
                yield f"{element['id']}: another value"


def test_the_service_ships_what_the_sources_give() -> None:
    shipped = {path.name: json.loads(path.read_text()) for path in SHIPPED.glob("*.json")}
    given = {path.name: json.loads(path.read_text()) for path in COMPILED.glob("*.json")}

    assert sorted(shipped) == sorted(given)
    assert [name for name in given if shipped[name] != given[name]] == []


def test_the_bounding_box_has_the_url_and_the_parts_that_are_emitted() -> None:
    extension = compiled("StructureDefinition", "lesion-bounding-box")
    parts = {
        element["sliceName"]: element["min"]
        for element in extension["differential"]["element"]
        if element["path"] == "Extension.extension" and "sliceName" in element
    }
    found = [
        box
        for path in GOLDEN
        for resource in json.loads(path.read_text())
        for component in resource.get("component", [])
        for box in component.get("extension", [])
    ]

    assert extension["url"] == names.LESION_BOUNDING_BOX
    assert found
    assert {box["url"] for box in found} == {names.LESION_BOUNDING_BOX}
    assert {name for name, least in parts.items() if not least} == {"sopInstance", "frameNumber"}  # of DICOM alone
    always = [name for name, least in parts.items() if least]
    assert all([part["url"] for part in box["extension"]] == always for box in found)


def test_the_capability_statement_is_what_metadata_gives() -> None:
    given = capability_statement(
        "https://relay.example/fhir", "0", datetime(2026, 11, 23, tzinfo=UTC), needs_token=True
    )
    (stated,) = compiled("CapabilityStatement", "fundus-relay")["rest"]
    served = {key: value for key, value in given["rest"][0].items() if key != "security"}

    assert stated == served


@pytest.mark.parametrize("resource", emitted())
def test_what_is_emitted_stays_within_its_profile(resource: Json) -> None:
    assert list(departures(resource, profile_of(resource))) == []


@pytest.mark.parametrize("resource", emitted())
def test_what_is_emitted_names_its_profile(resource: Json) -> None:
    assert resource["meta"]["profile"] == [profile_of(resource)["url"]]


@pytest.mark.parametrize("resource", taken_back())
def test_what_is_withdrawn_stays_within_its_profile(resource: Json) -> None:
    assert list(departures(resource, profile_of(resource))) == []


def test_a_finding_without_its_label_departs_from_its_profile() -> None:
    report = json.loads(GOLDEN[0].read_text())[0]
    damaged = {key: value for key, value in report.items() if key != "meta"} | {"conclusionCode": [{"text": "none"}]}

    assert list(departures(damaged, profile_of(damaged))) == [
        "DiagnosticReport.meta: 0 values",
        "DiagnosticReport.conclusionCode: 1 values",
    ]
