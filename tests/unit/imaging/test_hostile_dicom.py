"""DICOM files that are built to keep a reader busy, to fill its memory, or to say what is not so."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless
from tests.dicom_files import a_scene, dicom_file, dicom_jpeg
from tests.unit.imaging.pictures import a_jpeg

from fundus_relay.domain.errors import DamagedPicture, PictureTooLarge, Rejected, UnsupportedFormat
from fundus_relay.imaging.dicom import read_dicom
from fundus_relay.imaging.preparation import prepare

MOST_PIXELS = 10_000_000
SMALL = a_scene(8, 8)


def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    length = struct.pack("<HI", 0, len(value)) if vr in {b"OB", b"SQ", b"UN"} else struct.pack("<H", len(value))
    return struct.pack("<HH", group, number) + vr + length + value


def a_deflated_file(inflated: bytes, *, times: int = 1, before_the_syntax: bytes = b"") -> bytes:
    body = before_the_syntax + element(2, 0x10, b"UI", DeflatedExplicitVRLittleEndian.encode())
    meta = element(2, 0, b"UL", struct.pack("<I", len(body))) + body
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    packed = b"".join(packer.compress(inflated) for _ in range(times)) + packer.flush()
    return b"\0" * 128 + b"DICM" + meta + packed


FAR = element(2, 1, b"OB", b"\0" * 5000)


@pytest.mark.parametrize("before_the_syntax", [b"", FAR], ids=["near", "far behind the start"])
def test_a_file_that_inflates_without_end_is_left_early(before_the_syntax: bytes) -> None:
    bomb = a_deflated_file(b"\0" * 1_000_000, times=400, before_the_syntax=before_the_syntax)
    assert len(bomb) < 1_000_000

    with pytest.raises(PictureTooLarge):
        read_dicom(bomb, max_pixels=MOST_PIXELS)


def test_a_deflated_file_is_read_wherever_its_syntax_stands() -> None:
    plain = dicom_file(SMALL, transfer_syntax=ExplicitVRLittleEndian)
    dataset = plain[plain.index(element(8, 0x16, b"UI", b"")[:6]) :]

    for far in (b"", FAR):
        file = a_deflated_file(dataset, before_the_syntax=far)
        assert read_dicom(file, max_pixels=MOST_PIXELS).size.columns == 8


def test_a_header_of_countless_empty_elements_is_left_early() -> None:
    nothing = struct.pack("<HH", 9, 1) + b"CS" + struct.pack("<H", 0)
    start = dicom_file(SMALL)
    at = start.index(struct.pack("<HH", 0x28, 2))

    with pytest.raises(DamagedPicture, match="more elements"):
        read_dicom(start[:at] + nothing * 1_000_000 + start[at:], max_pixels=MOST_PIXELS)


def test_sequences_within_sequences_without_end_are_no_sound_file() -> None:
    start = dicom_file(SMALL)
    at = start.index(struct.pack("<HH", 0x28, 2))
    deeper = (
        struct.pack("<HH", 9, 1)
        + b"SQ"
        + struct.pack("<HI", 0, 0xFFFFFFFF)
        + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    )

    with pytest.raises(DamagedPicture):
        read_dicom(start[:at] + deeper * 5000 + start[at:], max_pixels=MOST_PIXELS)


@pytest.mark.parametrize(
    ("header", "error"),
    [
        ({"Rows": 65535, "Columns": 65535}, PictureTooLarge),
        ({"Rows": 0}, Rejected),
        ({"Rows": None}, DamagedPicture),
        ({"Columns": 9}, DamagedPicture),
        ({"NumberOfFrames": 2}, DamagedPicture),
        ({"NumberOfFrames": 2**31 - 1}, PictureTooLarge),
        ({"NumberOfFrames": -1}, None),
        ({"BitsAllocated": 16, "BitsStored": 16, "HighBit": 15}, DamagedPicture),
        ({"BitsAllocated": 1}, UnsupportedFormat),
        ({"BitsAllocated": 64}, UnsupportedFormat),
        ({"SamplesPerPixel": 4}, UnsupportedFormat),
        ({"SamplesPerPixel": 65535}, UnsupportedFormat),
    ],
)
def test_a_header_is_believed_only_as_far_as_the_bytes_bear_it_out(
    header: dict[str, Any], error: type[Rejected] | None
) -> None:
    file = dicom_file(SMALL, **header)
    if error is None:
        assert read_dicom(file, max_pixels=MOST_PIXELS).frames == 1
        return

    with pytest.raises(error):
        prepare(file, max_pixels=MOST_PIXELS)


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, RLELossless, "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"])
@pytest.mark.parametrize(
    "frame", [b"\0\0", b"\0" * 100, b"\xff\xd8\xff\xd9", b"\xff\x4f\xff\x51" + b"\xff" * 60 + b"\xff\xd9"]
)
def test_compressed_pixels_that_are_none_are_a_damaged_picture(syntax: str, frame: bytes) -> None:
    file = dicom_file(encoded=[frame], transfer_syntax=syntax, rows=1024, columns=1280)

    with pytest.raises((DamagedPicture, UnsupportedFormat)):
        prepare(file)


def test_pixels_of_another_syntax_than_stated_are_a_damaged_picture() -> None:
    with pytest.raises(DamagedPicture):
        prepare(dicom_jpeg(a_jpeg(), transfer_syntax=RLELossless, photometric="RGB"))


def test_a_document_in_dicom_is_no_photograph() -> None:
    with pytest.raises(UnsupportedFormat, match="document"):
        read_dicom(
            dicom_file(EncapsulatedDocument=b"%PDF-1.7", MIMETypeOfEncapsulatedDocument="application/pdf"),
            max_pixels=MOST_PIXELS,
        )


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.100", "1.2.3"], ids=["a film", "nobody knows"])
def test_a_syntax_that_is_not_read_is_said_so(syntax: str) -> None:
    stated = "1.2.840.10008.1.2.4.202"
    file = dicom_file(encoded=[b"\0" * 10], transfer_syntax=stated, rows=8, columns=8)

    with pytest.raises(UnsupportedFormat, match=syntax):
        read_dicom(file.replace(stated.encode(), syntax.encode().ljust(len(stated), b"\0")), max_pixels=MOST_PIXELS)


def test_what_stands_in_place_of_a_uid_is_not_repeated() -> None:
    file = dicom_file(SMALL).replace(b"1.2.840.10008.1.2.1\0", b"CANARY-Mary-Smith-1\0")

    with pytest.raises(Rejected) as caught:
        read_dicom(file, max_pixels=MOST_PIXELS)
    assert "CANARY" not in str(caught.value)


def test_what_lies_deep_in_private_sequences_is_passed_over() -> None:
    deep = Dataset()
    deep.PatientName = "Canary^Deep"
    outer = Dataset()
    outer.add_new(0x00091010, "SQ", Sequence([deep]))
    file = dicom_file(SMALL, ReferencedPatientSequence=Sequence([outer]))

    assert read_dicom(file, max_pixels=MOST_PIXELS).size.rows == 8
