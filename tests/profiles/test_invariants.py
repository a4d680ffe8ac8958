"""Each invariant of the guide has a case that passes and one that fails, asked of Medplum's FHIRPath."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from tests.golden.stories import STORIES, golden
from tests.profiles.compiled import COMPILED, compiled, needs_the_guide, profile_of
from tests.profiles.test_intake import AN_OBSERVATION, BASES, TWO_EYES, an_entry

from fundus_relay.domain.values import Json
from fundus_relay.fhir.delivery_bundle import delivery_bundle
from fundus_relay.fhir.names import SID_OVERLAY

HERE = Path(__file__).parent
FHIRPATH = HERE.parent / "peers" / "router" / "node_modules" / ".installed"

pytestmark = [
    needs_the_guide,
    pytest.mark.skipif(not FHIRPATH.exists(), reason="Medplum's FHIRPath is not installed: `make peers`"),
]

REFERABLE, NO_FUNDUS = "right-referable-left-ungradable", "not-a-fundus"


def told(story: str) -> list[Json]:
    resources: list[Json] = json.loads(golden(story).read_text())
    return resources


def delivered(story: str) -> Json:
    return delivery_bundle(told(story), {}, [], "http://ehr.test/fhir")


def said(story: str, profile: str) -> Json:
    """The first resource of a story that has a profile."""
    return next(each for each in told(story) if profile_of(each)["id"] == profile)


def boxed(parts: Json, name: str, **value: Any) -> None:
    """Give a part of the first box another value."""
    (part,) = (each for each in parts["component"][0]["extension"][0]["extension"] if each["url"] == name)
    part.update(value)


def judged_anyway(bundle: Json) -> None:
    """Give every judgement of presence a value."""
    for each in bundle["entry"]:
        if "dr-presence" in json.dumps(each["resource"].get("code", {})):
            each["resource"]["valueCodeableConcept"] = {"text": "Not Detected"}


A_VALUE: Json = {"valueCodeableConcept": {"text": "a"}}
BREAKS: dict[tuple[str, str], Callable[[Json], Any]] = {
    ("accepted-media", "one-eye"): lambda it: it.update(bodySite=TWO_EYES),
    ("accepted-media", "not-drawn"): lambda it: it.update(identifier=[{"system": SID_OVERLAY, "value": "1"}]),
    ("overlay-media", "shown-or-withdrawn"): lambda it: it["content"].pop("url"),
    ("accepted-media", "patient-named"): lambda it: it.update(subject={"display": "somebody"}),
    ("accepted-media", "picture-once"): lambda it: it["content"].update(data="AAAA", url="http://x.test/1"),
    ("accepted-media", "picture-type"): lambda it: it["content"].update(contentType="image/jpegs"),
    ("submission-bundle", "transaction-or-batch"): lambda it: it.update(type="collection"),
    ("submission-bundle", "posts-and-puts"): lambda it: it["entry"][0]["request"].update(method="DELETE"),
    ("delivery-bundle", "one-report"): lambda it: it.update(entry=[an_entry(AN_OBSERVATION)]),
    ("delivery-bundle", "conditional-create"): lambda it: it["entry"].append(an_entry(AN_OBSERVATION)),
    ("delivery-bundle", "ungradable-says-nothing"): judged_anyway,
    ("image-gradability", "gradability-or-reason"): lambda it: it.pop("dataAbsentReason"),
    ("image-gradability", "no-fundus-no-grade"): lambda it: it.update(A_VALUE),
    ("dr-presence", "ai-label"): lambda it: it["meta"]["security"][0].update(code="AIRPT"),
    ("dr-presence", "signed-observation"): lambda it: it.update(status="final"),
    ("dr-presence", "value-or-reason"): lambda it: it.pop("valueCodeableConcept"),
    ("dr-presence", "no-value-when-ungradable"): lambda it: it.update(dataAbsentReason={"text": "a"}),
    ("screening-report", "signed-report"): lambda it: it.update(status="final"),
    ("published-media", "stands-or-withdrawn"): lambda it: it.update(status="stopped"),
    ("lesion-regions", "boxes-one-image"): lambda it: boxed(it, "image", valueReference={"reference": "Media/other"}),
    ("lesion-bounding-box", "box-order"): lambda it: boxed(it, "xMin", valueDecimal=4000),
    ("lesion-bounding-box", "box-inside"): lambda it: boxed(it, "xMax", valueDecimal=9999),
    ("lesion-bounding-box", "box-digest"): lambda it: boxed(it, "imageSha256", valueString="F" * 64),
}


def sound(profile: str) -> Json:
    """What a profile takes, or what the first story that has it says."""
    if profile == "accepted-media":
        media = deepcopy(BASES[profile])
        media["content"]["data"] = "AAAA"  # the empty text is where intake has cut the picture out
        return media
    if profile in BASES:
        return deepcopy(BASES[profile])
    if profile == "delivery-bundle":
        return delivered(NO_FUNDUS)
    if profile == "lesion-bounding-box":
        return said(REFERABLE, "lesion-regions")
    return said(NO_FUNDUS if profile == "image-gradability" else REFERABLE, profile)


def rules(profile: str) -> Iterator[tuple[str, str]]:
    """Each invariant of ours in a profile, and its expression as asked of the whole resource."""
    for element in compiled("StructureDefinition", profile)["differential"]["element"]:
        place = "component.extension" if profile == "lesion-bounding-box" else element["path"].partition(".")[2]
        for rule in element.get("constraint", []):
            yield rule["key"], f"{place}.all({rule['expression']})" if place else rule["expression"]


def answers(asked: list[tuple[str, Json]]) -> list[bool]:
    questions = json.dumps([{"expression": expression, "resource": resource} for expression, resource in asked])
    run = subprocess.run(
        ["node", str(HERE / "fhirpath.mjs")],
        input=questions,
        capture_output=True,
        text=True,
        check=True,
    )
    told: list[bool] = json.loads(run.stdout)
    return told


def test_every_invariant_has_a_case_that_breaks_it() -> None:
    profiles = [path.stem.partition("-")[2] for path in COMPILED.glob("StructureDefinition-*.json")]

    assert {key for profile in profiles for key, _ in rules(profile)} == {key for _, key in BREAKS}


def test_what_breaks_an_invariant_does_not_hold_and_held_before() -> None:
    asked = []
    for (profile, key), damage in BREAKS.items():
        damaged = sound(profile)
        damage(damaged)
        asked += [(dict(rules(profile))[key], each) for each in (sound(profile), damaged)]
    held = answers(asked)

    assert dict(zip(BREAKS, zip(held[::2], held[1::2], strict=True), strict=True)) == dict.fromkeys(
        BREAKS, (True, False)
    )


@pytest.mark.parametrize("story", [REFERABLE, NO_FUNDUS])
def test_a_delivery_that_judges_what_cannot_be_judged_breaks_its_profile(story: str) -> None:
    bundle = delivered(story)
    judged_anyway(bundle)

    assert answers([(dict(rules("delivery-bundle"))["ungradable-says-nothing"], bundle)]) == [False]


def test_every_invariant_holds_in_every_story() -> None:
    asked = [
        (f"{story}: {each.get('id')} {key}", expression, each)
        for story in STORIES
        for each, profile in [
            (delivered(story), "delivery-bundle"),
            *((each, profile_of(each)["id"]) for each in told(story)),
        ]
        for key, expression in rules(profile)
    ]
    held = answers([(expression, each) for _, expression, each in asked])

    assert [name for (name, _, _), holds in zip(asked, held, strict=True) if not holds] == []
