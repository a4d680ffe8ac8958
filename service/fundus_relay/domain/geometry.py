"""Frames, boxes and the affine maps between them.

Continuous pixel coordinates: x to the right, y downwards, the origin in the top-left corner of the top-left pixel, so a
picture of `columns` x `rows` covers [0, columns] x [0, rows].

Source: DICOM PS3.3 C.18.6 (spatial coordinates), FHIR R5 ImagingSelection.imageRegion2D.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite


@dataclass(frozen=True, slots=True)
class Size:
    """A picture's extent in pixels; at least one pixel."""

    columns: int
    rows: int

    def __post_init__(self) -> None:
        if self.columns < 1 or self.rows < 1:
            raise ValueError("a picture has at least one column and one row")

    @property
    def pixels(self) -> int:
        """How many there are."""
        return self.columns * self.rows

    @property
    def transposed(self) -> Size:
        """After a quarter turn."""
        return Size(self.rows, self.columns)


@dataclass(frozen=True, slots=True)
class Box:
    """An upright rectangle in pixels of one frame; 0 <= min < max, all finite."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float

    def __post_init__(self) -> None:
        if not (0 <= self.x_min < self.x_max and 0 <= self.y_min < self.y_max):
            raise ValueError("a box needs 0 <= min < max")
        if not (isfinite(self.x_max) and isfinite(self.y_max)):
            raise ValueError("a box has an end")

    def lies_in(self, frame: Size) -> bool:
        """Whether no part of the box is outside a picture of this size."""
        return self.x_max <= frame.columns and self.y_max <= frame.rows


@dataclass(frozen=True, slots=True)
class Affine:
    """x' = a x + b y + c; y' = d x + e y + f."""

    a: float
    b: float
    c: float
    d: float
    e: float
    f: float

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Where a point goes."""
        return self.a * x + self.b * y + self.c, self.d * x + self.e * y + self.f

    def box(self, box: Box) -> Box:
        """The smallest upright box that holds the image of `box`; exact for turns, mirrors, scales and shifts.

        To a millionth of a pixel, so that a box on the frame's edge does not stick out by a rounding error.

        Raises:
            ValueError: it would begin left of or above the frame.
        """
        corners = [self.point(x, y) for x in (box.x_min, box.x_max) for y in (box.y_min, box.y_max)]
        xs, ys = zip(*corners, strict=True)
        edges = (min(xs), min(ys), max(xs), max(ys))
        return Box(*(round(edge, 6) + 0.0 for edge in edges))  # + 0.0 makes 0 of -0

    def after(self, first: Affine) -> Affine:
        """The map that applies `first` and then this one."""
        return Affine(
            self.a * first.a + self.b * first.d,
            self.a * first.b + self.b * first.e,
            self.a * first.c + self.b * first.f + self.c,
            self.d * first.a + self.e * first.d,
            self.d * first.b + self.e * first.e,
            self.d * first.c + self.e * first.f + self.f,
        )

    def inverse(self) -> Affine:
        """The map that undoes this one.

        Raises:
            ValueError: this one flattens the plane, nothing undoes it.
        """
        area = self.a * self.e - self.b * self.d
        if area == 0:
            raise ValueError("a map onto a line has no inverse")
        return Affine(
            self.e / area,
            -self.b / area,
            (self.b * self.f - self.c * self.e) / area,
            -self.d / area,
            self.a / area,
            (self.c * self.d - self.a * self.f) / area,
        )


IDENTITY = Affine(1, 0, 0, 0, 1, 0)


def scaling(*, of: Size, to: Size) -> Affine:
    """The map from a picture onto the same picture at another size, edge upon edge."""
    return Affine(to.columns / of.columns, 0, 0, 0, to.rows / of.rows, 0)
