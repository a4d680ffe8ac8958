"""Whether a picture is a fundus photograph, and whether anything can be judged in it.

The limits were set by hand from development pictures; see `MODEL_CARD.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .field import Field, Rgb
from .lesions import Disc
from .regions import Mask, dilate

Plane = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Features:
    """Plain measurements of the normalised picture at half the working scale.

    Attributes:
        light: median luma.
        dark, glare: share of field pixels darker than 25, or with green over 235.
        uneven: deviation of the strongly blurred luma over its mean.
        red_green, blue_red: ratios of channel means.
        detail: how much structure of up to about 4 px there is beside that of up to about 15 px.
        vessels: share of the field whose green is a dark line.
        contrast: 98th percentile of the lines' depth.
    """

    light: float
    dark: float
    glare: float
    uneven: float
    red_green: float
    blue_red: float
    detail: float
    vessels: float
    contrast: float


def measure(picture: Rgb, mask: Mask) -> Features:
    """Measure a normalised picture."""
    h, w = picture.shape[0] // 2, picture.shape[1] // 2
    small = picture[: 2 * h, : 2 * w].reshape(h, 2, w, 2, 3).astype(np.float32).mean((1, 3))
    inner = mask[0 : 2 * h : 2, 0 : 2 * w : 2].copy()
    core = _core(inner)
    r, g, b = (small[..., i] for i in range(3))
    luma = 0.299 * r + 0.587 * g + 0.114 * b
    weight = _blur(inner.astype(np.float32), 40) + 1e-3
    slow = _blur(luma * inner, 40) / weight
    g1, g3, g9 = (_blur(_blur(g, radius), radius) for radius in (1, 3, 9))
    middle = (g1 - g3)[core]
    depth = (g9 - g1) / (g9 + 8)
    line = (depth > 0.06) & core
    return Features(
        light=float(np.median(luma[core])),
        dark=float((luma[core] < 25).mean()),
        glare=float((g[core] > 235).mean()),
        uneven=float(slow[core].std() / (slow[core].mean() + 1)),
        red_green=float(r[core].mean() / (g[core].mean() + 1)),
        blue_red=float(b[core].mean() / (r[core].mean() + 1)),
        detail=float(np.sqrt((middle**2).mean()) / (np.sqrt(((g3 - g9)[core] ** 2).mean()) + 0.3)),
        vessels=float(line.sum() / core.sum()),
        contrast=float(np.percentile(depth[core], 98)),
    )


def is_fundus(f: Features, field: Field, disc: Disc | None, limits: Mapping[str, Any]) -> bool:
    """Whether this is a colour fundus photograph.

    Args:
        limits: `quality` of `thresholds.json`.
    """
    is_round = (
        field.error <= limits["circle_error"]
        and field.arc >= limits["circle_arc"]
        and field.dark >= limits["circle_dark"]
    )
    is_coloured = f.red_green >= limits["red_green"] and f.blue_red <= limits["blue_red"]
    has_vessels = limits["vessels"][0] <= f.vessels <= limits["vessels"][1]
    shows_retina = (is_round and (has_vessels or disc is not None)) or (
        disc is not None and has_vessels and field.fill > 0.97
    )
    if is_coloured and shows_retina:
        return True
    # a retina too dark, too bright or too blurred to show anything is still a photograph of one: a circle of its colour
    is_clearly_round = is_round and field.arc >= 0.5 and field.dark > 0.97 and field.error < 0.015
    return is_clearly_round and f.red_green >= 0.97 and f.blue_red <= 0.98


def hindrances(f: Features, field: Field, disc: Disc | None, limits: Mapping[str, Any]) -> list[str]:
    """What keeps a fundus photograph from being judged; empty when it is gradable."""
    found = {
        "resolution too low": 2 * field.r < limits["diameter"],
        "too dark": f.light < limits["light"][0] or f.dark > limits["dark"],
        "overexposed": f.light > limits["light"][1] or f.glare > limits["glare"],
        "blurred": f.detail < limits["detail"],
        "too little contrast": f.contrast < limits["contrast"],
        "unevenly lit": f.uneven > limits["uneven"],
        "neither disc nor vessels seen": f.vessels < limits["vessels"][0] and disc is None,
    }
    return [reason for reason, is_so in found.items() if is_so]


def _core(inner: Mask) -> Mask:
    """The field without its rim."""
    core = ~dilate(~inner, 20)
    core[:20], core[-20:], core[:, :20], core[:, -20:] = False, False, False, False
    if core.sum() < 2000:
        core = inner
    return core if core.any() else np.ones_like(inner)


def _blur(plane: Plane, radius: int) -> Plane:
    """Mean over a square window, edges repeated."""
    return ndimage.uniform_filter(plane.astype(np.float64), size=2 * radius + 1, mode="nearest").astype(np.float32)
