"""How kinds of lesions are told apart on a picture: by colour, by line and by letters, so that two of them suffice.

Colours: Okabe and Ito's palette, told apart with any colour vision. Light ones come first, since a retina is dark and
orange; each line has a rim of the other brightness, so that it shows on anything.

Source: M. Okabe and K. Ito, "Color Universal Design", 2008, https://jfly.uni-koeln.de/color/.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

INK, PAPER = "#FFFFFF", "#161616"


class Line(StrEnum):
    """How the outline of a box is drawn."""

    SOLID = "solid"
    CORNERS = "corners"
    DASHED = "dashed"
    TICKED = "ticked"


@dataclass(frozen=True, slots=True)
class Stroke:
    """How the boxes of one kind of lesion are drawn.

    Attributes:
        letters: one to three, stand beside a box where there is room.
        colour, rim: as `#RRGGBB`.
    """

    letters: str
    colour: str
    rim: str
    line: Line


_KNOWN = (
    ("hemorrhage", Stroke("H", "#56B4E9", PAPER, Line.SOLID)),
    ("hard exudate", Stroke("EX", "#F0E442", PAPER, Line.CORNERS)),
    ("soft exudate", Stroke("SE", "#CC79A7", PAPER, Line.DASHED)),
    ("microaneurysm", Stroke("MA", "#009E73", INK, Line.TICKED)),
)
_OTHERS = (("#E69F00", PAPER), ("#0072B2", INK), ("#D55E00", INK))
_LINES = tuple(Line)


def strokes_of(kinds: Iterable[str]) -> dict[str, Stroke]:
    """A stroke for each kind, by the analyser's word for it; the same kinds always get the same strokes.

    Two words never get one stroke: of two kinds of haemorrhage the second has letters, and as long as there are some a
    colour and a line, of its own.
    """
    strokes: dict[str, Stroke] = {}
    for kind in sorted(set(kinds)):
        taken = {stroke.letters for stroke in strokes.values()}
        known = next((stroke for word, stroke in _KNOWN if word in kind.casefold()), None)
        strokes[kind] = known if known and known.letters not in taken else _another(kind, strokes, taken)
    return strokes


def _another(kind: str, strokes: dict[str, Stroke], taken: set[str]) -> Stroke:
    number = sum(stroke.colour in dict(_OTHERS) for stroke in strokes.values())
    colour, rim = _OTHERS[number % len(_OTHERS)]
    return Stroke(_letters(kind, taken), colour, rim, _LINES[number % len(_LINES)])


def _letters(kind: str, taken: set[str]) -> str:
    """Initials, or, when they are taken or none are plain letters, a number."""
    reserved = taken | {stroke.letters for _, stroke in _KNOWN}
    initials = "".join(word[0] for word in kind.upper().split() if word[0].isascii() and word[0].isalpha())[:2]
    numbered = (f"{initials or 'L'}{number}" for number in range(1, 100))
    return next(each for each in (initials, *numbered) if each and each not in reserved)
