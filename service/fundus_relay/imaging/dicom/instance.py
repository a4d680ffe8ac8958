"""DICOM files: what the header says, and one frame's pixels.

How this works. `read_dicom` walks the header up to the pixel data and holds it against what is there: nothing is
believed that the bytes do not bear out. `frame_of` takes one frame out: a JPEG that any reader of JPEG shows as the
header means it is handed on bit for bit, everything else is decoded. pydicom and the codecs are foreign code at work on
foreign bytes; whatever they raise means that the file is not sound.

Source: DICOM PS3.3 (C.7.6.3, C.8.17), PS3.5 (A.4, A.5), PS3.10 (7.1), 2026; pydicom 3.0.2.
"""

from __future__ import annotations

from io import SEEK_CUR
from typing import TYPE_CHECKING

from fundus_relay.domain.dicom import DicomFacts, is_uid
from fundus_relay.domain.errors import DamagedPicture, PictureTooLarge, UnsupportedFormat

from .. import codestreams
from ..frame import Frame
from .file import EXPLICIT_LENGTH, PIXEL_DATA, Reader, View, foreign_code, open_header, plain_of, tags
from .header import facts_of
from .pixels import as_jpeg, codestream_of, decoded, native_samples, shown
from .syntaxes import LOSSY_JPEG, NATIVE, RLE, YBR

if TYPE_CHECKING:
    from pydicom.tag import BaseTag

MAX_FRAMES = 500


def read_dicom(file: bytes | memoryview, *, max_pixels: int) -> DicomFacts:
    """Read the header of one instance and hold it against its pixel data.

    Args:
        file: the whole of it.
        max_pixels: of one frame.

    Raises:
        DamagedPicture: no sound DICOM, or less pixel data than its header says.
        UnsupportedFormat: no pixels, or of a kind that is not read.
        PictureTooLarge: more pixels, frames or inflated bytes than we take.
    """
    header, length = open_header(file)
    with foreign_code():
        facts = facts_of(header)
        samples, allocated = int(header.SamplesPerPixel), int(header.BitsAllocated)
    if facts.transfer_syntax not in NATIVE | {RLE} | codestreams.SYNTAXES.keys():
        raise UnsupportedFormat(f"pixels of transfer syntax {_uid_or_none(facts.transfer_syntax)} are not read")
    if samples not in {1, 3} or allocated not in {8, 16}:
        raise UnsupportedFormat(f"DICOM pixels of {samples} samples and {allocated} bits are not read")
    if facts.photometric in YBR and allocated != 8:
        raise UnsupportedFormat(f"DICOM pixels in {facts.photometric} of {allocated} bits are not read")
    if facts.size.pixels > max_pixels:
        raise PictureTooLarge(f"the picture has more than {max_pixels} pixels")
    if facts.frames > MAX_FRAMES:
        raise PictureTooLarge(f"the instance has more than {MAX_FRAMES} frames")
    needed = facts.size.pixels * facts.frames * samples * allocated // 8
    if facts.photometric == "YBR_FULL_422":
        needed = needed * 2 // 3
    if facts.transfer_syntax in NATIVE and length < needed:
        raise DamagedPicture("the DICOM file has less pixel data than its header says")
    return facts


def frame_of(file: bytes | memoryview, frame: int) -> Frame:
    """One frame, from 1, of an instance that `read_dicom` took.

    Raises: DamagedPicture, UnsupportedFormat.
    """
    lengths: list[int] = []

    def at_pixels(tag: BaseTag, _: str | None, length: int) -> bool:
        lengths.extend([length] if (is_there := int(tag) == PIXEL_DATA) else [])
        return is_there

    with foreign_code(), memoryview(plain_of(file)) as plain, Reader(View(plain)) as stream:
        from pydicom.filereader import read_partial

        header = read_partial(stream, at_pixels, specific_tags=tags())
        syntax = str(header.file_meta.TransferSyntaxUID)
        if syntax in NATIVE:
            return shown(native_samples(plain[stream.tell() :], header, frame, lengths), header, syntax)
        if syntax == RLE:
            from pydicom.pixels.utils import pixel_array

            return shown(pixel_array(stream, index=frame - 1), header, syntax)
        stream.seek(EXPLICIT_LENGTH, SEEK_CUR)
        codestream = codestream_of(stream, header, frame)
        if syntax in LOSSY_JPEG and (found := as_jpeg(codestream, header)) is not None:
            return found
        return shown(decoded(codestream, header, syntax), header, syntax)


def _uid_or_none(stated: str) -> str:
    """A UID to be named in a message; what only stands in its place may be anybody's data."""
    return stated if is_uid(stated) else "that is no UID"
