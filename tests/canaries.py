"""Photographs and records with a marked value in every place that can hold one, and a search for what is left of it.

A marked value is `CANARY` in texts, `CANARY_DAY` in dates and `CANARY_UID` in UIDs.
"""

from __future__ import annotations

import re
import zlib
from base64 import b64decode
from collections.abc import Iterator
from io import BytesIO
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

import numpy as np
import pydicom
from PIL import Image
from pydicom import config
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from tests.dicom_files import a_scene, dicom_file
from tests.unit.imaging.pictures import ENOUGH, a_chunk, a_raster, srgb_profile

CANARY = "CANARY-Mary"
CANARY_DAY = "19470611"
CANARY_UID = "1.2.826.0.1.3680043.10.424242"

_TRACE = re.compile(rb"C\0*A\0*N\0*A\0*R\0*Y|CANARY|1947\W?06\W?11|424242", re.IGNORECASE)
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{64,}={0,2}")


def traces(said: bytes) -> list[bytes]:
    """Marked values in bytes, also where they are escaped, encoded in base64, or packed as PNG packs."""
    return [match.group() for form in _forms(said) for match in _TRACE.finditer(form)]


def _forms(said: bytes) -> Iterator[bytes]:
    yield said
    if b"%" in said:
        yield unquote_to_bytes(said)
    for match in _BASE64.finditer(said):
        text = match.group().translate(bytes.maketrans(b"-_", b"+/")).rstrip(b"=")
        for skipped in range(4):
            part = text[skipped:]
            decoded = b64decode(part[: len(part) // 4 * 4])
            yield decoded
            if skipped == 0 and decoded.startswith(b"\x89PNG"):
                yield from _unpacked(decoded)


def _unpacked(png: bytes) -> Iterator[bytes]:
    at = 8
    while at < len(png):
        length = int.from_bytes(png[at : at + 4], "big")
        content = png[at + 8 : at + 8 + length]
        for begin in range(0, min(len(content), 100)):
            try:
                yield zlib.decompress(content[begin:])
            except zlib.error:
                continue
        at += 12 + length


def pictures_in(form: bytes) -> list[bytes]:
    """The uploaded pictures of a form."""
    found = []
    for name, value in parse_qsl(form.decode()):
        if name == "image":
            data = value.partition(",")[2]
            found.append(b64decode(data.translate(str.maketrans("-_", "+/"))))
    return found


def kinds_of(picture: bytes) -> set[str]:
    """What a JPEG's segments or a PNG's chunks are called."""
    if picture.startswith(b"\x89PNG"):
        found, at = set(), 8
        while at < len(picture):
            found.add(picture[at + 4 : at + 8].decode())
            at += 12 + int.from_bytes(picture[at : at + 4], "big")
        return found
    with Image.open(BytesIO(picture)) as opened:
        return {name for name, _ in opened.applist}


# ------------------------------------------------------------------------------------------------------------ pictures


def profile(original: bytes | None = None) -> bytes:
    """An ICC profile whose texts are marked."""
    whole = bytearray(original or srgb_profile())
    for at in range(132, 132 + 12 * int.from_bytes(whole[128:132], "big"), 12):
        begin, length = (int.from_bytes(whole[at + n : at + n + 4], "big") for n in (4, 8))
        if whole[begin : begin + 4] == b"mluc":
            marked = (f"{CANARY} " * 20).encode("utf-16-be")[: length - 28]
            whole[begin + 28 : begin + length] = marked.ljust(length - 28, b"\0")
    assert _TRACE.search(whole)
    return bytes(whole)


def _exif() -> bytes:
    exif = Image.Exif()
    for tag in (0x010D, 0x010E, 0x010F, 0x0110, 0x0131, 0x013B, 0x013C, 0x8298, 0x9C9B, 0x9C9D):
        exif[tag] = f"{CANARY} {CANARY_DAY}"
    exif[0x0132] = "1947:06:11 00:00:00"
    exif.get_ifd(0x8769).update(
        {0x9286: b"ASCII\0\0\0" + CANARY.encode(), 0x927C: CANARY.encode() * 20, 0xA430: CANARY}
    )
    exif.get_ifd(0x8825).update({0x001D: "1947:06:11", 0x001B: CANARY.encode()})
    return exif.tobytes() + _thumbnail()


def _thumbnail() -> bytes:
    file = BytesIO()
    a_raster().resize((160, 120)).save(file, "JPEG", comment=CANARY.encode())
    return file.getvalue()


def _segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content


def marked_jpeg(*, noise: int = 1, progressive: bool = False, icc: bytes | None = None, mode: str = "RGB") -> bytes:
    """A JPEG with something in every kind of segment, between its scans and behind its end."""
    file = BytesIO()
    a_raster(noise=noise).convert(mode).save(file, "JPEG", quality=92, progressive=progressive)
    plain, text = file.getvalue(), CANARY.encode()
    plain = plain[:2] + plain[2 + 18 :]  # without Pillow's own JFIF
    colour = icc or profile()
    segments = [
        _segment(0xE0, b"JFIF\0\1\2\0\0\1\0\1\3\2" + (text * 2)[:18]),  # a thumbnail of 3 x 2 pixels
        _segment(0xE0, b"JFXX\0\x10" + _thumbnail()),
        _segment(0xE1, _exif()),
        _segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta>" + text),
        _segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + text * 100),
        _segment(0xE2, b"ICC_PROFILE\0\1\1" + colour),
        _segment(0xE2, b"MPF\0" + text),
        _segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x10\x1c\x02\x50\0\x0b" + text),
        _segment(0xEE, b"Adobe\0\x64\0\0\0\0\1" + text),
        *(_segment(0xE0 + number, text * number) for number in (*range(3, 13), 15)),
        _segment(0xFE, text),
    ]
    if mode != "RGB":
        segments = [each for each in segments if b"Adobe\0\x64" not in each]
    scans = plain.split(b"\xff\xda")
    comment = _segment(0xFE, text)
    body = (comment + b"\xff\xda").join(scans)
    return body[:2] + b"".join(segments) + body[2:] + text + _thumbnail()


def marked_png(*, noise: int = 1, icc: bytes | None = None, mode: str = "RGB") -> bytes:
    """A PNG with text, packed text, EXIF, a date, a profile, unknown chunks, and bytes behind its end."""
    file = BytesIO()
    a_raster(noise=noise).convert(mode).save(file, "PNG", compress_level=1)
    plain, text = file.getvalue(), CANARY.encode()
    chunks = [
        a_chunk(b"iCCP", text + b"\0\0" + zlib.compress(icc or profile())),
        a_chunk(b"tEXt", b"Title\0" + text),
        a_chunk(b"zTXt", b"Author\0\0" + zlib.compress(text * 3)),
        a_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0en\0" + text + b"\0" + zlib.compress(text * 3)),
        a_chunk(b"eXIf", _exif().removeprefix(b"Exif\0\0")),
        a_chunk(b"tIME", (1947).to_bytes(2, "big") + bytes([6, 11, 0, 0, 0])),
        a_chunk(b"sPLT", text + b"\0\x08"),
        a_chunk(b"caNb", text),
    ]
    return plain[:33] + b"".join(chunks) + plain[33:-12] + a_chunk(b"tEXt", b"Comment\0" + text) + plain[-12:] + text


_KEPT = {"SpecificCharacterSet", "Modality", "PatientID", "BurnedInAnnotation", "ImageLaterality", "Laterality"}
_TEXT = {"AE", "AS", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"}


def marked_dicom(instance: str, laterality: str, *, encoded: bytes | None = None, **how: Any) -> bytes:
    """An instance with every text element of the dictionary, dates, private ones, sequences, preamble and meta.

    Args:
        encoded: a JPEG to be wrapped; without it, native pixels.
    """
    pixels = (
        {"encoded": [encoded], "rows": ENOUGH.rows, "columns": ENOUGH.columns}
        if encoded
        else {"pixels": a_scene(seed=int(instance[-1]))}
    )
    names = {"study": f"{CANARY_UID}.1", "series": f"{CANARY_UID}.1.1", "instance": instance}
    file = dicom_file(
        **pixels, **names, **how, PatientID=CANARY, PatientName=CANARY, ImageLaterality=laterality, ICCProfile=profile()
    )
    with config.disable_value_validation():
        dataset = pydicom.dcmread(BytesIO(file))
        dataset.preamble = CANARY.encode().ljust(128, b"\0")
        dataset.file_meta.SourceApplicationEntityTitle = CANARY
        dataset.file_meta.ImplementationVersionName = CANARY
        dataset.file_meta.PrivateInformationCreatorUID = CANARY_UID
        dataset.file_meta.PrivateInformation = CANARY.encode()
        _mark(dataset)
        inner = Dataset()
        _mark(inner)
        for keyword in ("ReferencedPatientSequence", "RequestAttributesSequence", "OriginalAttributesSequence"):
            setattr(dataset, keyword, Sequence([inner]))
        private = dataset.private_block(0x0009, CANARY, create=True)
        private.add_new(0x01, "LO", CANARY)
        private.add_new(0x02, "OB", CANARY.encode() * 2)
        private.add_new(0x03, "SQ", Sequence([inner]))
        dataset.DataSetTrailingPadding = CANARY.encode() + b"\0"
        out = BytesIO()
        dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def _mark(dataset: Dataset) -> None:
    for tag, (vr, _, _, retired, keyword) in DicomDictionary.items():
        if keyword in _KEPT or retired or tag >> 16 in {0x0000, 0x0002, 0x0028, 0x7FE0} or tag >> 16 > 0x7FE0:
            continue
        if (vr in _TEXT and keyword not in dataset) or keyword in {"Manufacturer", "PatientName"}:
            dataset.add_new(tag, vr, CANARY)
        elif vr == "DA" and keyword not in dataset:
            dataset.add_new(tag, vr, CANARY_DAY)


def same_pixels(one: bytes, other: bytes) -> bool:
    with Image.open(BytesIO(one)) as a, Image.open(BytesIO(other)) as b:
        return np.array_equal(np.asarray(a.convert("RGB")), np.asarray(b.convert("RGB")))
