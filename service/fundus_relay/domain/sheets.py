"""What people are shown of a report: words and numbers, before anybody draws or sets them.

Whatever came from outside stands here as it came; who draws or sets it makes it readable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from .geometry import Affine, Box, Size


@dataclass(frozen=True, slots=True)
class Caption:
    """What stands beside a picture with boxes.

    Attributes:
        title: which eye, and which of its images.
        taken: when, as its sender said, or empty.
        result: in words; never that there is nothing where nobody could look.
        warnings: in capital letters, the gravest first.
        counts: how many boxes of each kind, by the analyser's word.
        report: which report it belongs to; the same in all its revisions, so that an unchanged picture stays the same.
            Empty for one that is of none.
    """

    title: str
    taken: str
    result: str
    warnings: tuple[str, ...]
    counts: Mapping[str, int]
    report: str = ""


@dataclass(frozen=True, slots=True)
class Marked:
    """What is drawn on a picture, and what is said beside it.

    Attributes:
        boxes: in pixels of the source raster, each with the analyser's word.
        to_picture: from there to pixels of the picture that is drawn on.
    """

    boxes: tuple[tuple[Box, str], ...]
    to_picture: Affine
    caption: Caption


@dataclass(frozen=True, slots=True)
class Drawn:
    """A JPEG that was drawn."""

    jpeg: bytes
    size: Size


@dataclass(frozen=True, slots=True)
class Row:
    """What a sheet's table says of one image.

    Attributes:
        lesions: each kind with its count, or why there is none.
    """

    image: str
    gradability: str
    retinopathy: str
    referable: str
    lesions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sheet:
    """A report revision as a page for people.

    Attributes:
        state: of the report, in capital letters.
        warnings: stand on every page, in capital letters.
        facts: names and values of what the report is about.
        remarks: what is missing, in sentences.
        foot: which report and revision it is; on every page.
        issued: when this revision was; the only time that the file knows.
    """

    title: str
    state: str
    warnings: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    remarks: tuple[str, ...]
    rows: tuple[Row, ...]
    disclaimer: str
    foot: str
    issued: datetime


@dataclass(frozen=True, slots=True)
class Plate:
    """A picture on a sheet.

    Attributes:
        picture: with its boxes, or None when it cannot be shown.
        instead: what is said where there is no picture.
    """

    caption: Caption
    picture: Drawn | None
    instead: str = "This photograph cannot be shown."
