"""Compressed pixels as DICOM carries them: JPEG of any precision, JPEG-LS and JPEG 2000, to samples.

How this works. A decoder makes room for what a codestream says of its own size, which is up to 2^32 pixels a side. So
the codestream's frame header is read first, and must say what the DICOM header says. Colours stay as they were coded,
except where undoing a transform is part of the coding itself (JPEG 2000): what they mean, the DICOM header knows.

Source: ITU-T T.81 B.2.2 (JPEG), T.87 C.2.2 (JPEG-LS), T.800 A.5.1 (JPEG 2000); DICOM PS3.5 8.2 and annex A.4, 2026;
imagecodecs 2026.3 with libjpeg-turbo 3, CharLS and OpenJPEG.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fundus_relay.domain.errors import DamagedPicture
from fundus_relay.domain.geometry import Size

from . import jpeg

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SIZ = b"\xff\x4f\xff\x51"  # a JPEG 2000 codestream begins so


def decode(codestream: bytes, syntax: str, size: Size, samples: int) -> NDArray[Any]:
    """Samples of one frame: (rows, columns) or (rows, columns, 3), 8 or 16 bits, signed if the codestream says so.

    Args:
        syntax: DICOM transfer syntax, one of `SYNTAXES`.
        size, samples: of a pixel, by the DICOM header.

    Raises:
        DamagedPicture: it is something else. Whatever the codecs raise means the same.
    """
    stated, decoded = SYNTAXES[syntax]
    if not codestream.rstrip(b"\0\xff").endswith(jpeg.END):  # the same in all of them; before it, padding
        raise DamagedPicture("a frame of the DICOM file is not whole")
    if stated(codestream) != (size, samples):
        raise DamagedPicture("the DICOM file states two sizes")
    pixels = decoded(codestream, samples)
    if samples > 1 and pixels.shape == (samples, size.rows, size.columns):
        pixels = pixels.transpose(1, 2, 0)
    if pixels.shape != (size.rows, size.columns, samples)[: 2 if samples == 1 else 3]:
        raise DamagedPicture("the pixels of the DICOM file are not what its header says")
    return pixels


def _stated_by_jpeg(codestream: bytes) -> tuple[Size, int]:
    """JPEG-LS and all processes of JPEG have the same frame header."""
    with memoryview(codestream) as data:
        return jpeg.raster_of(data, jpeg.header(data))


def _stated_by_jpeg_2000(codestream: bytes) -> tuple[Size, int]:
    """Boxes around the codestream, which DICOM does not allow, are passed over."""
    at = codestream.find(_SIZ)
    if at < 0:
        raise DamagedPicture("the JPEG 2000 codestream has no size")
    right, bottom, left, top = struct.unpack_from(">4I", codestream, at + 8)
    (components,) = struct.unpack_from(">H", codestream, at + 40)
    return Size(right - left, bottom - top), components


def _jpeg(codestream: bytes, samples: int) -> NDArray[Any]:
    import imagecodecs

    if samples == 1:
        return imagecodecs.jpeg8_decode(codestream)
    as_coded = imagecodecs.JPEG8.CS.RGB  # whatever they are: the same on both sides, so nothing is converted
    return imagecodecs.jpeg8_decode(codestream, colorspace=as_coded, outcolorspace=as_coded)


def _jpeg_ls(codestream: bytes, _: int) -> NDArray[Any]:
    import imagecodecs

    return imagecodecs.jpegls_decode(codestream)


def _jpeg_2000(codestream: bytes, _: int) -> NDArray[Any]:
    import imagecodecs

    return imagecodecs.jpeg2k_decode(codestream)


SYNTAXES: dict[str, tuple[Callable[[bytes], tuple[Size, int]], Callable[[bytes, int], NDArray[Any]]]] = {
    "1.2.840.10008.1.2.4.50": (_stated_by_jpeg, _jpeg),
    "1.2.840.10008.1.2.4.51": (_stated_by_jpeg, _jpeg),
    "1.2.840.10008.1.2.4.57": (_stated_by_jpeg, _jpeg),
    "1.2.840.10008.1.2.4.70": (_stated_by_jpeg, _jpeg),
    "1.2.840.10008.1.2.4.80": (_stated_by_jpeg, _jpeg_ls),
    "1.2.840.10008.1.2.4.81": (_stated_by_jpeg, _jpeg_ls),
    "1.2.840.10008.1.2.4.90": (_stated_by_jpeg_2000, _jpeg_2000),
    "1.2.840.10008.1.2.4.91": (_stated_by_jpeg_2000, _jpeg_2000),
}
