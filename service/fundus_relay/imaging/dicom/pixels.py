"""One frame of a DICOM file as people see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from PIL import Image

from fundus_relay.domain.errors import DamagedPicture, UnsupportedFormat
from fundus_relay.domain.geometry import Size

from .. import codestreams, jpeg
from ..frame import Frame
from .file import EXPLICIT_LENGTH, IMPLICIT_LENGTH
from .syntaxes import YBR

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset, FileDataset

_BAND = 256  # rows that are brought to 8 bits at once: between, a sample takes 4 bytes and more


def native_samples(element: memoryview, header: FileDataset, frame: int, lengths: Sequence[int]) -> NDArray[Any]:
    """Samples that no codec packed: a view of the file, if it can be one.

    Args:
        element: the file from the pixel data's tag on.
        lengths: of the pixel data, as the header's reader saw it. It forgives a file that states its VRs although its
            transfer syntax has none, or the other way round; there the samples begin elsewhere, all colours shifted.
    """
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.pixels.utils import as_pixel_options

    syntax = header.file_meta.TransferSyntaxUID
    begin = IMPLICIT_LENGTH if syntax.is_implicit_VR else EXPLICIT_LENGTH
    length = int.from_bytes(element[begin - 4 : begin], "little" if syntax.is_little_endian else "big")
    if [length] != lengths:
        raise DamagedPicture("the DICOM file is not written in the transfer syntax that it states")
    options = as_pixel_options(header, pixel_keyword="PixelData", view_only=True)
    if not syntax.is_implicit_VR:
        options["pixel_vr"] = bytes(element[4:6]).decode("ascii")
    samples: NDArray[Any] = get_decoder(syntax).as_array(element[begin : begin + length], index=frame - 1, **options)[0]
    return samples


def codestream_of(fragments: BinaryIO, header: Dataset, frame: int) -> bytes:
    from pydicom.encaps import get_frame

    return get_frame(fragments, frame - 1, number_of_frames=int(header.get("NumberOfFrames") or 1))


def as_jpeg(codestream: bytes, header: Dataset) -> Frame | None:
    """The frame's JPEG, if it has 8 bits; its colours are made plain where only the DICOM header tells of them."""
    end = codestream.rfind(jpeg.END)
    if not codestream.startswith(jpeg.START) or end < 0:
        raise DamagedPicture("a frame of the DICOM file is no whole JPEG")
    codestream = codestream[: end + 2]  # without the byte that makes its length even
    try:
        with memoryview(codestream) as data:
            jpeg.frame_of(data, jpeg.header(data))
            meaning = jpeg.colours_of(data)
    except UnsupportedFormat:  # 12 bits
        return None
    is_rgb = str(header.PhotometricInterpretation) == "RGB"
    if meaning is None or meaning.is_stated or meaning.is_rgb == is_rgb:
        return Frame(codestream, _profile(header), ("taken out of its DICOM file",))
    return Frame(
        jpeg.with_colours(codestream, is_rgb=is_rgb),
        _profile(header),
        ("taken out of its DICOM file", "colour model written into the JPEG"),
    )


def decoded(codestream: bytes, header: Dataset, syntax: str) -> NDArray[Any]:
    """What a codec gives, as pydicom gives it: RGB where colours are coded otherwise, signed where the header says."""
    import numpy as np

    size = Size(int(header.Columns), int(header.Rows))
    pixels = codestreams.decode(codestream, syntax, size, int(header.SamplesPerPixel))
    if str(header.PhotometricInterpretation) in YBR:  # JPEG 2000's own colours are undone by its codec
        return np.asarray(Image.frombytes("YCbCr", (size.columns, size.rows), pixels.tobytes()).convert("RGB"))
    if int(header.get("PixelRepresentation", 0)) and pixels.dtype.kind == "u":
        sign = 1 << (int(header.BitsStored) - 1)
        return ((pixels.astype(np.int32) & (2 * sign - 1)) ^ sign) - sign
    return pixels


def shown(pixels: NDArray[Any], header: Dataset, syntax: str) -> Frame:
    """Samples as people see them: a palette applied, 8 bits, bright where it is bright."""
    import numpy as np
    from pydicom.pixels.processing import apply_color_lut

    steps = [f"decoded from DICOM transfer syntax {syntax}"]
    photometric = str(header.PhotometricInterpretation)
    bits = int(header.BitsStored)
    if photometric == "PALETTE COLOR":
        bits = int(header.RedPaletteColorLookupTableDescriptor[2])
        pixels = apply_color_lut(pixels, header)
        bits = pixels.dtype.itemsize * 8 if bits == 8 and pixels.max(initial=0) > 255 else bits
        steps.append("palette applied")
        zero = 0
    else:
        zero = 1 << (bits - 1) if int(header.get("PixelRepresentation", 0)) else 0
    if bits != 8:
        steps.append(f"{bits} bits to 8")
    if bits != 8 or zero:
        pixels = _in_8_bits(pixels, bits, zero)
    pixels = pixels.astype(np.uint8, copy=False)
    if photometric == "MONOCHROME1":
        pixels = 255 - pixels
        steps.append("inverted: MONOCHROME1")
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if image.mode not in {"L", "RGB"} or image.size != (int(header.Columns), int(header.Rows)):
        raise DamagedPicture("the DICOM file's pixels are not what its header says")
    return Frame(image, _profile(header), tuple(steps))


def _in_8_bits(pixels: NDArray[Any], bits: int, zero: int) -> NDArray[np.uint8]:
    """Samples of so many bits, the darkest of which is `-zero`, as the nearest of 8 bits."""
    import numpy as np

    top = (1 << bits) - 1
    result = np.empty(pixels.shape, np.uint8)
    for at in range(0, len(pixels), _BAND):
        band = pixels[at : at + _BAND].astype(np.int64) + zero
        result[at : at + _BAND] = (np.clip(band, 0, top) * 510 + top) // (2 * top)
    return result


def _profile(header: Dataset) -> bytes:
    return bytes(header.get("ICCProfile") or b"")
