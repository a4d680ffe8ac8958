"""What the service looks up is what HL7's definitions say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from tests.unit.fhir.intake.test_definitions import MODELS

from fundus_relay.fhir.intake import invariants, structure

PROFILES = Path(__file__).parents[2] / "profiles"
SOURCE = PROFILES / "node_modules" / "hl7.fhir.r4.core"
SHIPPED = Path(structure.__file__).with_name("r4_tables.json")
NS = "{http://hl7.org/fhir}"

ELSEWHERE = {
    "ele-1": "asked of every element by the structure",
    "ref-1": "asked with the references",
    "dom-6": "a narrative is good practice only",
    "bdl-2": "`search` has no place in a transaction or batch",
    "bdl-3": "`request` is required",
    "bdl-4": "`response` has no place in a transaction or batch",
    "bdl-5": "`request` is required",
    "bdl-7": "asked with the names of the entries",
    "bdl-8": "a fullUrl ends in Type/id",
    "bdl-9": "of documents, which are not taken",
    "bdl-10": "of documents",
    "bdl-11": "of documents",
    "bdl-12": "of messages, which are not taken",
    "drq-1": "of definitions, which nothing that is taken holds but an extension",
    "drq-2": "of definitions",
    "trd-1": "of definitions",
    "trd-2": "of definitions",
    "trd-3": "of definitions",
}
"""Invariants that have no function, and why."""

pytestmark = pytest.mark.skipif(not SOURCE.is_dir(), reason="HL7's definitions are not here: `make profiles`")


def stated() -> Iterator[str]:
    """Keys of the invariants of all that our types are made of."""
    for model in MODELS:
        path = SOURCE / f"StructureDefinition-{model.__name__}.xml"
        if path.exists():
            for key in ElementTree.parse(path).iter(f"{NS}constraint"):  # noqa: S314 - HL7's own, as locked
                yield str(key.find(f"{NS}key").get("value"))  # type: ignore[union-attr]  # required


def test_the_shipped_tables_are_what_the_definitions_give(tmp_path: Path) -> None:
    made = tmp_path / "r4_tables.json"
    subprocess.run([sys.executable, PROFILES / "r4_tables.py", made], check=True)

    assert made.read_text() == SHIPPED.read_text()


def test_every_invariant_is_asked_or_has_a_reason_not_to_be() -> None:
    assert set(stated()) == invariants.keys() | ELSEWHERE.keys()
