"""The real photographs that live beside the project; without them the tests that need them skip and say so."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("FUNDUS_PICTURES", Path(__file__).parents[1].parent / "shared" / "fundus"))

needs_photographs = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="the fundus photographs are not here: set FUNDUS_PICTURES to their folder"
)


def photographs(*patterns: str) -> Sequence[Path]:
    """Files of the folder by glob, sorted; empty when it is not here."""
    return sorted(path for pattern in patterns for path in FOLDER.glob(pattern))
