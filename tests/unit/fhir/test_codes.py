"""Codes come from the guide: no module of ours keeps a second list of them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from fundus_relay import fhir, guide

MODULES = sorted(Path(fhir.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_no_coding_stands_literally_in_the_code(module: Path) -> None:
    literal = [
        ast.unparse(each)
        for each in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if isinstance(each, ast.Dict)
        and {"code", "display"} <= {key.value for key in each.keys if isinstance(key, ast.Constant)}
        and any(isinstance(value, ast.Constant) for value in each.values)
    ]

    assert literal == []


def test_a_fixed_coding_is_the_profiles_own() -> None:
    assert guide.fixed("screening-report", "DiagnosticReport.code") == {
        "system": "http://loinc.org",
        "code": "103592-2",
        "display": "Retinal eye screening report",
    }
