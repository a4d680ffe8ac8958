"""What an EHR need not know is left out for it, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.golden.stories import STORIES

from fundus_relay.domain.values import Json
from fundus_relay.fhir.codes import AI_LABEL
from fundus_relay.fhir.delivery_bundle import delivery_bundle
from fundus_relay.fhir.marks import marked

RESTRICTED = {"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}
PROFILE = ["https://relay.example/StructureDefinition/screening-report"]
META = {"versionId": "3", "security": [AI_LABEL, RESTRICTED], "profile": PROFILE}


def one(**meta: Any) -> Json:
    resource = {"resourceType": "Observation", **({"meta": meta} if meta else {}), "status": "preliminary"}
    return {"resourceType": "Bundle", "entry": [{"resource": resource, "request": {"method": "POST"}}]}


@pytest.mark.parametrize(
    ("ai_label", "profiles", "left"),
    [
        (True, True, META),
        (False, True, {"versionId": "3", "security": [RESTRICTED], "profile": PROFILE}),
        (True, False, {"versionId": "3", "security": [AI_LABEL, RESTRICTED]}),
        (False, False, {"versionId": "3", "security": [RESTRICTED]}),
    ],
)
def test_only_what_is_not_wanted_is_left_out(ai_label: bool, profiles: bool, left: Json) -> None:
    assert marked(one(**META), ai_label=ai_label, profiles=profiles) == one(**left)


def test_nothing_empty_is_left_behind() -> None:
    assert marked(one(security=[AI_LABEL], profile=PROFILE), ai_label=False, profiles=False) == one()
    assert marked(one(), ai_label=False, profiles=False) == one()


@pytest.mark.parametrize("name", STORIES)
def test_the_default_sends_everything_as_it_is(name: str) -> None:
    bundle = delivery_bundle(STORIES[name].linked(), {}, [], "https://ehr.example")

    assert marked(bundle, ai_label=True, profiles=True) == bundle


@pytest.mark.parametrize("name", STORIES)
def test_without_the_label_everything_still_says_that_an_ai_speaks(name: str) -> None:
    bundle = delivery_bundle(STORIES[name].linked(), {}, [], "https://ehr.example")

    sent = [each["resource"] for each in marked(bundle, ai_label=False, profiles=False)["entry"]]

    assert "AIAST" not in json.dumps(sent)
    said = {"DiagnosticReport": "AI-generated", "Observation": "AI-generated", "Provenance": AI_LABEL["display"]}
    assert all(said.get(each["resourceType"], "") in json.dumps(each) for each in sent)
    assert any("Netra.AI" in json.dumps(each) for each in sent if each["resourceType"] == "Device")
