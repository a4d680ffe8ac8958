"""The fonts that the service carries, and texts as they can show them.

Noto Sans has Latin, Greek and Cyrillic, its sister Devanagari. What neither has stands there by its code point, such as
`U+0B85`: a name that cannot be shown must not look like another, shorter one.

Source: Noto Sans 2.004, SIL Open Font License 1.1, see fonts/OFL.txt.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from pathlib import Path

from fontTools.ttLib import TTFont

_FONTS = Path(__file__).parent / "fonts"
REGULAR, BOLD = _FONTS / "NotoSans-Regular.ttf", _FONTS / "NotoSans-Bold.ttf"
DEVANAGARI = _FONTS / "NotoSansDevanagari-Regular.ttf"

_JOINERS = frozenset("\u200c\u200d")
"""They have no look of their own, and change that of the letters beside them."""


def readable(text: str, *fonts: Path) -> str:
    """The text on one line, with whatever none of these fonts can show by its code point.

    Marks that turn the order of letters around (U+202E) are among what is shown: no text hides behind another.
    """
    shown = frozenset().union(*map(_characters, fonts))
    return "".join(_readable(character, shown) for character in " ".join(text.split()))


def _readable(character: str, shown: frozenset[str]) -> str:
    is_hidden = unicodedata.category(character).startswith("C") and character not in _JOINERS
    return f"U+{ord(character):04X}" if is_hidden or character not in shown else character


@cache
def _characters(font: Path) -> frozenset[str]:
    with TTFont(font, lazy=True) as file:
        return frozenset(map(chr, file.getBestCmap()))
