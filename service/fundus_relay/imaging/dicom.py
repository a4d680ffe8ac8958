"""DICOM files: what the header says, and one frame's pixels.

How this works. `read_dicom` walks the header up to the pixel data and holds it against what is there: nothing is
believed that the bytes do not bear out. `frame_of` takes one frame out: a JPEG that any reader of JPEG shows as the
header means it is handed on bit for bit, everything else is decoded. pydicom and the codecs are foreign code at work on
foreign bytes; whatever they raise means that the file is not sound.

Source: DICOM PS3.3 (C.7.6.3, C.8.17), PS3.5 (A.4, A.5), PS3.10 (7.1), 2026; pydicom 3.0.2.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from functools import cache
from io import SEEK_CUR, BufferedReader, RawIOBase
from typing import TYPE_CHECKING, Any, BinaryIO

from PIL import Image

from fundus_relay.domain.dicom import DICOM_START, DicomFacts, InstanceName, is_dicom, is_uid
from fundus_relay.domain.errors import DamagedPicture, PictureTooLarge, Rejected, UnsupportedFormat
from fundus_relay.domain.geometry import Size
from fundus_relay.domain.laterality import LEFT_EYE, RIGHT_EYE, Laterality

from . import codestreams, jpeg
from .frame import Frame

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset, FileDataset
    from pydicom.tag import BaseTag

MAX_FRAMES = 500
_MAX_INFLATED = 300_000_000  # the raster of 100 megapixels
_INFLATED_AT_ONCE = 1 << 20
_MOST_PIECES = 200_000  # headers have some hundreds of elements; millions of empty ones serve to keep a reader busy

_IMPLICIT_LITTLE = "1.2.840.10008.1.2"
_EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_EXPLICIT_BIG = "1.2.840.10008.1.2.2"
_NATIVE = frozenset({_IMPLICIT_LITTLE, _EXPLICIT_LITTLE, _DEFLATED, _EXPLICIT_BIG})
_LOSSY_JPEG = frozenset({"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"})
_RLE = "1.2.840.10008.1.2.5"
_YBR = frozenset({"YBR_FULL", "YBR_FULL_422"})

_PIXEL_DATA = 0x7FE00010
_EXPLICIT_LENGTH = 12  # bytes of tag, VR and length before pixel data whose VR is stated
_IMPLICIT_LENGTH = 8
_BAND = 256  # rows that are brought to 8 bits at once: between, a sample takes 4 bytes and more
_PIXELS_ELSEWHERE = frozenset({0x7FE00008, 0x7FE00009, 0x00420011})  # float pixels, double, an encapsulated document
_DATE = re.compile(r"(\d{4})(\d{2})(\d{2})")
_TIME = re.compile(r"(\d{2})(\d{2})(\d{2})(?:\.(\d{1,6}))?")
_OFFSET = re.compile(r"([+-])(\d{2})(\d{2})")
_MOMENT = re.compile(r"(\d{8})(\d{6}(?:\.\d{1,6})?)([+-]\d{4})?")

_HEADER = (
    "SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality",
    "PatientID", "ImageLaterality", "Laterality", "AnatomicRegionSequence", "BurnedInAnnotation",
    "AcquisitionDateTime", "AcquisitionDate", "AcquisitionTime", "ContentDate", "ContentTime",
    "TimezoneOffsetFromUTC", "Manufacturer", "ManufacturerModelName", "HorizontalFieldOfView", "PupilDilated",
    "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored",
    "HighBit", "PixelRepresentation", "PlanarConfiguration", "ICCProfile", "PixelData", "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths", "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData", "SegmentedRedPaletteColorLookupTableData",
    "SegmentedGreenPaletteColorLookupTableData", "SegmentedBluePaletteColorLookupTableData",
)  # fmt: skip
"""All that is read; the rest of a header, with all that it says of a person, never becomes a value."""


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
    header, length = _header(file)
    with _foreign_code():
        facts = _facts(header)
        samples, allocated = int(header.SamplesPerPixel), int(header.BitsAllocated)
    if facts.transfer_syntax not in _NATIVE | {_RLE} | codestreams.SYNTAXES.keys():
        raise UnsupportedFormat(f"pixels of transfer syntax {_uid_or_none(facts.transfer_syntax)} are not read")
    if samples not in {1, 3} or allocated not in {8, 16}:
        raise UnsupportedFormat(f"DICOM pixels of {samples} samples and {allocated} bits are not read")
    if facts.photometric in _YBR and allocated != 8:
        raise UnsupportedFormat(f"DICOM pixels in {facts.photometric} of {allocated} bits are not read")
    if facts.size.pixels > max_pixels:
        raise PictureTooLarge(f"the picture has more than {max_pixels} pixels")
    if facts.frames > MAX_FRAMES:
        raise PictureTooLarge(f"the instance has more than {MAX_FRAMES} frames")
    needed = facts.size.pixels * facts.frames * samples * allocated // 8
    if facts.photometric == "YBR_FULL_422":
        needed = needed * 2 // 3
    if facts.transfer_syntax in _NATIVE and length < needed:
        raise DamagedPicture("the DICOM file has less pixel data than its header says")
    return facts


def frame_of(file: bytes | memoryview, frame: int) -> Frame:
    """One frame, from 1, of an instance that `read_dicom` took.

    Raises: DamagedPicture, UnsupportedFormat.
    """
    lengths: list[int] = []

    def at_pixels(tag: BaseTag, _: str | None, length: int) -> bool:
        lengths.extend([length] if (is_there := int(tag) == _PIXEL_DATA) else [])
        return is_there

    with _foreign_code(), memoryview(_plain(file)) as plain, _Reader(_View(plain)) as stream:
        from pydicom.filereader import read_partial

        header = read_partial(stream, at_pixels, specific_tags=_tags())
        syntax = str(header.file_meta.TransferSyntaxUID)
        if syntax in _NATIVE:
            return _shown(_native_samples(plain[stream.tell() :], header, frame, lengths), header, syntax)
        if syntax == _RLE:
            from pydicom.pixels.utils import pixel_array

            return _shown(pixel_array(stream, index=frame - 1), header, syntax)
        stream.seek(_EXPLICIT_LENGTH, SEEK_CUR)
        codestream = _codestream(stream, header, frame)
        if syntax in _LOSSY_JPEG and (found := _as_jpeg(codestream, header)) is not None:
            return found
        return _shown(_samples(codestream, header, syntax), header, syntax)


# ------------------------------------------------------------------------------------------------------------- header


@contextmanager
def _foreign_code() -> Iterator[None]:
    """Whatever pydicom and its codecs raise on bytes from outside means that the file is not sound."""
    try:
        yield
    except (Rejected, MemoryError):
        raise
    except Exception as exc:
        raise DamagedPicture("the DICOM file cannot be read") from exc


class _View(RawIOBase):
    """Bytes as a file, without copying them."""

    name = ""  # pydicom asks for it

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + (0, self._at, len(self._data))[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:  # Any: a writable buffer
        part = self._data[self._at : self._at + len(buffer)]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)


class _Reader(BufferedReader):
    """Reads a file of pydicom's in as many pieces as a sound one needs: each element, at any depth, is one or more."""

    _pieces = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self._pieces += 1
        if self._pieces > _MOST_PIECES:
            raise DamagedPicture("the DICOM file has more elements than a photograph needs")
        return super().read(size)


def _header(file: bytes | memoryview) -> tuple[FileDataset, int]:
    """Everything before the pixel data, and the length that this is said to have."""
    from pydicom.filereader import read_partial

    lengths: list[int] = []
    elsewhere: list[int] = []

    def at_pixels(tag: BaseTag, _: str | None, length: int) -> bool:
        if tag == _PIXEL_DATA:
            lengths.append(length)
        elif tag in _PIXELS_ELSEWHERE:
            elsewhere.append(tag)
        return bool(lengths or elsewhere)

    with memoryview(file) as data, _foreign_code():
        plain = _plain(data)
        with memoryview(plain) as view, _Reader(_View(view)) as stream:
            header = read_partial(stream, at_pixels, specific_tags=_tags())
            left = len(view) - stream.tell()
        if not lengths:
            kind = "a document" if 0x00420011 in elsewhere else "no photograph"
            raise UnsupportedFormat(f"the DICOM file holds {kind}")
    return header, min(lengths[0], left) if lengths[0] != 0xFFFFFFFF else left


@cache
def _tags() -> list[BaseTag | int]:
    from pydicom.datadict import tag_for_keyword

    return [tag for name in _HEADER if (tag := tag_for_keyword(name)) is not None]


def _plain(data: bytes | memoryview) -> bytes | memoryview:
    """The file, inflated within bounds when it is deflated behind its meta information.

    The meta information is read as pydicom will read it again: what looked deflated to that reader alone, it would
    inflate without any bound.
    """
    if not is_dicom(bytes(data[:DICOM_START])):
        raise DamagedPicture("the file does not begin like DICOM")
    syntax, end = _meta_information(data)
    if syntax != _DEFLATED:
        return data
    deflated = _DEFLATED.encode()
    plain = bytearray(data[:end]).replace(deflated, _EXPLICIT_LITTLE.encode().ljust(len(deflated), b"\0"))
    inflater, rest = zlib.decompressobj(-zlib.MAX_WBITS), data[end:]
    while rest and not inflater.eof:
        if len(plain) > _MAX_INFLATED:
            raise PictureTooLarge(f"the DICOM file inflates to more than {_MAX_INFLATED} bytes")
        plain += inflater.decompress(rest, _INFLATED_AT_ONCE)
        rest = inflater.unconsumed_tail
    if not inflater.eof:
        raise DamagedPicture("the DICOM file ends inside its deflated part")
    return memoryview(plain).toreadonly()


def _meta_information(data: bytes | memoryview) -> tuple[str, int]:
    """The transfer syntax that it states, and where it ends."""
    from pydicom.filereader import read_dataset

    with memoryview(data) as whole, _Reader(_View(whole)) as stream:
        stream.seek(DICOM_START)
        meta = read_dataset(stream, is_implicit_VR=False, is_little_endian=True, stop_when=_is_behind_meta)
        return str(meta.get("TransferSyntaxUID", "")), stream.tell()


def _is_behind_meta(tag: BaseTag, _: str | None, __: int) -> bool:
    return tag.group != 2


def _facts(header: FileDataset) -> DicomFacts:
    return DicomFacts(
        name=InstanceName(str(header.StudyInstanceUID), str(header.SeriesInstanceUID), str(header.SOPInstanceUID)),
        sop_class=str(header.get("SOPClassUID", "")),
        modality=_text(header, "Modality"),
        transfer_syntax=str(header.file_meta.TransferSyntaxUID),
        photometric=_text(header, "PhotometricInterpretation"),
        size=Size(int(header.Columns), int(header.Rows)),
        frames=max(1, int(header.get("NumberOfFrames") or 1)),
        patient_id=_text(header, "PatientID"),
        image_laterality=_text(header, "ImageLaterality"),
        series_laterality=_text(header, "Laterality"),
        regions=tuple(sorted(_regions(header.get("AnatomicRegionSequence") or ()))),
        is_burned_in=_text(header, "BurnedInAnnotation") == "YES",
        captured=_captured(header),
        camera=" ".join(filter(None, (_text(header, "Manufacturer"), _text(header, "ManufacturerModelName")))),
        field_of_view=float(header.HorizontalFieldOfView) if header.get("HorizontalFieldOfView") else None,
        is_dilated={"YES": True, "NO": False}.get(_text(header, "PupilDilated")),
    )


def _uid_or_none(stated: str) -> str:
    """A UID to be named in a message; what only stands in its place may be anybody's data."""
    return stated if is_uid(stated) else "that is no UID"


def _text(header: Dataset, name: str) -> str:
    value = header.get(name)
    return str(value).strip(" \0") if value is not None else ""


_SRT = {"G-A100": Laterality.RIGHT, "G-A101": Laterality.LEFT}
"""Right and left in DICOM's older coding scheme.

Source: pydicom 3.0.2, sr/_snomed_dict (SRT to SCT), where they are 24028007 and 7771000.
"""


def _regions(sequence: Sequence[Dataset]) -> set[Laterality]:
    """Eyes that anatomic regions and their modifiers name."""
    found: set[Laterality] = set()
    for item in sequence:
        for code in (item, *(item.get("AnatomicRegionModifierSequence") or ())):
            value = _text(code, "CodeValue")
            if _text(code, "CodingSchemeDesignator") == "SCT":
                found |= {Laterality.RIGHT} if value in RIGHT_EYE else set()
                found |= {Laterality.LEFT} if value in LEFT_EYE else set()
            elif value in _SRT:
                found.add(_SRT[value])
    return found


def _captured(header: Dataset) -> str | None:
    """When the photograph was taken, as a FHIR dateTime: a time of day only where its offset is known."""
    stated_offset = _text(header, "TimezoneOffsetFromUTC")
    if moment := _MOMENT.fullmatch(_text(header, "AcquisitionDateTime")):
        return _moment(moment[1], moment[2], moment[3] or stated_offset)
    for name in ("Acquisition", "Content"):
        if found := _moment(_text(header, f"{name}Date"), _text(header, f"{name}Time"), stated_offset):
            return found
    return None


def _moment(on: str, at: str, offset: str) -> str | None:
    day, clock, zone = _DATE.fullmatch(on), _TIME.fullmatch(at), _OFFSET.fullmatch(offset)
    try:
        found = date(*map(int, day.groups())).isoformat() if day else None
    except ValueError:
        return None
    if found is None or clock is None or zone is None or int(clock[1]) > 23 or int(clock[2]) > 59 or int(clock[3]) > 59:
        return found
    fraction = f".{clock[4]}" if clock[4] else ""
    return f"{found}T{clock[1]}:{clock[2]}:{clock[3]}{fraction}{zone[1]}{zone[2]}:{zone[3]}"


# ------------------------------------------------------------------------------------------------------------- pixels


def _native_samples(element: memoryview, header: FileDataset, frame: int, lengths: Sequence[int]) -> NDArray[Any]:
    """Samples that no codec packed: a view of the file, if it can be one.

    Args:
        element: the file from the pixel data's tag on.
        lengths: of the pixel data, as the header's reader saw it. It forgives a file that states its VRs although its
            transfer syntax has none, or the other way round; there the samples begin elsewhere, all colours shifted.
    """
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.pixels.utils import as_pixel_options

    syntax = header.file_meta.TransferSyntaxUID
    begin = _IMPLICIT_LENGTH if syntax.is_implicit_VR else _EXPLICIT_LENGTH
    length = int.from_bytes(element[begin - 4 : begin], "little" if syntax.is_little_endian else "big")
    if [length] != lengths:
        raise DamagedPicture("the DICOM file is not written in the transfer syntax that it states")
    options = as_pixel_options(header, pixel_keyword="PixelData", view_only=True)
    if not syntax.is_implicit_VR:
        options["pixel_vr"] = bytes(element[4:6]).decode("ascii")
    samples: NDArray[Any] = get_decoder(syntax).as_array(element[begin : begin + length], index=frame - 1, **options)[0]
    return samples


def _codestream(fragments: BinaryIO, header: Dataset, frame: int) -> bytes:
    from pydicom.encaps import get_frame

    return get_frame(fragments, frame - 1, number_of_frames=int(header.get("NumberOfFrames") or 1))


def _as_jpeg(codestream: bytes, header: Dataset) -> Frame | None:
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


def _samples(codestream: bytes, header: Dataset, syntax: str) -> NDArray[Any]:
    """What a codec gives, as pydicom gives it: RGB where colours are coded otherwise, signed where the header says."""
    import numpy as np

    size = Size(int(header.Columns), int(header.Rows))
    pixels = codestreams.decode(codestream, syntax, size, int(header.SamplesPerPixel))
    if str(header.PhotometricInterpretation) in _YBR:  # JPEG 2000's own colours are undone by its codec
        return np.asarray(Image.frombytes("YCbCr", (size.columns, size.rows), pixels.tobytes()).convert("RGB"))
    if int(header.get("PixelRepresentation", 0)) and pixels.dtype.kind == "u":
        sign = 1 << (int(header.BitsStored) - 1)
        return ((pixels.astype(np.int32) & (2 * sign - 1)) ^ sign) - sign
    return pixels


def _shown(pixels: NDArray[Any], header: Dataset, syntax: str) -> Frame:
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
