"""How a camera was held: the EXIF orientation and what it means for coordinates.

Source: CIPA DC-008 (Exif 3.0), tag 0x0112 Orientation.
"""

from __future__ import annotations

import struct

from fundus_relay.domain.geometry import IDENTITY, Affine, Size

ORIENTATION_TAG = 0x0112
UPRIGHT = 1
_SHORT = 3


def orientation_of(exif: bytes) -> int:
    """The orientation that an EXIF block states.

    Args:
        exif: the TIFF structure, without the `Exif` signature that JPEG puts before it.

    Returns:
        1 to 8; 1 when nothing readable is stated, as viewers take it.
    """
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return UPRIGHT
    try:
        (directory,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, directory)
        for entry in range(directory + 2, directory + 2 + 12 * count, 12):
            tag, kind, values, value = struct.unpack_from(f"{order}HHIH", exif, entry)
            if tag == ORIENTATION_TAG:
                return value if kind == _SHORT and values == 1 and 1 <= value <= 8 else UPRIGHT
    except struct.error:  # a directory beyond the end: a broken block states nothing
        pass
    return UPRIGHT


def is_transposed(orientation: int) -> bool:
    """Whether columns become rows when such a picture is turned upright."""
    return orientation >= 5


def upright_size(orientation: int, stored: Size) -> Size:
    """The size of a picture after it was turned upright."""
    return stored.transposed if is_transposed(orientation) else stored


def to_stored(orientation: int, stored: Size) -> Affine:
    """The map from pixels of the upright picture to pixels of the raster as stored in the file.

    Args:
        orientation: 1 to 8.
        stored: size of the raster in the file.
    """
    w, h = stored.columns, stored.rows
    return {
        1: IDENTITY,
        2: Affine(-1, 0, w, 0, 1, 0),
        3: Affine(-1, 0, w, 0, -1, h),
        4: Affine(1, 0, 0, 0, -1, h),
        5: Affine(0, 1, 0, 1, 0, 0),
        6: Affine(0, 1, 0, -1, 0, h),
        7: Affine(0, -1, w, -1, 0, h),
        8: Affine(0, -1, w, 1, 0, 0),
    }[orientation]
