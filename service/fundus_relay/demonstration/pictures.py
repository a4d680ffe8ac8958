"""The two pictures that the demonstration submits: a normal eye, and the same eye with lesions that we paint on it.

The painted one is synthetic and shows no disease of anybody. Its haemorrhages and exudates look enough like real ones
for the stand-in's network to call them so; how a real analyser would take them is unknown.

Source of the normal eye: "Fundus photograph of normal left eye", Mikael Häggström, 2014, doi:10.15347/wjm/2014.008,
CC0 1.0, as shipped inside scikit-image (`skimage/data/retina.jpg`, 1411 x 1411).
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from importlib.resources import files
from io import BytesIO
from math import cos, pi, sin
from typing import Literal

from PIL import Image, ImageDraw, ImageFilter

from fundus_relay.domain.geometry import Box

Sign = Literal["Deep Hemorrhage", "Hard Exudate"]

_HAEMORRHAGES = [
    (827, 262, 20),
    (1062, 560, 24),
    (1010, 350, 15),
    (1238, 405, 13),
    (620, 1100, 26),
    (1140, 775, 19),
    (832, 1004, 17),
    (1000, 1120, 22),
]
"""Centre and radius in pixels; away from the large vessels, in all quadrants."""

_EXUDATES = [(905, 745, 60, 34), (800, 865, 42, 20), (880, 620, 34, 14)]
"""Centre, radius and number of drops of a cluster; temporal of the fovea, which lies at (711, 704)."""

_BLOOD, _LIPID = (106, 14, 16), (246, 226, 142)


@dataclass(frozen=True, slots=True)
class PaintedLesion:
    """What we painted, and the smallest box around it."""

    sign: Sign
    box: Box


def normal_eye() -> bytes:
    """A normal left eye, as the JPEG that scikit-image ships, byte for byte."""
    return files("skimage.data").joinpath("retina.jpg").read_bytes()


def painted_eye() -> bytes:
    """The same eye with haemorrhages and hard exudates painted on it, as JPEG; always the same bytes."""
    eye = Image.open(BytesIO(normal_eye())).convert("RGB")
    for colour, mask in ((_BLOOD, _mask(_all_blood(), eye.size, 3.6)), (_LIPID, _mask(_all_lipid(), eye.size, 1.3))):
        eye.paste(colour, mask=mask)
    file = BytesIO()
    eye.save(file, "JPEG", quality=95, subsampling="4:4:4", comment=b"Synthetic: lesions are painted")
    return file.getvalue()


def painted_lesions() -> tuple[PaintedLesion, ...]:
    """What `painted_eye` shows more than `normal_eye`: every haemorrhage, every cluster of exudates."""
    blood = [PaintedLesion("Deep Hemorrhage", _around([shape])) for shape in _all_blood()]
    lipid = [PaintedLesion("Hard Exudate", _around(cluster)) for cluster in _clusters()]
    return (*blood, *lipid)


Outline = list[tuple[float, float]]


def _all_blood() -> list[Outline]:
    chance = random.Random("haemorrhages")  # noqa: S311 - a fixed picture, no secret
    return [_blot(chance, x, y, radius, roughness=0.55) for x, y, radius in _HAEMORRHAGES]


def _all_lipid() -> list[Outline]:
    return [drop for cluster in _clusters() for drop in cluster]


def _clusters() -> list[list[Outline]]:
    chance = random.Random("exudates")  # noqa: S311 - as above
    return [
        [
            _blot(chance, chance.gauss(x, radius / 2), chance.gauss(y, radius / 2), chance.uniform(3, 8), roughness=0.3)
            for _ in range(drops)
        ]
        for x, y, radius, drops in _EXUDATES
    ]


def _blot(chance: random.Random, x: float, y: float, radius: float, *, roughness: float) -> Outline:
    """A round outline that is a little irregular."""
    waves = [(wave, chance.uniform(0, 2 * pi), chance.uniform(0, roughness) / wave) for wave in (2, 3, 5)]
    return [
        (x + cos(turn) * radius * swell, y + sin(turn) * radius * swell)
        for turn in (2 * pi * step / 60 for step in range(60))
        for swell in [1 + sum(depth * sin(wave * turn + phase) for wave, phase, depth in waves)]
    ]


def _around(outlines: list[Outline]) -> Box:
    xs, ys = zip(*(point for outline in outlines for point in outline), strict=True)
    return Box(min(xs), min(ys), max(xs), max(ys))


def _mask(outlines: list[Outline], size: tuple[int, int], softness: float) -> Image.Image:
    mask = Image.new("L", size)
    for outline in outlines:
        ImageDraw.Draw(mask).polygon(outline, fill=220)
    return mask.filter(ImageFilter.GaussianBlur(softness))
