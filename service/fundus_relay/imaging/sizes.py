"""How large a photograph has to be, and may be."""

from __future__ import annotations

from fundus_relay.domain.errors import PictureTooLarge, PictureTooSmall
from fundus_relay.domain.geometry import Size

MAX_PIXELS = 100_000_000
LONGER_SIDE, SHORTER_SIDE = 1280, 1024
"""What the analyser asks for at least; we take either side as the longer one.

Source: Netra.AI API 1.0, "Minimum resolution 1.3 MP (1280 x 1024 pixels)".
"""


def is_enough(size: Size) -> bool:
    """Whether the analyser takes a picture of this size."""
    return max(size.columns, size.rows) >= LONGER_SIDE and min(size.columns, size.rows) >= SHORTER_SIDE


def check_size(size: Size, max_pixels: int) -> None:
    """Raises: PictureTooSmall, PictureTooLarge."""
    stated = f"{size.columns} x {size.rows} pixels"
    if size.pixels > max_pixels:
        raise PictureTooLarge(f"the picture has {stated}, more than {max_pixels} in all")
    if not is_enough(size):
        raise PictureTooSmall(f"the picture has {stated}; at least {LONGER_SIDE} x {SHORTER_SIDE} are needed")
