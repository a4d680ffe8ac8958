"""The guide as `make profiles` compiles it, which most tests here hold the code against."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fundus_relay.domain.values import Json
from fundus_relay.fhir import names
from fundus_relay.fhir.pages import is_overlay

COMPILED = Path(__file__).parents[2] / "out" / "profiles" / "fsh-generated" / "resources"
PROFILES = {
    "DiagnosticReport": "screening-report",
    "Device": "analysis-device",
    "Media": "published-media",
    "Provenance": "report-provenance",
}

needs_the_guide = pytest.mark.skipif(not COMPILED.is_dir(), reason="out/profiles is not built: `make profiles`")


def compiled(kind: str, name: str) -> Json:
    document: Json = json.loads((COMPILED / f"{kind}-{name}.json").read_text())
    return document


def profile_of(resource: Json) -> Json:
    kind = resource["resourceType"]
    if is_overlay(resource):
        return compiled("StructureDefinition", "overlay-media")
    if kind != "Observation":
        return compiled("StructureDefinition", PROFILES[kind])
    (own,) = (each["code"] for each in resource["code"]["coding"] if each["system"] == names.RESULT_CODES)
    return compiled("StructureDefinition", own)
