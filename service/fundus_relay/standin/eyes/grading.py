"""Retinopathy and referral by rule, in the manner of the International Clinical DR scale; nothing here is trained.

0 none; 1 microaneurysms only; 2 haemorrhages or exudates too; 3 twenty or more red lesions in each of four quadrants
about the field's centre. 4 (proliferative) is never given: the network knows no new vessels. A class counts as present
from so many sure boxes of such an area on as `evidence` says: single boxes on healthy eyes are mostly false.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .field import Frame
from .lesions import LESIONS, Candidate, Disc
from .regions import Region

MANY = 20


@dataclass(frozen=True, slots=True)
class Grade:
    """What the rule says."""

    grade: int
    is_referable: bool

    @property
    def has_retinopathy(self) -> bool:
        return self.grade > 0


def grade(
    found: Mapping[str, Sequence[Candidate]], disc: Disc | None, frame: Frame, evidence: Mapping[str, Any]
) -> Grade:
    """Grade an eye.

    Args:
        evidence: of `thresholds.json`.
    """
    sure = {name: [each.region for each in found[name] if each.is_sure] for name in LESIONS}
    has = {
        name: sum(region.area >= evidence[name]["area"] for region in sure[name]) >= evidence[name]["count"]
        for name in LESIONS
    }
    level = 2 if has["HE"] or has["EX"] or has["SE"] else 1 if has["MA"] else 0
    if level == 2 and min(_by_quadrant([*sure["MA"], *sure["HE"]], frame)) >= MANY:
        level = 3
    near = _near_fovea(sure["EX"], disc, frame) if disc is not None else 0
    return Grade(level, level >= 2 or (level == 1 and near >= evidence["near_fovea"]))


def _by_quadrant(red: Sequence[Region], frame: Frame) -> list[int]:
    counts = [0, 0, 0, 0]
    for region in red:
        x, y = (region.box[0] + region.box[2]) / 2, (region.box[1] + region.box[3]) / 2
        counts[2 * (y > frame.height / 2) + (x > frame.width / 2)] += 1
    return counts


def _near_fovea(exudates: Sequence[Region], disc: Disc, frame: Frame) -> int:
    """Exudates within one disc diameter of where the fovea should lie."""
    side = 1 if disc.x < frame.width / 2 else -1
    fx, fy = disc.x + side * 2.5 * disc.diameter, disc.y + 0.25 * disc.diameter
    near = 0
    for region in exudates:
        x1, y1, x2, y2 = region.box
        near += math.hypot(max(x1 - fx, 0, fx - x2), max(y1 - fy, 0, fy - y2)) <= disc.diameter
    return near
