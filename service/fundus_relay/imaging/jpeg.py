"""JPEG files as a list of segments; no pixel is decoded here.

How this works. A JPEG file is a row of segments, each a marker (0xFF and a code) and mostly a length. `header` walks
them up to the first scan, which is all that intake needs. Behind a scan's header comes entropy-coded data, in which
0xFF is only ever followed by 0x00 or a restart code, so the next other marker ends it; `segments` walks on like that.

Source: ITU-T T.81 (JPEG) Annex B; ITU-T T.871 (JFIF); ITU-T T.872 6.5.3 (Adobe's APP14).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from fundus_relay.domain.errors import DamagedPicture, UnsupportedFormat
from fundus_relay.domain.geometry import Size

START, END = b"\xff\xd8", b"\xff\xd9"
APP0, APP1, APP2, APP14 = 0xE0, 0xE1, 0xE2, 0xEE
_SOF_BASELINE, _SOF_EXTENDED, _SOF_PROGRESSIVE = 0xC0, 0xC1, 0xC2
_SOS, _EOI = 0xDA, 0xD9
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}  # 0xF7 is JPEG-LS
_LONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length
_NEEDED = _FRAMES | {0xC4, 0xDB, 0xDD, _SOS, _EOI}  # with tables for Huffman codes and quantisation, and restarts
_EXIF = b"Exif\x00\x00"
_ICC = b"ICC_PROFILE\x00"
_JFIF, _ADOBE = b"JFIF\x00", b"Adobe"
_PLAIN_JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"  # square pixels, no thumbnail
_MAX_SCANS = 200  # encoders write some ten; thousands in a small file only serve to keep a decoder busy
_MAX_SEGMENTS = 5000  # cameras write some tens, extended XMP some hundreds; millions serve to keep a reader busy
_FILL = re.compile(rb"\xff+(?=\xff)")
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


@dataclass(frozen=True, slots=True)
class Segment:
    """A marker and what belongs to it.

    Attributes:
        start: offset of its 0xFF.
        body: offset of its content, behind marker and length.
        end: offset behind its content; entropy-coded data of a scan begins there.
    """

    marker: int
    start: int
    body: int
    end: int


@dataclass(frozen=True, slots=True)
class Frame:
    """What the frame header says."""

    size: Size
    components: int
    is_progressive: bool


def segment_at(data: memoryview, at: int) -> Segment:
    """The segment that begins here; fill bytes before it are skipped.

    Raises:
        DamagedPicture: there is none, or it goes beyond the end.
    """
    fill = _FILL.match(data, at)
    at = fill.end() if fill else at
    if at + 2 > len(data):
        raise DamagedPicture("the JPEG ends before its picture data: it is truncated")
    if data[at] != 0xFF:
        raise DamagedPicture("the JPEG has bytes between its segments")
    marker = data[at + 1]
    if marker in _LONE or marker == _EOI:
        return Segment(marker, at, at + 2, at + 2)
    if at + 4 > len(data):
        raise DamagedPicture("the JPEG ends inside a segment: it is truncated")
    (length,) = struct.unpack_from(">H", data, at + 2)
    if length < 2:
        raise DamagedPicture("the JPEG has a segment of impossible length")
    if at + 2 + length > len(data):
        raise DamagedPicture("the JPEG ends inside a segment: it is truncated")
    return Segment(marker, at, at + 4, at + 2 + length)


def header(data: memoryview) -> Iterator[Segment]:
    """The segments up to and including the first scan's header.

    Raises:
        DamagedPicture: the file ends before a scan, or is built to keep a reader busy.
    """
    at = len(START)
    for _ in range(_MAX_SEGMENTS):
        segment = segment_at(data, at)
        if segment.marker == _EOI:
            raise DamagedPicture("the JPEG has no picture data")
        yield segment
        if segment.marker == _SOS:
            return
        at = segment.end
    raise _too_many_segments()


def segments(data: memoryview) -> Iterator[Segment]:
    """All segments up to and including the first end-of-image marker.

    Raises:
        DamagedPicture: the file ends before it, or is built to keep a decoder busy.
    """
    at, scans = len(START), 0
    for _ in range(_MAX_SEGMENTS):
        segment = segment_at(data, at)
        yield segment
        if segment.marker == _EOI:
            return
        at = segment.end
        if segment.marker == _SOS:
            scans += 1
            found = _NEXT_MARKER.search(data, at)
            if found is None:
                raise DamagedPicture("the JPEG ends inside its picture data: it is truncated")
            if scans > _MAX_SCANS:
                raise DamagedPicture(f"the JPEG has more than {_MAX_SCANS} scans")
            at = found.start()
    raise _too_many_segments()


def _too_many_segments() -> DamagedPicture:
    return DamagedPicture(f"the JPEG has more than {_MAX_SEGMENTS} segments")


def frame_of(data: memoryview, walked: Iterable[Segment]) -> Frame:
    """What the frame header among these segments says.

    Raises:
        UnsupportedFormat: a JPEG process or precision that common decoders do not read.
        DamagedPicture: there is no readable frame header.
    """
    segment = _frame_among(walked)
    bits, rows, columns, components = struct.unpack_from(">BHHB", data, segment.body)
    if segment.marker == 0xF7:
        raise UnsupportedFormat("JPEG-LS is not supported: send baseline or progressive JPEG, or PNG")
    if segment.marker not in (_SOF_BASELINE, _SOF_EXTENDED, _SOF_PROGRESSIVE) or bits != 8:
        raise UnsupportedFormat(
            "lossless, hierarchical, arithmetic and 12-bit JPEG are not supported: send baseline or progressive JPEG"
        )
    if components not in (1, 3, 4):
        raise UnsupportedFormat(f"a JPEG of {components} components is not supported")
    if rows == 0 or columns == 0:
        raise DamagedPicture("the JPEG does not state its size")
    return Frame(Size(columns, rows), components, segment.marker == _SOF_PROGRESSIVE)


def raster_of(data: memoryview, walked: Iterable[Segment]) -> tuple[Size, int]:
    """Size and number of components by the frame header among these segments, whichever process it is of.

    Raises:
        DamagedPicture: there is no readable frame header.
    """
    _, rows, columns, components = struct.unpack_from(">BHHB", data, _frame_among(walked).body)
    return Size(columns, rows), components


def _frame_among(walked: Iterable[Segment]) -> Segment:
    segment = next((s for s in walked if s.marker in _FRAMES), None)
    if segment is None or segment.end - segment.body < 6:
        raise DamagedPicture("the JPEG has no frame header")
    return segment


def check_scans(data: memoryview) -> None:
    """See that the scans bring every coefficient of every component, to its last bit.

    A progressive JPEG cut between two scans decodes without complaint, to a picture without its small signs.

    Raises:
        DamagedPicture: something is missing.
    """
    missing: dict[tuple[int, int], int] = {}  # (component, coefficient) → bits yet to come
    for s in segments(data):
        if s.marker in _FRAMES:
            missing = {(data[at], k): 1 for at in range(s.body + 6, s.end - 2, 3) for k in range(64)}
        elif s.marker == _SOS:
            count = data[s.body]
            if s.end - s.body < 4 + 2 * count:
                raise DamagedPicture("the JPEG has a scan header that is too short")
            first, last, bits = data[s.end - 3 : s.end]
            for at in range(s.body + 1, s.body + 1 + 2 * count, 2):
                missing.update(((data[at], k), bits & 0x0F) for k in range(first, last + 1))
    if any(missing.values()):
        raise DamagedPicture("scans of the JPEG are missing: it is truncated")


def exif_of(data: memoryview, walked: Iterable[Segment]) -> bytes:
    """The TIFF structure of the first EXIF segment, or nothing."""
    for s in walked:
        if s.marker == APP1 and data[s.body : s.body + len(_EXIF)] == _EXIF:
            return bytes(data[s.body + len(_EXIF) : s.end])
    return b""


def colour_profile_of(data: memoryview, walked: Iterable[Segment]) -> bytes:
    """The ICC profile, its parts joined in their order, or nothing.

    Source: ICC.1:2022 Annex B.4.
    """
    parts = {
        data[s.body + len(_ICC)]: bytes(data[s.body + len(_ICC) + 2 : s.end])
        for s in walked
        if s.marker == APP2 and s.end - s.body > len(_ICC) + 2 and data[s.body : s.body + len(_ICC)] == _ICC
    }
    return b"".join(parts[number] for number in sorted(parts))


@dataclass(frozen=True, slots=True)
class Colours:
    """How a decoder takes the three components of a JPEG.

    Attributes:
        is_stated: whether a marker says so; else it is guessed from the components' names.
    """

    is_rgb: bool
    is_stated: bool


def colours_of(data: memoryview) -> Colours | None:
    """What common decoders take the components for; None when there are not three.

    Source: libjpeg-turbo 3, jdapimin.c, default_decompress_parms.
    """
    frame: bytes = b""
    is_jfif, adobe = False, None
    for s in header(data):
        content = bytes(data[s.body : min(s.end, s.body + 32)])
        is_jfif |= s.marker == APP0 and content.startswith(_JFIF)
        if s.marker == APP14 and content.startswith(_ADOBE) and len(content) >= 12:
            adobe = content[11]
        frame = content if s.marker in _FRAMES else frame
    if len(frame) < 15 or frame[5] != 3:
        return None
    if is_jfif:
        return Colours(is_rgb=False, is_stated=True)
    if adobe is not None:
        return Colours(is_rgb=adobe == 0, is_stated=True)
    return Colours(is_rgb=bytes(frame[6:15:3]) == b"RGB", is_stated=False)


def with_colours(picture: bytes, *, is_rgb: bool) -> bytes:
    """The same picture with a marker that tells every decoder what its three components are."""
    return START + _adobe(0 if is_rgb else 1) + picture[2:]


def without_metadata(data: memoryview) -> bytes:
    """The same picture, bit for bit, without anything that is not needed to decode it.

    Comments, application segments, whatever else a decoder skips, and all behind the end of the image go. What decides
    how the colours are meant stays: that it is JFIF, and which transform Adobe's segment names.
    """
    return b"".join([START, *_needed(data, _colour_meaning)])


def without_markers(data: memoryview, *, is_rgb: bool) -> bytes:
    """The same coded pixels and nothing besides, with one marker that tells every decoder what three components are."""
    bare = list(_needed(data, lambda _, __: b""))
    _, components = raster_of(data, header(data))
    return b"".join([START, _adobe(0 if is_rgb else 1) if components == 3 else b"", *bare])


def _needed(data: memoryview, instead: Callable[[memoryview, Segment], bytes]) -> Iterator[bytes | memoryview]:
    """Runs of segments that pixels are decoded from, up to the end, and what stands `instead` of each other one."""
    begin = None  # of the run of segments to keep
    for s in segments(data):
        if s.marker not in _NEEDED:
            if begin is not None:
                yield data[begin : s.start]
            begin = None
            yield instead(data, s)
        elif begin is None:
            begin = s.start
        if s.marker == _EOI:
            yield data[begin : s.end]


def _colour_meaning(data: memoryview, s: Segment) -> bytes:
    content = bytes(data[s.body : s.end])
    if s.marker == APP0 and content.startswith(_JFIF):
        return _PLAIN_JFIF
    if s.marker == APP14 and content.startswith(_ADOBE) and len(content) >= 12:
        return _adobe(content[11])
    return b""


def _adobe(transform: int) -> bytes:
    return b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([transform])
