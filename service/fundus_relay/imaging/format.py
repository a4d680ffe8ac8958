"""What a file's bytes are: cheap, decisive, without decoding a pixel.

Intake asks this of every request, so only headers are walked (JPEG, TIFF, DICOM) or checksums computed (PNG). Whether
the pixels really decode, `preparation` finds out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from mmap import mmap
from typing import Literal

from fundus_relay.domain.dicom import DICOM_START, DicomFacts, is_dicom
from fundus_relay.domain.errors import DamagedPicture, NotAPicture, UnsupportedFormat
from fundus_relay.domain.geometry import Size

from . import directories, jpeg, png, tiff
from .orientation import orientation_of
from .sizes import MAX_PIXELS, check_size

MediaType = Literal["image/jpeg", "image/png", "image/tiff", "application/dicom"]
Bytes = bytes | bytearray | memoryview | mmap
_TAIL_STEP = 1 << 16


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """What the headers of a picture file say.

    Attributes:
        size: of the raster as stored, before any EXIF turn.
        orientation: EXIF's, or TIFF's, orientation, 1 to 8; 1 when none is stated.
        channels: 1 grey or palette, 2 grey and alpha, 3 colours, 4 CMYK (JPEG, TIFF) or colours and alpha (PNG, TIFF).
        bits: per channel.
        has_palette: PNG and TIFF.
        is_progressive: progressive JPEG or interlaced PNG.
        frames: how many pictures of this size the file holds.
    """

    media_type: MediaType
    size: Size
    orientation: int = 1
    channels: int = 3
    bits: int = 8
    has_palette: bool = False
    is_progressive: bool = False
    frames: int = 1


def examine(picture: Bytes, *, max_pixels: int = MAX_PIXELS) -> PictureFacts:
    """What `examine_file` says of a picture file, without the header of a DICOM file."""
    return examine_file(picture, max_pixels=max_pixels)[0]


def examine_file(picture: Bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[PictureFacts, DicomFacts | None]:
    """Say what a picture file is, or why it cannot be analysed.

    Grey, CMYK, palette, 16-bit and transparent pictures are taken; `preparation.prepare` makes them 8-bit RGB.

    Args:
        picture: the whole file; a memory map is read only where needed.
        max_pixels: a picture whose header claims more is refused unread.

    Returns:
        What it is and, of a DICOM file, what its header says.

    Raises:
        NotAPicture, UnsupportedFormat, SeveralPictures, DamagedPicture, PictureTooSmall, PictureTooLarge
    """
    with memoryview(picture) as data:
        media_type = media_type_of(data)
        if media_type == "application/dicom":
            from .dicom import read_dicom  # its libraries are large, and most files are no DICOM

            header = read_dicom(data, max_pixels=max_pixels)
            return examine_dicom(header, max_pixels=max_pixels), header
        if media_type == "image/tiff":
            return _examine_tiff(data, max_pixels), None
        if media_type == "image/jpeg":
            walked = list(jpeg.header(data))
            facts = jpeg_facts(data, walked)
            check_size(facts.size, max_pixels)
            _check_jpeg_end(data, behind=walked[-1].end)
        else:
            facts = _png_facts(data)
            check_size(facts.size, max_pixels)
            facts = _with_png_chunks(data, facts)
    return facts, None


def media_type_of(picture: Bytes) -> MediaType:
    """The format by the first bytes, whatever a sender calls it.

    Raises:
        NotAPicture: no picture format that we know.
        UnsupportedFormat: another picture format, named in the message.
    """
    start = bytes(picture[:DICOM_START])
    if start.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if start.startswith(png.SIGNATURE):
        return "image/png"
    if directories.is_tiff(start):
        return "image/tiff"
    if is_dicom(start):
        return "application/dicom"
    if not start:
        raise NotAPicture("the picture has no bytes")
    if (other := _other_format(start)) is not None:
        raise UnsupportedFormat(f"{other} is not supported: send JPEG, PNG, TIFF or DICOM")
    raise NotAPicture("the bytes are neither JPEG, PNG, TIFF nor DICOM")


def _other_format(start: bytes) -> str | None:
    if start[4:8] == b"ftyp":
        return {b"avif": "AVIF", b"avis": "AVIF"}.get(start[8:12], "HEIC")
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WebP"
    signatures = {
        b"GIF8": "GIF",
        b"BM": "BMP",
        b"\x00\x00\x00\x0cjP  ": "JPEG 2000",
        b"\xff\x4f\xff\x51": "JPEG 2000",
        b"\x00\x00\x00\x0cJXL ": "JPEG XL",
        b"\xff\x0a": "JPEG XL",
        b"%PDF": "PDF",
    }
    return next((name for signature, name in signatures.items() if start.startswith(signature)), None)


def examine_dicom(header: DicomFacts, *, max_pixels: int = MAX_PIXELS) -> PictureFacts:
    """`examine` of a DICOM file whose header is read already.

    Raises: PictureTooSmall, PictureTooLarge
    """
    check_size(header.size, max_pixels)
    return PictureFacts(media_type="application/dicom", size=header.size, frames=header.frames)


def _examine_tiff(data: memoryview, max_pixels: int) -> PictureFacts:
    directory = directories.photograph_in(data)
    check_size(directory.size, max_pixels)
    page = tiff.page_of(directory)
    return PictureFacts(
        media_type="image/tiff",
        size=page.size,
        orientation=page.orientation,
        channels=page.samples,
        bits=page.bits,
        has_palette=bool(page.palette),
    )


def jpeg_facts(data: memoryview, walked: Sequence[jpeg.Segment] | None = None) -> PictureFacts:
    """What the header of a JPEG says, whatever its size.

    Args:
        walked: its segments up to the first scan, if they are known.

    Raises: DamagedPicture, UnsupportedFormat.
    """
    walked = list(jpeg.header(data)) if walked is None else walked
    frame = jpeg.frame_of(data, walked)
    return PictureFacts(
        media_type="image/jpeg",
        size=frame.size,
        orientation=orientation_of(jpeg.exif_of(data, walked)),
        channels=frame.components,
        is_progressive=frame.is_progressive,
    )


def _check_jpeg_end(data: memoryview, *, behind: int) -> None:
    """See that an end-of-image marker stands behind the first scan's header; one of a thumbnail lies before it.

    Cameras append things behind it, so the search goes backwards from the end, where it nearly always is.
    """
    upper = len(data)
    while upper > behind:
        lower = max(behind, upper - _TAIL_STEP)
        if jpeg.END in bytes(data[lower : upper + 1]):
            return
        upper = lower
    raise DamagedPicture("the JPEG has no end-of-image marker: it is truncated")


def _png_facts(data: memoryview) -> PictureFacts:
    header = png.header_of(data)
    return PictureFacts(
        media_type="image/png",
        size=header.size,
        channels=header.channels,
        bits=header.bits,
        has_palette=header.has_palette,
        is_progressive=header.is_interlaced,
    )


def _with_png_chunks(data: memoryview, facts: PictureFacts) -> PictureFacts:
    names, orientation = set(), 1
    for chunk in png.chunks(data):
        names.add(chunk.name)
        if chunk.name == b"eXIf":
            orientation = orientation_of(bytes(data[chunk.body : chunk.end]))
    if b"IDAT" not in names:
        raise DamagedPicture("the PNG has no picture data")
    return replace(facts, orientation=orientation)
