"""One picture, looked at."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from fundus_relay.standin.answers import Seen

from .field import Rgb, find_field, normalise
from .grading import Grade, grade
from .lesions import LESIONS, find_disc, find_lesions, to_source
from .network import probabilities
from .quality import hindrances, is_fundus, measure

WORDS = {"MA": "Microaneurysm", "HE": "Deep Hemorrhage", "EX": "Hard Exudate", "SE": "Soft Exudate"}
"""Source: Netra API 1.0 for "Deep Hemorrhage" and "Hard Exudate"; the others in its manner."""

MAX_PIXELS = 120_000_000


@dataclass(frozen=True, slots=True)
class Sight:
    """All that was seen.

    Attributes:
        lesions: word, box in pixels of the picture turned upright, score; best first. Not for a healthy eye: there,
            most are false.
    """

    is_fundus: bool
    hindrances: tuple[str, ...]
    grade: Grade
    lesions: tuple[tuple[str, tuple[int, int, int, int], float], ...]


def look(picture: bytes) -> Seen:
    """What the stand-in says of a picture. Raises what Pillow raises for one that does not decode."""
    sight = see(decode(picture))
    return Seen(
        is_fundus=sight.is_fundus,
        is_gradable=not sight.hindrances,
        has_retinopathy=sight.grade.has_retinopathy,
        is_referable=sight.grade.is_referable,
        lesions=[(word, box) for word, box, _ in sight.lesions] if sight.grade.has_retinopathy else [],
    )


def decode(picture: bytes) -> Rgb:
    """RGB, turned upright."""
    with Image.open(BytesIO(picture)) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError("too many pixels")
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I"):
            wide = np.asarray(upright).astype(np.float32)
            grey = (wide * (255.0 / max(1.0, float(wide.max())))).astype(np.uint8)
            return np.repeat(grey[..., None], 3, axis=2)
        return np.asarray(upright.convert("RGB"))


def see(rgb: Rgb) -> Sight:
    """Look at an upright picture."""
    rules = _rules()
    height, width = rgb.shape[:2]
    field = find_field(rgb)
    picture, mask, frame = normalise(rgb, field)
    probability = probabilities(picture)
    disc = find_disc(probability[4] * mask)
    features = measure(picture, mask)
    found = find_lesions(probability, mask, rules["lesions"])
    shown = [
        (WORDS[name], to_source(each.region.box, frame, width, height), each.region.score)
        for name in LESIONS
        for each in found[name]
        if each.is_shown
    ]
    is_retina = is_fundus(features, field, disc, rules["quality"])
    return Sight(
        is_fundus=is_retina,
        hindrances=tuple(hindrances(features, field, disc, rules["quality"])) if is_retina else ("no fundus",),
        grade=grade(found, disc, frame, rules["evidence"]),
        lesions=tuple(sorted(shown, key=lambda lesion: -round(lesion[2], 4))),
    )


@cache
def _rules() -> dict[str, Any]:  # Any: JSON
    text = resources.files(__package__).joinpath("thresholds.json").read_text(encoding="utf-8")
    rules: dict[str, Any] = json.loads(text)
    return rules
