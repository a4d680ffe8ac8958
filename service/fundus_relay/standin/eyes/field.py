"""Where the retina lies in a photograph, and the photograph in the network's frame."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from .regions import EIGHT, Mask

Rgb = NDArray[np.uint8]  # (rows, columns, 3)
Points = NDArray[np.floating[Any]]  # one coordinate of many points

DIAMETER = 1536
"""Of the retina's circle in the network's frame, in pixels."""

DARKEST = 4  # inside the field no channel is darker than this; outside it is 0
MULTIPLE = 32  # of the network's input
_LOOK_AT = 480  # pixels of the longer side when the circle is sought


@dataclass(frozen=True, slots=True)
class Field:
    """The retina's circle in source pixels, and how well a circle explains the bright region's edge.

    Attributes:
        cx, cy, r: the circle.
        x0, y0, x1, y1: bounding box of the visible field.
        error: root mean square distance of edge points from the circle, as a share of `r`.
        arc: share of the circumference along which an edge was seen.
        fill: share of the visible circle that is bright.
        dark: share of pixels outside the circle that are dark; 1 when there are none outside.
    """

    cx: float
    cy: float
    r: float
    x0: float
    y0: float
    x1: float
    y1: float
    error: float
    arc: float
    fill: float
    dark: float


@dataclass(frozen=True, slots=True)
class Frame:
    """Maps the network's frame to the source: source = offset + factor * working.

    Attributes:
        width, height: of the working frame without its padding at the right and the bottom.
    """

    x: float
    y: float
    factor: float
    width: int
    height: int


def find_field(rgb: Rgb) -> Field:
    """Find the circle; fall back to the bounding box of what is bright when none is seen."""
    height, width = rgb.shape[:2]
    small = _small(rgb)
    h, w = small.shape
    bright = small > _threshold(small)
    labels, count = ndimage.label(bright, EIGHT)
    if count == 0:
        return Field(width / 2, height / 2, max(width, height) / 2, 0, 0, width, height, 1.0, 0.0, 1.0, 1.0)
    sizes = np.bincount(labels.ravel())[1:]
    best = int(np.argmax(sizes)) + 1
    region = labels == best
    rows, columns = ndimage.find_objects(labels)[best - 1]
    y0, y1, x0, x1 = rows.start, rows.stop, columns.start, columns.stop
    sx, sy = width / w, height / h
    box = Field(
        (x0 + x1) / 2 * sx,
        (y0 + y1) / 2 * sy,
        max((x1 - x0) * sx, (y1 - y0) * sy) / 2,
        x0 * sx,
        y0 * sy,
        x1 * sx,
        y1 * sy,
        1.0,
        0.0,
        float(sizes.max()) / max(1, (x1 - x0) * (y1 - y0)),
        1.0,
    )
    px, py = _edge(region)
    inner = (px > 1.5) & (px < w - 1.5) & (py > 1.5) & (py < h - 1.5)
    px, py = px[inner], py[inner]
    if len(px) < 24:
        return box
    cx, cy, r = _circle(px, py)
    off = np.hypot(px - cx, py - cy) - r
    near = np.abs(off) < 0.02 * r
    angles = np.unique((np.arctan2(py[near] - cy, px[near] - cx) * (180 / math.pi)).round().astype(int))
    yy, xx = np.mgrid[0:h, 0:w] + 0.5
    away = np.hypot(xx - cx, yy - cy)
    inside = (away <= r) & (yy >= y0) & (yy <= y1) & (xx >= x0) & (xx <= x1)
    outside = away > 1.03 * r
    seen = replace(
        box,
        error=float(np.sqrt(np.mean(np.minimum(off, 0.2 * r) ** 2))) / r,
        arc=len(angles) / 360,
        fill=float(bright[inside].mean()) if inside.any() else 0.0,
        dark=float(1 - bright[outside].mean()) if outside.sum() > 20 else 1.0,
    )
    size = max(x1 - x0, y1 - y0)
    if near.mean() < 0.4 or not 0.42 * size <= r <= 0.95 * size:
        return seen
    return replace(
        seen,
        cx=cx * sx,
        cy=cy * sy,
        r=r * sx,
        x0=max(x0, cx - r) * sx,
        y0=max(y0, cy - r) * sy,
        x1=min(x1, cx + r) * sx,
        y1=min(y1, cy + r) * sy,
    )


def normalise(rgb: Rgb, field: Field) -> tuple[Rgb, Mask, Frame]:
    """Cut the field out and scale its circle to `DIAMETER`.

    Returns:
        The picture, padded to multiples of 32 and black outside the field; which pixels are field; the frame.
    """
    factor = 2 * field.r / DIAMETER
    x0, y0 = max(0.0, field.x0), max(0.0, field.y0)
    x1, y1 = min(float(rgb.shape[1]), field.x1), min(float(rgb.shape[0]), field.y1)
    w, h = max(1, round((x1 - x0) / factor)), max(1, round((y1 - y0) / factor))
    x1, y1 = min(float(rgb.shape[1]), x0 + w * factor), min(float(rgb.shape[0]), y0 + h * factor)
    small = np.asarray(Image.fromarray(rgb).resize((w, h), Image.Resampling.BICUBIC, box=(x0, y0, x1, y1)))
    yy, xx = np.ogrid[0:h, 0:w]
    away = np.hypot((xx + 0.5) * factor + x0 - field.cx, (yy + 0.5) * factor + y0 - field.cy)
    inside = away <= 0.985 * field.r
    rows, columns = -(-h // MULTIPLE) * MULTIPLE, -(-w // MULTIPLE) * MULTIPLE
    picture, mask = np.zeros((rows, columns, 3), np.uint8), np.zeros((rows, columns), bool)
    mask[:h, :w] = inside
    picture[:h, :w] = np.maximum(small, DARKEST) * inside[..., None]
    return picture, mask, Frame(x0, y0, factor, w, h)


def _small(rgb: Rgb) -> NDArray[np.float32]:
    """The brightest channel at a size at which a circle is found quickly."""
    height, width = rgb.shape[:2]
    factor = max(1.0, max(height, width) / _LOOK_AT)
    size = (max(8, round(width / factor)), max(8, round(height / factor)))
    small = np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BOX))
    brightest: NDArray[np.float32] = small.max(axis=2).astype(np.float32)
    return brightest


def _threshold(small: NDArray[np.float32]) -> float:
    """Between the surround, as the corners show it, and the field."""
    h, w = small.shape
    top = float(np.percentile(small, 92))
    k = max(2, min(h, w) // 24)
    corners = np.array([np.median(c) for c in (small[:k, :k], small[:k, -k:], small[-k:, :k], small[-k:, -k:])])
    back = min(float(np.median(corners)), 0.25 * top)
    return back + max(0.10 * (top - back), 4.0)


def _edge(region: Mask) -> tuple[Points, Points]:
    """The outermost pixels of each row and of each column."""
    h, w = region.shape
    rows, columns = np.nonzero(region.any(axis=1))[0], np.nonzero(region.any(axis=0))[0]
    left, right = region[rows].argmax(axis=1), w - region[rows, ::-1].argmax(axis=1)
    top, bottom = region[:, columns].argmax(axis=0), h - region[::-1, columns].argmax(axis=0)
    x = np.concatenate([left, right, columns + 0.5, columns + 0.5]).astype(float)
    y = np.concatenate([rows + 0.5, rows + 0.5, top, bottom]).astype(float)
    return x, y


def _circle(x: Points, y: Points) -> tuple[float, float, float]:
    """Least squares circle, refitted on the nearer points, so that a notch or a flat edge does not pull it."""
    keep = np.ones(len(x), bool)
    cx = cy = r = 0.0
    for _ in range(6):
        a = np.stack([x[keep], y[keep], np.ones(keep.sum())], axis=1)
        b = x[keep] ** 2 + y[keep] ** 2
        p = np.linalg.lstsq(a, b, rcond=None)[0]
        cx, cy = float(p[0] / 2), float(p[1] / 2)
        r = math.sqrt(max(float(p[2]) + cx * cx + cy * cy, 1e-6))
        off = np.abs(np.hypot(x - cx, y - cy) - r)
        limit = max(2.5 * float(np.median(off)), 0.004 * r, 0.75)
        again = off <= limit
        if again.sum() < 12 or (again == keep).all():
            break
        keep = again
    return cx, cy, r
