"""What the README lists is what the code has."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

from tests.readme_tables import README, leaves, written

import fundus_relay
from fundus_relay import guide
from fundus_relay.domain.errors import (
    AnalyserDeclined,
    AnswerNotUnderstood,
    DestinationUnknown,
    PictureLost,
    RecordRefused,
    UploadAmbiguous,
)
from fundus_relay.fhir.issue_codes import MEANING
from fundus_relay.fhir.task import REASONS
from fundus_relay.imaging.precheck import Advice
from fundus_relay.pipeline.acquire import WHY_PARKED
from fundus_relay.pipeline.delivery import HORIZON_PASSED
from fundus_relay.pipeline.poll import SILENT
from fundus_relay.settings import Archive

OTHERS = (UploadAmbiguous, AnalyserDeclined, AnswerNotUnderstood, PictureLost, DestinationUnknown, RecordRefused)
"""For which an image or a delivery is parked."""


def test_the_tables_of_settings_and_errors_are_the_codes() -> None:
    text = README.read_text()

    assert written(text) == text, "run: python -m tests.readme_tables"


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [leaf.code for leaf in leaves()]

    assert len(codes) == len(set(codes))


def test_the_guide_defines_every_code_of_an_error() -> None:
    defined = {code: each["definition"] for code, each in guide.terms("relay-outcome", "error").items()}

    assert defined == {leaf.code: (leaf.__doc__ or "").split("\n")[0] for leaf in leaves()}


def test_every_reason_to_be_parked_has_a_row() -> None:
    text = README.read_text()

    for reason in (*(error.code for error in OTHERS), HORIZON_PASSED, SILENT):
        assert f"| `{reason}" in text


def test_every_reason_to_park_an_acquisition_has_a_row_and_no_row_is_of_no_reason() -> None:
    section = README.read_text().partition("### When something waits for a person")[2].partition("## Errors")[0]
    rows = set(re.findall(r"^\| `([a-z-]+)", section, re.MULTILINE))
    # what can come of a look at an archive: that it is no photograph, or damaged, is told and holds nothing up
    held = {leaf.code for leaf in leaves() if leaf.code.startswith(("archive-", "dicom-", "instance-mismatch"))}

    assert rows >= WHY_PARKED
    assert held <= WHY_PARKED
    assert {row for row in rows if row in {leaf.code for leaf in leaves()}} <= WHY_PARKED | {
        error.code for error in OTHERS
    }


def test_every_advice_that_may_hold_a_photograph_is_in_the_table() -> None:
    section = README.read_text().partition("### When something waits for a person")[2].partition("## Errors")[0]

    for advice in Advice:
        assert f"`{advice}`" in section
        assert advice in REASONS


def test_the_examples_of_archives_are_settings_that_are_taken() -> None:
    section = README.read_text().partition("### Connecting a PACS")[2].partition("\n### ")[0]
    examples = re.findall(r"```json\n(.*?)```", section, re.DOTALL)
    archives = [each for example in examples for each in json.loads(example)]

    assert len(archives) >= 4
    for each in archives:
        files = {"client_certificate", "client_key", "certificate_authority"} & each.keys()
        Archive.model_validate({name: value for name, value in each.items() if name not in files})
    assert {name for each in archives for name in each} | {"timeout"} == set(Archive.model_fields)


def test_every_code_of_an_issue_has_its_meaning_and_is_used() -> None:
    listed = {*MEANING, *(leaf.code for leaf in leaves())}
    said, constants = _codes_of_the_source()

    assert said > {"element-missing", "laterality-conflict"}
    assert said - listed == set()
    assert set(MEANING) - constants == set()


def _codes_of_the_source() -> tuple[set[str], set[str]]:
    """What every `Issue(...)` says that is written out, and every other text of the code."""
    said: set[str] = set()
    constants: set[str] = set()
    for node in _nodes():
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            constants.add(node.value)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Issue":
            match node.args[-1]:
                case ast.Constant(value=str(code)):
                    said.add(code)
    return said, constants


def _nodes() -> Iterator[ast.AST]:
    for source in Path(fundus_relay.__path__[0]).rglob("*.py"):
        if source.name != "issue_codes.py":
            yield from ast.walk(ast.parse(source.read_text()))
