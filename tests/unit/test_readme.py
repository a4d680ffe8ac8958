"""What the README lists is what the code has."""

from __future__ import annotations

from tests.readme_tables import README, leaves, written

from fundus_relay.domain.errors import AnalyserDeclined, AnswerNotUnderstood, RecordRefused, UploadAmbiguous
from fundus_relay.pipeline.delivery import HORIZON_PASSED
from fundus_relay.pipeline.poll import SILENT


def test_the_tables_of_settings_and_errors_are_the_codes() -> None:
    text = README.read_text()

    assert written(text) == text, "run: python -m tests.readme_tables"


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [leaf.code for leaf in leaves()]

    assert len(codes) == len(set(codes))


def test_every_reason_to_be_parked_has_a_row() -> None:
    text = README.read_text()

    errors = (UploadAmbiguous, AnalyserDeclined, AnswerNotUnderstood, RecordRefused)
    for reason in (*(error.code for error in errors), HORIZON_PASSED, SILENT):
        assert f"| `{reason}" in text
