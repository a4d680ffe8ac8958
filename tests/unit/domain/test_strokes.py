"""Kinds of lesions are told apart."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fundus_relay.domain.strokes import Line, strokes_of

KNOWN = ("Deep Hemorrhage", "Hard Exudate", "Soft Exudate", "Microaneurysm")


def test_what_is_known_differs_by_colour_by_line_and_by_letters() -> None:
    strokes = strokes_of(KNOWN).values()

    assert len({stroke.colour for stroke in strokes}) == 4
    assert {stroke.line for stroke in strokes} == set(Line)
    assert {stroke.letters for stroke in strokes} == {"H", "EX", "SE", "MA"}


def test_two_words_of_one_kind_do_not_share_a_stroke() -> None:
    strokes = strokes_of(["Deep Hemorrhage", "Flame Hemorrhage"])

    assert strokes["Deep Hemorrhage"].letters == "H"
    assert strokes["Flame Hemorrhage"].letters == "FH"
    assert strokes["Flame Hemorrhage"].colour != strokes["Deep Hemorrhage"].colour


@given(st.lists(st.text(max_size=30), max_size=12))
def test_whatever_the_analyser_calls_it_has_letters_of_its_own(kinds: list[str]) -> None:
    strokes = strokes_of(kinds)

    assert set(strokes) == set(kinds)
    assert len({stroke.letters for stroke in strokes.values()}) == len(strokes)
    assert all(stroke.letters.isascii() and 1 <= len(stroke.letters) <= 3 for stroke in strokes.values())
    assert strokes == strokes_of(reversed(kinds))
