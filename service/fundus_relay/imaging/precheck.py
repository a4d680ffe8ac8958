"""What a quick look says of a photograph before it is paid for: whether it is of a fundus, exposed, and in focus.

How this works. The picture is looked at with some 500 pixels on its longer side, which a JPEG gives from its coarse
coefficients alone. A fundus photograph is a bright field, red before green before blue everywhere, on a dark surround
that leaves the corners dark; cropped out of one, it is at least evenly lit. Its light is neither lost nor burnt, and
its vessels make neighbours differ. Each limit is held against one plain measurement, so that anybody can see why. It is
advice: what a photograph shows, the analyser and people say.

Source: limits set on the pictures of `service/docs/precheck.md`, between those that must pass and those that must not.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LONGER_SIDE = 512

DARK_SURROUND = 24  # of 255: a pixel whose brightest channel is no brighter is not of the field
LEAST_FIELD = 0.05
LEAST_WARM = 0.85
MOST_LIT_CORNERS = 0.5
MOST_SPREAD = 135
LEAST_LIGHT = 60
MOST_BURNT = 0.1
LEAST_DETAIL = 0.02


class Advice(StrEnum):
    """What may be wrong with a photograph; codes of a Task's reasons."""

    NOT_A_FUNDUS = "precheck-not-a-fundus"
    TOO_DARK = "precheck-too-dark"
    TOO_BRIGHT = "precheck-too-bright"
    OUT_OF_FOCUS = "precheck-out-of-focus"


@dataclass(frozen=True, slots=True)
class Look:
    """Plain measurements of a photograph, most of its field: the pixels that have light.

    Attributes:
        field: share of the picture that has light, and `corners` of its four corners.
        warm: share of the field in which red is before green, and green not behind blue.
        spread: levels between the darkest and the brightest tenth of the field, by the brightest channel.
        light: median of the brightest channel.
        burnt: share of the field in which green is lost in white.
        detail: mean of green's Laplacian over green's mean; vessels and grain make it, blur takes it.
    """

    field: float
    corners: float
    warm: float
    spread: float
    light: float
    burnt: float
    detail: float


def advise(picture: bytes) -> tuple[Advice, ...]:
    """What speaks against paying for an analysis; nothing for most photographs.

    Args:
        picture: a JPEG or PNG that decodes, upright, in sRGB.
    """
    look = measure(picture)
    is_cropped = look.corners > MOST_LIT_CORNERS
    if look.field < LEAST_FIELD:
        return (Advice.TOO_DARK,)
    if look.burnt > MOST_BURNT:  # colours are lost with the light, so they tell nothing of what it is
        return (Advice.TOO_BRIGHT,)
    if look.warm < LEAST_WARM or (is_cropped and look.spread > MOST_SPREAD):
        return (Advice.NOT_A_FUNDUS,)  # how a picture of something else is lit does not matter
    found = {
        Advice.TOO_DARK: look.light < LEAST_LIGHT,
        Advice.OUT_OF_FOCUS: look.detail < LEAST_DETAIL,
    }
    return tuple(advice for advice, is_so in found.items() if is_so)


def measure(picture: bytes) -> Look:
    """Look at a photograph."""
    import numpy as np

    pixels = _small(picture)
    brightest = pixels.max(axis=2)
    field = brightest > DARK_SURROUND
    if not field.any():
        return Look(0, 0, 0, 0, 0, 0, 0)
    red, green, blue = (pixels[..., channel][field] for channel in range(3))
    low, middle, high = np.percentile(brightest[field], (10, 50, 90))
    return Look(
        field=float(field.mean()),
        corners=_lit_corners(field),
        warm=float(((red > green + 8) & (green >= blue - 6)).mean()),
        spread=float(high - low),
        light=float(middle),
        burnt=float((green >= 250).mean()),
        detail=_detail(pixels[..., 1], field),
    )


def _small(picture: bytes) -> NDArray[np.float32]:
    """(rows, columns, 3), of at most `LONGER_SIDE`; a JPEG is not decoded finer than that."""
    import numpy as np

    opened = Image.open(BytesIO(picture))
    opened.draft("RGB", (LONGER_SIDE, LONGER_SIDE))
    image = opened.convert("RGB")
    image.thumbnail((LONGER_SIDE, LONGER_SIDE), Image.Resampling.BOX)
    return np.asarray(image, dtype=np.float32)


def _lit_corners(field: NDArray[np.bool_]) -> float:
    side = max(1, min(field.shape) // 12)
    ends = (slice(None, side), slice(-side, None))
    return sum(float(field[rows, columns].mean()) for rows in ends for columns in ends) / 4


def _detail(green: NDArray[np.float32], field: NDArray[np.bool_]) -> float:
    """Away from the field's edge, which would pass for detail."""
    within, before, behind = slice(1, -1), slice(None, -2), slice(2, None)
    inner, laplacian = field[within, within], 4 * green[within, within]
    for at in ((within, before), (within, behind), (before, within), (behind, within)):
        inner = inner & field[at]
        laplacian = laplacian - green[at]
    return float(abs(laplacian[inner]).mean() / (green[field].mean() + 1)) if inner.any() else 0.0
