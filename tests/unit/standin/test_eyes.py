"""The stand-in's eyes see what the code saw that the network was measured with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.pictures import FOLDER, needs_photographs

from fundus_relay.standin.eyes.look import decode, see

GOLDEN: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "golden.json").read_text())
"""Recorded from the inference code that the model card's figures were measured with."""


@needs_photographs
@pytest.mark.slow
@pytest.mark.real_pictures
@pytest.mark.parametrize("name", GOLDEN)
def test_boxes_grade_and_gradability_are_those_of_the_measured_code(name: str) -> None:
    expected = GOLDEN[name]

    sight = see(decode((FOLDER / name).read_bytes()))

    assert sorted([word, *box] for word, box, _ in sight.lesions) == sorted(expected["lesions"])
    assert (sight.grade.grade, sight.grade.is_referable) == (expected["grade"], expected["is_referable"])
    assert (sight.is_fundus, not sight.hindrances) == (expected["is_fundus"], expected["is_gradable"])
