"""What a count of credits tells of lost uploads; what it proves is shown in `tests/flow/test_lost_uploads.py`."""

from __future__ import annotations

import pytest

from fundus_relay.domain.values import CreditMark
from fundus_relay.pipeline.ambiguity import unaccounted


@pytest.mark.parametrize(
    ("mark", "remaining", "confirmed", "credits"),
    [
        (CreditMark(10, 5), 10, 5, 0),
        (CreditMark(10, 5), 7, 8, 0),
        (CreditMark(10, 5), 7, 6, 2),
        (CreditMark(10, 5), 109, 5, -99),
        (CreditMark(None, 5), 10, 5, None),
        (CreditMark(10, 5), None, 5, None),
    ],
    ids=["nothing", "all-ours", "two-missing", "topped-up", "never-told", "not-told-now"],
)
def test_credits_are_unaccounted_for_when_no_confirmed_upload_took_them(
    mark: CreditMark, remaining: int | None, confirmed: int, credits: int | None
) -> None:
    assert unaccounted(mark, remaining, confirmed) == credits
