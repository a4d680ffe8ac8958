"""HL7's validator on what intake is tested with: the valid is valid, and the defects are defects."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from tests.peers.judgement import Judge
from tests.unit.fhir.intake.defects import DEFECTS, WRONG_TARGETS, planted
from tests.unit.fhir.intake.valid import VALID

Json = dict[str, Any]

OURS = {
    "Media.status",
    "Media.subject",
    "Media.content.contentType",
    "Media.content.data",
    "Media.content.url",
    "Media.bodySite",
    "Bundle.entry[0].resource",
    "Bundle.entry[1].request",
}
"""Where rules of ours are narrower than R4: what an analysis needs, what is taken of a Bundle."""

UNSEEN = {
    "Endpoint.payloadMimeType": "the judge knows no media types",
    "Practitioner.photo[0].contentType": "the judge knows no media types",
    "Bundle.signature.sigFormat": "the judge knows no media types",
    "Media.identifier[0]": "the judge's reader drops an element that has an id alone",
}
"""Defects that the judge does not see."""


def faults(judge: Judge, resource: Json) -> list[tuple[str, str]]:
    """Errors alone; what is not valid is seldom without warnings."""
    whole = deepcopy(resource)
    if whole["resourceType"] == "Media" and whole.get("content", {}).get("data") == "":
        whole["content"]["data"] = "AAAA"  # the empty text is where intake has cut the picture out
    remarks = judge.remarks(whole)
    return [(each.where, each.text) for each in remarks if each.severity in {"error", "fatal"}]


@pytest.mark.parametrize("kind", VALID)
def test_the_resource_that_defects_are_planted_in_is_valid(judge: Judge, kind: str) -> None:
    assert faults(judge, VALID[kind]) == []


def test_a_planted_defect_is_one_to_the_judge_too(judge: Judge) -> None:
    unseen = {place for place, value, *_ in DEFECTS if not faults(judge, planted(place, value))}
    unseen |= {place for place, target in WRONG_TARGETS if not faults(judge, planted(f"{place}.reference", target))}

    assert unseen == OURS | UNSEEN.keys()
