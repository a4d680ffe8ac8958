from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fundus_relay.domain.urgency import Urgency, priority

URGENCIES, PLACES = st.sampled_from(Urgency), st.integers(0, 2**62)


def test_the_names_sort_as_the_urgencies_do() -> None:
    assert sorted(Urgency) == [Urgency.BACKFILL, Urgency.ROUTINE, Urgency.URGENT]


def test_a_job_of_code_that_knows_no_urgency_is_routine_and_waits_for_nobody() -> None:
    assert priority(Urgency.ROUTINE, 0) == 0


@given(URGENCIES, URGENCIES, PLACES, PLACES)
def test_what_is_more_urgent_goes_first_whatever_its_place(one: Urgency, other: Urgency, a: int, b: int) -> None:
    assert one <= other or priority(one, a) > priority(other, b)


@given(URGENCIES, PLACES)
def test_a_priority_fits_into_the_engines_column(urgency: Urgency, place: int) -> None:
    assert -(2**31) <= priority(urgency, place) < 2**31
