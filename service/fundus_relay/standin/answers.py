"""Results in the shape of the document's sample, malformed as it is there, or mended.

Source: Netra API 1.0, getResult, sample (a): the object is closed before `lesionBbox` and not after it; boxes
are strings. The document
states no negative word; we say the plain opposites ("Not Detected", "NO", "Ungradable Image").
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen in a picture.

    Attributes:
        lesions: the document's word for it, and its box in pixels of the picture that was sent.
    """

    is_fundus: bool
    is_gradable: bool
    has_retinopathy: bool
    is_referable: bool
    lesions: Sequence[tuple[str, tuple[int, int, int, int]]] = field(default_factory=tuple)


NORMAL = Seen(is_fundus=True, is_gradable=True, has_retinopathy=False, is_referable=False)

_KINDS = ("Microaneurysm", "Deep Hemorrhage", "Hard Exudate", "Soft Exudate")
CROWDED = Seen(
    is_fundus=True,
    is_gradable=True,
    has_retinopathy=True,
    is_referable=True,
    lesions=tuple(
        (_KINDS[number % 4], (x, y, x + 21, y + 17))
        for number, (x, y) in enumerate((100 + 97 * column, 90 + 83 * row) for row in range(10) for column in range(10))
    ),
)
"""A hundred lesions, in a picture of the least size that is taken."""

UNSEEN = {"instant": NORMAL, "crowded": CROWDED}
"""What is said of every picture by a stand-in that looks at none."""


def result_of(seen: Seen, shape: str) -> str:
    """The `result` string.

    Args:
        shape: `document`, `well-formed` or `typographic`.
    """
    is_told = seen.is_fundus and seen.is_gradable
    answers = {
        "drYes": "Detected" if is_told and seen.has_retinopathy else "Not Detected",
        "referrableDR": "YES" if is_told and seen.is_referable else "NO",
        "imageQuality": "Gradable Image" if is_told else "Ungradable Image",
        "eyeOrNot": "YES" if seen.is_fundus else "NO",
    }
    shown = seen.lesions if is_told and seen.has_retinopathy else ()
    boxes = [{"bbox": json.dumps(box, separators=(",", ":")), "lesionType": name} for name, box in shown]
    head = json.dumps(answers, separators=(",", ":"))
    tail = f'"lesionBbox":{json.dumps(boxes, separators=(",", ":"))}'
    if shape == "well-formed":
        return f"{head[:-1]},{tail}}}"
    broken = f"{head}{tail}"
    return _with_typographic_quotes(broken) if shape == "typographic" else broken


def _with_typographic_quotes(text: str) -> str:
    opening = True
    written = []
    for character in text:
        if character == '"':
            written.append("“" if opening else "”")
            opening = not opening
        else:
            written.append(character)
    return "".join(written)
