"""Lesions and the optic disc, from the network's probabilities."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .field import DIAMETER, Frame
from .network import CLASSES
from .regions import Mask, Plane, Region, regions

LESIONS = CLASSES[:4]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A region that may be a lesion.

    Attributes:
        is_shown: its score passes the threshold at which boxes are shown.
        is_sure: its score passes that at which four in five boxes were true.
    """

    region: Region
    is_shown: bool
    is_sure: bool


@dataclass(frozen=True, slots=True)
class Disc:
    """The optic disc in the working frame."""

    x: float
    y: float
    diameter: float


def find_lesions(probability: NDArray[np.float32], mask: Mask, rules: Mapping[str, Any]) -> dict[str, list[Candidate]]:
    """Candidates of each class in the working frame.

    Args:
        rules: `lesions` of `thresholds.json`.
    """
    found = {}
    for plane, name in enumerate(LESIONS):
        rule = rules[name]
        seen = regions(probability[plane] * mask, over=rule["pixel"], join=int(rule["join"]), area=int(rule["area"]))
        found[name] = [Candidate(each, each.score >= rule["show"], each.score >= rule["sure"]) for each in seen]
    return found


def find_disc(probability: Plane) -> Disc | None:
    """The largest region over one half, if its size is plausible."""
    found = regions(probability, over=0.5, join=0, area=800)
    if not found:
        return None
    best = max(found, key=lambda region: region.area)
    x1, y1, x2, y2 = best.box
    diameter = 2 * math.sqrt(best.area / math.pi)
    is_solid = best.area / ((x2 - x1) * (y2 - y1)) > 0.45
    if not (0.05 * DIAMETER <= diameter <= 0.28 * DIAMETER and is_solid):
        return None
    return Disc((x1 + x2) / 2, (y1 + y2) / 2, diameter)


def to_source(box: tuple[int, int, int, int], frame: Frame, width: int, height: int) -> tuple[int, int, int, int]:
    """A box of the working frame as whole source pixels, never empty, inside the picture."""
    x1 = min(max(0, math.floor(frame.x + box[0] * frame.factor)), width - 1)
    y1 = min(max(0, math.floor(frame.y + box[1] * frame.factor)), height - 1)
    x2 = min(width, max(x1 + 1, math.ceil(frame.x + box[2] * frame.factor)))
    y2 = min(height, max(y1 + 1, math.ceil(frame.y + box[3] * frame.factor)))
    return x1, y1, x2, y2
