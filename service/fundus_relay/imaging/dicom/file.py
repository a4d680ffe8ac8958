"""The bytes of a DICOM file as pydicom reads them: in place, within bounds, up to the pixel data."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from io import BufferedReader, RawIOBase
from typing import TYPE_CHECKING, Any

from fundus_relay.domain.dicom import DICOM_START, is_dicom
from fundus_relay.domain.errors import DamagedPicture, PictureTooLarge, Rejected, UnsupportedFormat

from .syntaxes import DEFLATED, EXPLICIT_LITTLE

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset
    from pydicom.tag import BaseTag

_MAX_INFLATED = 300_000_000  # the raster of 100 megapixels
_INFLATED_AT_ONCE = 1 << 20
_MOST_PIECES = 200_000  # headers have some hundreds of elements; millions of empty ones serve to keep a reader busy

PIXEL_DATA = 0x7FE00010
EXPLICIT_LENGTH = 12  # bytes of tag, VR and length before pixel data whose VR is stated
IMPLICIT_LENGTH = 8
_PIXELS_ELSEWHERE = frozenset({0x7FE00008, 0x7FE00009, 0x00420011})  # float pixels, double, an encapsulated document

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


@contextmanager
def foreign_code() -> Iterator[None]:
    """Whatever pydicom and its codecs raise on bytes from outside means that the file is not sound."""
    try:
        yield
    except (Rejected, MemoryError):
        raise
    except Exception as exc:
        raise DamagedPicture("the DICOM file cannot be read") from exc


class View(RawIOBase):
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


class Reader(BufferedReader):
    """Reads a file of pydicom's in as many pieces as a sound one needs: each element, at any depth, is one or more."""

    _pieces = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self._pieces += 1
        if self._pieces > _MOST_PIECES:
            raise DamagedPicture("the DICOM file has more elements than a photograph needs")
        return super().read(size)


def open_header(file: bytes | memoryview) -> tuple[FileDataset, int]:
    """Everything before the pixel data, and the length that this is said to have."""
    from pydicom.filereader import read_partial

    lengths: list[int] = []
    elsewhere: list[int] = []

    def at_pixels(tag: BaseTag, _: str | None, length: int) -> bool:
        if tag == PIXEL_DATA:
            lengths.append(length)
        elif tag in _PIXELS_ELSEWHERE:
            elsewhere.append(tag)
        return bool(lengths or elsewhere)

    with memoryview(file) as data, foreign_code():
        plain = plain_of(data)
        with memoryview(plain) as view, Reader(View(view)) as stream:
            header = read_partial(stream, at_pixels, specific_tags=tags())
            left = len(view) - stream.tell()
        if not lengths:
            kind = "a document" if 0x00420011 in elsewhere else "no photograph"
            raise UnsupportedFormat(f"the DICOM file holds {kind}")
    return header, min(lengths[0], left) if lengths[0] != 0xFFFFFFFF else left


@cache
def tags() -> list[BaseTag | int]:
    from pydicom.datadict import tag_for_keyword

    return [tag for name in _HEADER if (tag := tag_for_keyword(name)) is not None]


def plain_of(data: bytes | memoryview) -> bytes | memoryview:
    """The file, inflated within bounds when it is deflated behind its meta information.

    The meta information is read as pydicom will read it again: what looked deflated to that reader alone, it would
    inflate without any bound.
    """
    if not is_dicom(bytes(data[:DICOM_START])):
        raise DamagedPicture("the file does not begin like DICOM")
    syntax, end = _meta_information(data)
    if syntax != DEFLATED:
        return data
    deflated = DEFLATED.encode()
    plain = bytearray(data[:end]).replace(deflated, EXPLICIT_LITTLE.encode().ljust(len(deflated), b"\0"))
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

    with memoryview(data) as whole, Reader(View(whole)) as stream:
        stream.seek(DICOM_START)
        meta = read_dataset(stream, is_implicit_VR=False, is_little_endian=True, stop_when=_is_behind_meta)
        return str(meta.get("TransferSyntaxUID", "")), stream.tell()


def _is_behind_meta(tag: BaseTag, _: str | None, __: int) -> bool:
    return tag.group != 2
