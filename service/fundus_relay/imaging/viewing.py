"""A photograph as a person looks at it: upright, in sRGB, no larger than a screen.

It is made of the prepared picture, which is upright, in sRGB and free of metadata already, whatever file or frame the
photograph came in; see `preparation`.
"""

from __future__ import annotations

from io import BytesIO

from PIL import Image

from fundus_relay.domain.errors import DamagedPicture
from fundus_relay.domain.geometry import Size

from .raster import rows_of, scaled

LONGEST = 2000
"""Pixels of the longer side."""


def view(prepared: bytes, *, longest: int = LONGEST) -> Image.Image:
    """The picture, scaled down when it is larger; never up.

    A JPEG is decoded at a half, a quarter or an eighth of its size where that is enough.

    Args:
        prepared: the file that was made for the analyser, JPEG or PNG.

    Raises:
        DamagedPicture: it does not decode.
    """
    try:
        file = Image.open(BytesIO(prepared), formats=["JPEG", "PNG"])
        size = smaller(Size(*file.size), longest)
        file.draft("RGB", (size.columns, size.rows))
        file.load()
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as exc:  # of broken files
        raise DamagedPicture("the prepared picture does not decode") from exc
    image = file.convert("RGB") if file.mode != "RGB" else file
    return scaled(rows_of(image), seen, size) if size != (seen := Size(*image.size)) else image


def smaller(size: Size, longest: int) -> Size:
    """A size of the same shape whose longer side is `longest` at most."""
    factor = min(1.0, longest / max(size.columns, size.rows))
    return Size(max(1, round(size.columns * factor)), max(1, round(size.rows * factor)))
