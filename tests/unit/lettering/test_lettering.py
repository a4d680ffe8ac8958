"""Texts as our fonts can show them."""

from __future__ import annotations

import pytest

from fundus_relay.lettering import BOLD, DEVANAGARI, REGULAR, readable


@pytest.mark.parametrize("text", ["Jürgen Großmann", "Ελένη", "Фёдор", "नितिन शर्मा", "क्‍ष", "Nguyễn Thị Ánh · 12 °"])
def test_what_a_font_has_stays_as_it_is(text: str) -> None:
    assert readable(text, REGULAR, DEVANAGARI) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("王", "U+738B"),
        ("a\u202eb", "aU+202Eb"),
        ("a\x00b", "aU+0000b"),
        ("\ud800", "U+D800"),
        ("👁", "U+1F441"),
        ("a\r\n  b\tc", "a b c"),
        ("नि", "U+0928U+093F"),
    ],
)
def test_what_it_has_not_stands_there_by_its_code_point(text: str, shown: str) -> None:
    assert readable(text, REGULAR, BOLD) == shown
