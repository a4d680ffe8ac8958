"""Regions of a picture: components, their boxes and scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]
Plane = NDArray[np.float32]

EIGHT = np.ones((3, 3), bool)
"""Pixels that touch at a corner belong together."""

BEST = 5
"""A region's score is the mean of so many of its most probable pixels."""


@dataclass(frozen=True, slots=True)
class Region:
    """Pixels that belong together.

    Attributes:
        box: x1, y1, x2, y2; the second corner is exclusive.
        area: pixels.
        score: mean of the five most probable pixels.
    """

    box: tuple[int, int, int, int]
    area: int
    score: float


def dilate(mask: Mask, radius: int) -> Mask:
    """Grow by a square of `radius` pixels to each side."""
    if radius < 1:
        return mask
    return ndimage.maximum_filter(mask.view(np.uint8), size=2 * radius + 1, mode="constant").astype(bool)


def regions(probability: Plane, *, over: float, join: int, area: int) -> list[Region]:
    """Regions of what is more probable than `over`, joined when within about `2 * join` pixels, of `area` or more."""
    mask = probability > over
    labels, count = ndimage.label(dilate(mask, join), EIGHT)
    labels *= mask
    found = []
    for label, place in enumerate(ndimage.find_objects(labels, count), start=1):
        if place is None:
            continue
        values = probability[place][labels[place] == label]
        if len(values) >= area:
            rows, columns = place
            best = np.sort(values)[::-1][:BEST]
            box = (columns.start, rows.start, columns.stop, rows.stop)
            found.append(Region(box, len(values), float(best.mean())))
    return found
