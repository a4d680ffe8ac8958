"""Rasters that are made of other ones, with as little as possible of both in memory.

How this works. Pillow takes four bytes for a pixel of three colours. So the raster that a smaller or a turned one is
made of is packed first, let go, and unpacked a band at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, floor

from PIL import Image

from fundus_relay.domain.geometry import Size

_BAND = 64  # rows that are made at once
_LANCZOS_REACH = 3  # source pixels of a result's pixel, at either side, for each that the result's is wide

Rows = Callable[[int, int], Image.Image]
"""The rows of a raster from one up to another."""


class Packed:
    """An RGB raster in three bytes a pixel. Whoever makes one of the only reference to a Pillow image lets that go."""

    def __init__(self, image: Image.Image) -> None:
        self.size = Size(*image.size)
        self._stride = 3 * image.width
        self._bytes = bytearray(self._stride * image.height)
        for top, bottom in _bands(image.height):
            band = rows_of(image)(top, bottom)
            self._bytes[top * self._stride : bottom * self._stride] = band.tobytes()

    def rows(self, top: int, bottom: int) -> Image.Image:
        part = memoryview(self._bytes)[top * self._stride : bottom * self._stride]
        return Image.frombytes("RGB", (self.size.columns, bottom - top), part)

    def turned(self, turn: Image.Transpose) -> Image.Image:
        """As Pillow's `transpose` does it."""
        size = self.size.transposed if turn in _SWAPPING else self.size
        result = Image.new("RGB", (size.columns, size.rows))
        for top, bottom in _bands(self.size.rows):
            along = self.size.rows - bottom if turn in _FROM_THE_END else top
            result.paste(self.rows(top, bottom).transpose(turn), (along, 0) if turn in _SWAPPING else (0, along))
        return result


_SWAPPING = {
    Image.Transpose.TRANSPOSE,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
    Image.Transpose.ROTATE_270,
}
_FROM_THE_END = {
    Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.ROTATE_180,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE,
}


def rows_of(image: Image.Image) -> Rows:
    return lambda top, bottom: image.crop((0, top, image.width, bottom))


def scaled(rows: Rows, size: Size, to: Size) -> Image.Image:
    """An RGB raster at another size, by Lanczos' filter.

    Args:
        rows: those of the raster of `size`.
    """
    result = Image.new("RGB", (to.columns, to.rows))
    step = size.rows / to.rows
    reach = ceil(_LANCZOS_REACH * max(step, 1.0)) + 1  # the filter looks at the rows beside, too
    for top, bottom in _bands(to.rows):
        first = max(0, floor(top * step) - reach)
        seen = rows(first, min(size.rows, ceil(bottom * step) + reach))
        box = (0, top * step - first, size.columns, min(bottom * step - first, seen.height))
        result.paste(seen.resize((to.columns, bottom - top), Image.Resampling.LANCZOS, box=box), (0, top))
    return result


def _bands(rows: int) -> list[tuple[int, int]]:
    return [(top, min(rows, top + _BAND)) for top in range(0, rows, _BAND)]
