"""Intake against the profiles of what is accepted: whatever one of them asks is refused when it is not so."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from tests.profiles.compiled import compiled, needs_the_guide
from tests.unit.fhir.intake.defects import BOTH, LEAVE_OUT, planted
from tests.unit.fhir.intake.valid import VALID

from fundus_relay.domain.errors import InvalidResource
from fundus_relay.domain.values import Json
from fundus_relay.fhir.intake.bundle import MAX_ENTRIES
from fundus_relay.fhir.intake.submission import read_submission
from fundus_relay.fhir.names import SID_OVERLAY, SNOMED

pytestmark = needs_the_guide

BASES: dict[str, Json] = {
    "accepted-media": VALID["Media"],
    "withdrawn-media": VALID["Media"] | {"status": "entered-in-error"},
    "accepted-imaging-study": VALID["ImagingStudy"],
    "submission-bundle": VALID["Bundle"],
}
"""What each profile takes."""

A_MODIFIER = [{"url": "http://x.test/e", "valueCode": "a"}]
TWO_EYES = {"coding": [{"system": SNOMED, "code": code} for code in BOTH]}
AN_OBSERVATION = {"resourceType": "Observation", "status": "final", "code": {"text": "a"}}
A_PATIENT = {"resourceType": "Patient", "identifier": [{"system": "urn:mrn", "value": "1"}]}


def an_entry(resource: Json) -> Json:
    return {"resource": resource, "request": {"method": "POST", "url": resource["resourceType"]}}


SENDERS_MEDIA: dict[str, tuple[str, Any, str]] = {
    "Media not-drawn": ("Media.identifier", [{"system": SID_OVERLAY, "value": "1"}], "media-drawn"),
    "Media one-eye": ("Media.bodySite", TWO_EYES, "laterality-conflict"),
    "Media.implicitRules max 0": ("Media.implicitRules", "http://x.test/rules", "modifier-unknown"),
    "Media.modifierExtension max 0": ("Media.modifierExtension", A_MODIFIER, "modifier-unknown"),
    "Media.status pattern": ("Media.status", "stopped", "media-not-completed"),
    "Media.subject min 1": ("Media.subject", LEAVE_OUT, "element-missing"),
    "Media.subject type": ("Media.subject", {"reference": "Group/g"}, "reference-type"),
    "Media.subject patient-named": ("Media.subject", {"display": "somebody"}, "element-missing"),
}
DAMAGE: dict[str, dict[str, tuple[str, Any, str]]] = {
    "accepted-media": {
        **SENDERS_MEDIA,
        "Media.content picture-once": ("Media.content.url", "http://x.test/1", "picture-twice"),
        "Media.content picture-type": ("Media.content.contentType", "image/jpegs", "content-type"),
        "Media.content.contentType min 1": ("Media.content.contentType", LEAVE_OUT, "element-missing"),
    },
    "withdrawn-media": SENDERS_MEDIA,
    "accepted-imaging-study": {
        "ImagingStudy.implicitRules max 0": ("ImagingStudy.implicitRules", "http://x.test/rules", "modifier-unknown"),
        "ImagingStudy.modifierExtension max 0": ("ImagingStudy.modifierExtension", A_MODIFIER, "modifier-unknown"),
    },
    "submission-bundle": {
        "Bundle transaction-or-batch": ("Bundle.type", "collection", "bundle-type"),
        "Bundle posts-and-puts": (
            "Bundle.entry[1].request",
            {"method": "DELETE", "url": "Organization/o"},
            "method-not-supported",
        ),
        "Bundle.implicitRules max 0": ("Bundle.implicitRules", "http://x.test/rules", "modifier-unknown"),
        "Bundle.entry max 1000": ("Bundle.entry", [an_entry(A_PATIENT)] * (MAX_ENTRIES + 1), "too-many-entries"),
        "Bundle.entry.modifierExtension max 0": ("Bundle.entry[0].modifierExtension", A_MODIFIER, "modifier-unknown"),
        "Bundle.entry.resource min 1": ("Bundle.entry[0].resource", LEAVE_OUT, "element-missing"),
        "Bundle.entry.resource type": ("Bundle.entry[0]", an_entry(AN_OBSERVATION), "type-not-supported"),
        "Bundle.entry.search max 0": ("Bundle.entry[0].search", {"mode": "match"}, "element-unknown"),
        "Bundle.entry.request min 1": ("Bundle.entry[0].request", LEAVE_OUT, "element-missing"),
        "Bundle.entry.request.ifNoneMatch max 0": (
            "Bundle.entry[0].request.ifNoneMatch",
            "*",
            "condition-not-supported",
        ),
        "Bundle.entry.request.ifModifiedSince max 0": (
            "Bundle.entry[0].request.ifModifiedSince",
            "2024-05-02T09:30:00Z",
            "condition-not-supported",
        ),
        "Bundle.entry.response max 0": ("Bundle.entry[0].response", {"status": "200"}, "element-unknown"),
    },
}
"""What breaks each constraint of a profile: a place, what stands there instead, and the code of the refusal."""

EVERY_DAMAGE = [
    pytest.param(profile, constraint, id=f"{profile}: {constraint}")
    for profile in DAMAGE
    for constraint in DAMAGE[profile]
]


def constraints(profile: str) -> Iterator[str]:
    """What a profile asks beyond R4."""
    for element in compiled("StructureDefinition", profile)["differential"]["element"]:
        yield from (f"{element['id']} {rule['key']}" for rule in element.get("constraint", []))
        if element.get("min"):
            yield f"{element['id']} min {element['min']}"
        if element.get("max", "*") != "*" and not element.get("min"):
            yield f"{element['id']} max {element['max']}"
        yield from (f"{element['id']} {key[:7]}" for key in element if key.startswith("pattern"))
        yield from (f"{element['id']} {key}" for key in element if key in {"type", "binding"})


@pytest.mark.parametrize("profile", BASES)
def test_what_a_profile_takes_is_taken(profile: str) -> None:
    assert read_submission(deepcopy(BASES[profile])).entries


@pytest.mark.parametrize("profile", BASES)
def test_every_constraint_of_a_profile_has_its_damage(profile: str) -> None:
    assert set(DAMAGE[profile]) == set(constraints(profile))


@pytest.mark.parametrize(("profile", "constraint"), EVERY_DAMAGE)
def test_what_breaks_a_constraint_is_refused_where_it_stands(profile: str, constraint: str) -> None:
    place, value, code = DAMAGE[profile][constraint]

    with pytest.raises(InvalidResource) as refused:
        read_submission(planted(place, value, BASES[profile]))

    assert [(issue.element.startswith(place), issue.code) for issue in refused.value.issues] == [(True, code)]


@pytest.mark.parametrize("profile", ["accepted-media", "withdrawn-media"])
def test_a_photograph_of_a_contained_patient_breaks_its_profile(profile: str) -> None:
    with pytest.raises(InvalidResource) as refused:
        read_submission(planted("Media.subject", {"reference": "#p"}, BASES[profile]))

    assert ("Media.subject", "patient-contained") in [(each.element, each.code) for each in refused.value.issues]


@pytest.mark.parametrize("media_type", ["image/jpeg", "image/jpg", "image/pjpeg", "image/png", "IMAGE/PNG; q=1"])
def test_every_media_type_of_the_profile_is_taken(media_type: str) -> None:
    assert read_submission(planted("Media.content.contentType", media_type, BASES["accepted-media"])).entries


def test_a_photograph_that_is_taken_back_needs_no_picture() -> None:
    assert read_submission(planted("Media.content", {"title": "not mine"}, BASES["withdrawn-media"])).entries
