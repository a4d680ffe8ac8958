"""Everything that the service says, before Medplum's validator, which shares no code with HL7's."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path

import pytest
from tests.peers.test_judge import ABNORMAL, Json, first, from_stories, from_tests

from fundus_relay import guide

KNOWN = {
    (r"^Bundle\.entry\[\d+\]\.", r"^Invalid reference: got \"urn:uuid:"): "it looks up no fullUrl",
    (
        r"^Provenance\.reason$",
        "^Value did not match expected pattern$",
    ): "it takes a list of one for the one",
}
"""Element and text of what it says without our having done wrong, and why."""

ROUTER = Path(__file__).parent / "router"

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not (ROUTER / "node_modules" / ".installed").exists(),
    reason="NOT RUN: Medplum's validator is not there: `make peers`",
)


def opinions(resources: Sequence[Json]) -> list[list[list[str]]]:
    """Of each resource: severity, element and text of everything that is wrong."""
    profiles = {each["url"]: each for each in guide.artefacts("StructureDefinition").values()}
    run = subprocess.run(
        ["node", "opinion.mjs"],
        cwd=ROUTER,
        input=json.dumps({"profiles": profiles, "resources": resources}),
        capture_output=True,
        text=True,
        check=True,
    )
    told: list[list[list[str]]] = json.loads(run.stdout)
    return told


def test_a_second_validator_finds_nothing_wrong_with_what_we_say(record_property: Callable[[str, str], None]) -> None:
    told = [*from_stories(), *from_tests()]
    said = {name: each for name, each in told if each["resourceType"] != "Binary"}  # it takes none over 1 MB
    heard = dict(zip(said, opinions(list(said.values())), strict=True))
    wrong = {name: left for name, found in heard.items() if (left := [each for each in found if not known(each)])}

    record_property("judged by Medplum", f"{len(said)} resources; open: {len(wrong)}")
    assert wrong == {}
    assert KNOWN.keys() == {rule for found in heard.values() for each in found for rule in known(each)}, (
        "no longer needed"
    )


def known(opinion: Sequence[str]) -> list[tuple[str, str]]:
    _, element, text = opinion
    return [rule for rule in KNOWN if re.search(rule[0], element or "") and re.search(rule[1], text or "")]


def test_the_second_validator_sees_what_is_damaged() -> None:
    report = first(json.loads(ABNORMAL.read_text()), "DiagnosticReport")
    damaged = [deepcopy(report) for _ in range(4)]
    damaged[0].pop("status")
    damaged[1].pop("conclusion")
    damaged[2]["status"] = "final"
    damaged[3]["eye"] = "right"

    assert all(opinions(damaged))
