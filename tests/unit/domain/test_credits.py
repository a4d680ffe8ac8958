"""Who may spend a credit, and that nothing waits for ever: whatever comes in which order."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_relay.domain.credits import Credits, Floors, Spent
from fundus_relay.domain.errors import CreditsExhausted, CreditsReserved
from fundus_relay.domain.urgency import Urgency
from fundus_relay.pipeline.spending import objection

FLOORS = st.builds(Floors, st.integers(0, 20), st.integers(0, 20))
CREDITS = st.builds(Credits, st.integers(0, 40), st.integers(0, 10))
URGENCIES = st.sampled_from(Urgency)


@given(URGENCIES, FLOORS, st.integers(0, 10))
def test_an_unknown_count_keeps_nothing_back(urgency: Urgency, floors: Floors, under_way: int) -> None:
    assert objection(urgency, Credits(None, under_way), floors) is None


@given(FLOORS, CREDITS)
def test_nothing_but_what_is_urgent_goes_below_a_floor(floors: Floors, credits: Credits) -> None:
    assert credits.remaining is not None
    left = credits.remaining - credits.under_way

    assert (objection(Urgency.URGENT, credits, floors) is None) == (credits.remaining > 0)
    assert (objection(Urgency.ROUTINE, credits, floors) is None) == (left > floors.routine)
    assert (objection(Urgency.BACKFILL, credits, floors) is None) == (left > max(floors.routine, floors.backfill))


@given(FLOORS, CREDITS, URGENCIES, URGENCIES)
def test_what_is_more_urgent_may_do_all_that_others_may(
    floors: Floors, credits: Credits, one: Urgency, other: Urgency
) -> None:
    less, more = sorted((one, other))

    assert objection(less, credits, floors) is not None or objection(more, credits, floors) is None


@pytest.mark.parametrize(
    ("credits", "why"),
    [
        (Credits(0, 0), CreditsExhausted),
        (Credits(2, 2), CreditsExhausted),  # the last ones are being spent
        (Credits(5, 0), CreditsReserved),
    ],
)
def test_who_waits_is_told_whether_there_are_credits_at_all(credits: Credits, why: type[Exception]) -> None:
    assert isinstance(objection(Urgency.ROUTINE, credits, Floors(5)), why)


@pytest.mark.parametrize(
    ("spent", "remaining", "days"),
    [
        (Spent(day=10, week=10), 30, 3),
        (Spent(day=0, week=70), 30, 3),  # a Sunday
        (Spent(day=40, week=70), 20, 0.5),  # a backlog that is caught up with
        (Spent(day=10, week=70), 0, 0),
        (Spent(day=0, week=0), 0, 0),
    ],
)
def test_credits_last_as_long_as_the_faster_pace_says(spent: Spent, remaining: int, days: float) -> None:
    assert spent.lasts(remaining) == timedelta(days=days)


@pytest.mark.parametrize(("spent", "remaining"), [(Spent(0, 0), 100), (Spent(10, 70), None)])
def test_without_a_pace_or_a_count_nobody_can_tell(spent: Spent, remaining: int | None) -> None:
    assert spent.lasts(remaining) is None


def test_a_forecast_of_very_few_and_very_many_is_a_time() -> None:
    assert Spent(0, 1).lasts(2**31) == timedelta(days=36_500)
