"""Waits."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from fundus_relay.pipeline.rules import Rules

RULES = Rules(public_url="http://relay.test/fhir", organization="Test", retry_horizon={})


@given(st.integers(min_value=1, max_value=10_000))
def test_a_wait_is_never_under_a_second_nor_over_the_longest(attempt: int) -> None:
    assert timedelta(seconds=1) <= RULES.wait(attempt) <= RULES.longest_wait


@given(st.integers(min_value=1, max_value=20), st.integers(min_value=0, max_value=7200))
def test_what_the_other_side_asked_for_is_honoured(attempt: int, seconds: int) -> None:
    assert RULES.wait(attempt, at_least=timedelta(seconds=seconds)) >= timedelta(seconds=seconds)


def test_an_image_on_hold_is_asked_for_more_rarely() -> None:
    assert RULES.until_next_poll(on_hold=True) > RULES.until_next_poll() * 5
