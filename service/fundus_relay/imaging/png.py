"""PNG files as a list of chunks; no pixel is decoded here.

Source: W3C Portable Network Graphics (PNG) Specification, third edition, sections 5 and 11.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from fundus_relay.domain.errors import DamagedPicture, UnsupportedFormat
from fundus_relay.domain.geometry import Size

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
_STEP = 1 << 20
_MAX_PROFILE_BYTES = 4_000_000  # far above any real profile, far below a decompression bomb
_MAX_CHUNKS = 50_000  # encoders write 8 KB of picture data to a chunk; millions of chunks serve to keep a reader busy
_NEEDED = frozenset({b"IHDR", b"PLTE", b"IDAT", b"tRNS"})
_END = b"\x00\x00\x00\x00IEND\xae\x42\x60\x82"


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk: its name, where it starts, and where its content is."""

    name: bytes
    start: int
    body: int
    end: int


@dataclass(frozen=True, slots=True)
class Header:
    """What IHDR says.

    Attributes:
        channels: 1 grey or palette, 2 grey and alpha, 3 colours, 4 colours and alpha.
    """

    size: Size
    bits: int
    has_palette: bool
    channels: int
    is_interlaced: bool


def chunks(data: memoryview) -> Iterator[Chunk]:
    """All chunks up to and including the end, each checked against its checksum.

    Raises:
        DamagedPicture: the file ends before it, a checksum is wrong, or it is built to keep a reader busy.
    """
    at = len(SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        if at + 12 > len(data):
            raise DamagedPicture("the PNG ends before its IEND chunk: it is truncated")
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            raise DamagedPicture("the PNG ends inside a chunk: it is truncated")
        (checksum,) = struct.unpack_from(">I", data, end)
        if zlib.crc32(data[at + 4 : end]) != checksum:
            raise DamagedPicture("a checksum of the PNG is wrong")
        yield Chunk(name, at, at + 8, end)
        if name == b"IEND":
            return
        at = end + 4
    raise DamagedPicture(f"the PNG has more than {_MAX_CHUNKS} chunks")


def header_of(data: memoryview) -> Header:
    """What the file says of itself in its first chunk.

    Raises:
        DamagedPicture, UnsupportedFormat
    """
    if len(data) < len(SIGNATURE) + 25:
        raise DamagedPicture("the PNG ends inside its header: it is truncated")
    length, name, columns, rows, bits, kind, _, _, interlace = struct.unpack_from(">I4sII5B", data, 8)
    if name == b"CgBI":
        raise UnsupportedFormat("Apple's CgBI variant of PNG is not supported: send a standard PNG")
    if name != b"IHDR" or length != 13 or not columns or not rows or bits not in _DEPTHS.get(kind, ()):
        raise DamagedPicture("the PNG's header is not readable")
    return Header(Size(columns, rows), bits, kind == 3, _CHANNELS[kind], interlace != 0)


def check_pixels(data: memoryview) -> bool:
    """See that the compressed data unpacks to as many bytes as the header's raster has; decoders leave the rest black.

    Returns:
        Whether that is all there is: decoders do not say when more comes behind it, packed or not.

    Raises:
        DamagedPicture: it does not.
    """
    missing = _raster_bytes(header_of(data))
    unpacker, has_more = zlib.decompressobj(), False
    try:
        for chunk in chunks(data):
            waiting: bytes | memoryview = data[chunk.body : chunk.end] if chunk.name == b"IDAT" else b""
            has_more |= unpacker.eof and len(waiting) > 0
            while waiting and missing >= 0 and not unpacker.eof:
                missing -= len(unpacker.decompress(waiting, _STEP))
                waiting = unpacker.unconsumed_tail
        missing -= len(unpacker.flush()) if missing > 0 else 0
    except zlib.error as exc:
        raise DamagedPicture("the picture data of the PNG does not unpack") from exc
    if missing > 0:
        raise DamagedPicture("picture data of the PNG is missing: it is truncated")
    return missing == 0 and unpacker.eof and not (unpacker.unused_data or has_more)


def _raster_bytes(header: Header) -> int:
    """Bytes of all rows, each with its filter byte, in one pass or in Adam7's seven."""
    size, bits = header.size, header.bits * header.channels
    passes = _ADAM7 if header.is_interlaced else [(0, 0, 1, 1)]
    total = 0
    for x, y, across, down in passes:
        columns, rows = -((x - size.columns) // across), -((y - size.rows) // down)
        total += rows * (1 + (columns * bits + 7) // 8) if columns > 0 else 0
    return total


def content_of(data: memoryview, name: bytes) -> bytes:
    """The content of the first chunk of this name, or nothing."""
    return next((bytes(data[c.body : c.end]) for c in chunks(data) if c.name == name), b"")


def colour_profile_of(data: memoryview) -> bytes:
    """The ICC profile, or nothing when there is none or it does not unpack.

    Gamma and chromaticity chunks are not applied: the libraries that analysers decode with do not apply them either.
    """
    _, _, packed = content_of(data, b"iCCP").partition(b"\0")
    try:
        return zlib.decompressobj().decompress(packed[1:], _MAX_PROFILE_BYTES)
    except zlib.error:
        return b""


def without_metadata(data: memoryview) -> bytes:
    """The same pixels, bit for bit, without any chunk that is not needed to decode them."""
    needed = _NEEDED if header_of(data).has_palette else _NEEDED - {b"PLTE"}  # else a mere suggestion
    return SIGNATURE + b"".join(data[c.start : c.end + 4] for c in chunks(data) if c.name in needed) + _END
