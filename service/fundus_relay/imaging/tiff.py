"""TIFF files: which of its pictures is the photograph, and where that one's rows lie; no pixel is decoded here.

How this works. A TIFF is a chain of directories, each a table of tags that tells of one picture; its rows lie in strips
or tiles anywhere in the file. `photograph_in` walks the chain and finds the one photograph. `page_of` reads how it is
kept and sees that every strip is within the file and that they are as many as its size asks for. Nothing that a tag
says is believed beyond the bytes that are there, so a lie costs neither memory nor time.

Source: TIFF 6.0 (Adobe, 1992); TIFF Technical Note 2 (JPEG, 1995); BigTIFF (libtiff 4); ICC.1:2022 annex B.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum

from fundus_relay.domain.errors import DamagedPicture, SeveralPictures, UnsupportedFormat
from fundus_relay.domain.geometry import Size

from .orientation import ORIENTATION_TAG, UPRIGHT
from .sizes import is_enough

_STARTS = {b"II*\x00": ("<", False), b"MM\x00*": (">", False), b"II+\x00": ("<", True), b"MM\x00+": (">", True)}
"""Byte order, and whether it is a BigTIFF."""

_WHOLE = {1: "B", 3: "H", 4: "I", 7: "B", 13: "I", 16: "Q", 18: "Q"}
_RATIO = 5
_BYTES = {**{kind: struct.calcsize(code) for kind, code in _WHOLE.items()}, _RATIO: 8}
_MAX_DIRECTORIES = 200  # pyramids have ten, documents some tens
_MAX_TAGS = 4096
_MAX_SEGMENTS = 100_000  # strips and tiles have some kilobytes at least; millions serve to keep a reader busy
_MAX_NUMBERS = 200_000  # a colour map of 16 bits
_LEAST_TILE, _LARGE_TILE = 16, Size(4096, 4096)
_THUMBNAIL = 3  # so many times smaller, on both sides

_SUBFILE, _OLD_SUBFILE, _COLUMNS, _ROWS, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = (
    254, 255, 256, 257, 258, 259, 262, 266
)  # fmt: skip
_STRIPS, _SAMPLES, _ROWS_PER_STRIP, _STRIP_BYTES, _PLANAR, _PREDICTOR, _COLOUR_MAP = 273, 277, 278, 279, 284, 317, 320
_TILE_COLUMNS, _TILE_ROWS, _TILES, _TILE_BYTES, _INKS, _EXTRA, _FORMAT, _TABLES = 322, 323, 324, 325, 332, 338, 339, 347
_COEFFICIENTS, _SUBSAMPLING, _BLACK_AND_WHITE, _PROFILE = 529, 530, 532, 34675
_READ = frozenset({
    _SUBFILE, _OLD_SUBFILE, _COLUMNS, _ROWS, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _STRIPS, ORIENTATION_TAG,
    _SAMPLES, _ROWS_PER_STRIP, _STRIP_BYTES, _PLANAR, _PREDICTOR, _COLOUR_MAP, _TILE_COLUMNS, _TILE_ROWS, _TILES,
    _TILE_BYTES, _INKS, _EXTRA, _FORMAT, _TABLES, _COEFFICIENTS, _SUBSAMPLING, _BLACK_AND_WHITE, _PROFILE,
})  # fmt: skip
"""All that is read; what else a file tells, of a person perhaps, never becomes a value."""

_REDUCED, _MASK = 1, 4  # bits of NewSubfileType
_OLD_REDUCED = 2


class Compression(IntEnum):
    """Those that are read."""

    NONE = 1
    LZW = 5
    JPEG = 7
    DEFLATE = 8
    PACKBITS = 32773


_OTHER_COMPRESSIONS = {
    2: "CCITT", 3: "CCITT", 4: "CCITT", 6: "JPEG of the old style", 33003: "JPEG 2000", 33005: "JPEG 2000",
    34712: "JPEG 2000", 34925: "LZMA", 50000: "Zstandard", 50001: "WebP", 50002: "JPEG XL",
}  # fmt: skip
_OLD_DEFLATE = 32946


class Photometric(IntEnum):
    """What samples mean; those that are read."""

    MIN_IS_WHITE = 0
    MIN_IS_BLACK = 1
    RGB = 2
    PALETTE = 3
    CMYK = 5
    YCBCR = 6


_COLOURS = {
    Photometric.MIN_IS_WHITE: 1,
    Photometric.MIN_IS_BLACK: 1,
    Photometric.RGB: 3,
    Photometric.PALETTE: 1,
    Photometric.CMYK: 4,
    Photometric.YCBCR: 3,
}
_BT_601 = (0.299, 0.587, 0.114)
_FULL_RANGE = (0, 255, 128, 255, 128, 255)


class Directory:
    """The tags of one picture; a value is read when it is asked for."""

    def __init__(self, data: memoryview, order: str, entries: dict[int, tuple[int, int, int]]) -> None:
        """Entries: tag → type, count, and where the values begin."""
        self.data = data
        self.order = order
        self._entries = entries

    def __contains__(self, tag: int) -> bool:
        return tag in self._entries

    def numbers(self, tag: int, *default: int) -> tuple[int, ...]:
        """Whole numbers, or the default when the tag is not there. Raises DamagedPicture."""
        if tag not in self._entries:
            return default
        kind, count, at = self._entries[tag]
        if kind not in _WHOLE or not count:
            raise DamagedPicture(f"tag {tag} of the TIFF has no whole numbers")
        if count > _MAX_NUMBERS:
            raise DamagedPicture(f"tag {tag} of the TIFF has more than {_MAX_NUMBERS} numbers")
        return _unpacked(self.data, f"{self.order}{count}{_WHOLE[kind]}", at)

    def number(self, tag: int, default: int | None = None) -> int:
        """The first of them. Raises DamagedPicture."""
        found = self.numbers(tag, *([] if default is None else [default]))
        if not found:
            raise DamagedPicture(f"the TIFF has no tag {tag}")
        return found[0]

    def ratios(self, tag: int) -> tuple[float, ...]:
        """Fractions as numbers; none when they are not there or not readable."""
        kind, count, at = self._entries.get(tag, (0, 0, 0))
        if kind != _RATIO or count > len(_FULL_RANGE):
            return ()
        parts = _unpacked(self.data, f"{self.order}{2 * count}I", at)
        return tuple(above / below if below else 0.0 for above, below in zip(parts[::2], parts[1::2], strict=True))

    def content(self, tag: int) -> bytes:
        """Bytes as they are, or nothing. Raises DamagedPicture."""
        kind, count, at = self._entries.get(tag, (0, 0, 0))
        if _BYTES.get(kind) != 1:
            return b""
        if at + count > len(self.data):
            raise _truncated()
        return bytes(self.data[at : at + count])

    @property
    def size(self) -> Size:
        """Of the raster as stored. Raises DamagedPicture."""
        columns, rows = self.number(_COLUMNS), self.number(_ROWS)
        if not columns or not rows:
            raise DamagedPicture("the TIFF does not state its size")
        return Size(columns, rows)

    @property
    def is_reduced(self) -> bool:
        """Whether it says of itself that it is a smaller version of another picture, or a mask for one."""
        if self.number(_SUBFILE, 0) & (_REDUCED | _MASK):
            return True
        return self.number(_OLD_SUBFILE, 1) == _OLD_REDUCED


@dataclass(frozen=True, slots=True)
class Page:
    """How one picture is kept.

    Attributes:
        size: of the raster as stored, before any turn.
        orientation: 1 to 8, as EXIF's.
        order: of the bytes of 16-bit samples, `<` or `>`.
        samples: of a pixel.
        is_planar: whether each sample has strips or tiles of its own, all of the first sample first.
        segment: size of a strip or tile; the last strip may have fewer rows, a tile never.
        places: begin and length of each, row by row.
        is_differenced: whether samples are kept as differences from their left neighbours.
        alpha: which sample is opacity that has yet to be applied, or None.
        palette: red, then green, then blue of each index; 16 bits.
        subsampling: pixels across and down that share their chroma.
        tables: JPEG tables that all strips share, or nothing.
        profile: ICC profile, or nothing.
    """

    size: Size
    orientation: int
    order: str
    bits: int
    samples: int
    compression: Compression
    photometric: Photometric
    is_planar: bool
    segment: Size
    is_tiled: bool
    places: tuple[tuple[int, int], ...]
    is_differenced: bool = False
    alpha: int | None = None
    palette: tuple[int, ...] = ()
    subsampling: tuple[int, int] = (1, 1)
    tables: bytes = b""
    profile: bytes = b""

    @property
    def colours(self) -> int:
        """How many samples of a pixel are colours, or grey, or an index."""
        return _COLOURS[self.photometric]

    @property
    def across(self) -> int:
        """Tiles in a row; 1 of strips."""
        return -(-self.size.columns // self.segment.columns)

    @property
    def down(self) -> int:
        """Strips, or rows of tiles."""
        return -(-self.size.rows // self.segment.rows)

    def rows_of(self, top: int) -> int:
        """Rows that the strip or tile which begins at this row has."""
        return self.segment.rows if self.is_tiled else min(self.segment.rows, self.size.rows - top)

    def bytes_of(self, rows: int) -> int:
        """How long these rows of a strip or tile are once unpacked."""
        across, down = self.subsampling
        if (across, down) != (1, 1):
            return -(-rows // down) * -(-self.segment.columns // across) * (across * down + 2)
        return rows * self.segment.columns * (1 if self.is_planar else self.samples) * self.bits // 8


def is_tiff(start: bytes) -> bool:
    """Whether a file that begins with these bytes is a TIFF."""
    return start[:4] in _STARTS


def photograph_in(data: memoryview) -> Directory:
    """The one picture of the file that is no thumbnail, mask or smaller version of another.

    What calls itself a smaller version or a mask is passed over, and so is what is far smaller than the largest and
    too small to be analysed. Which of several pictures is meant, nobody here can know.

    Raises:
        SeveralPictures: there is more than one.
        DamagedPicture: the chain of directories is broken or goes round.
    """
    sized = [(each, each.size) for each in _directories(data) if not each.is_reduced]
    if not sized:
        raise DamagedPicture("the TIFF has no picture but smaller versions of one")
    largest = max((size for _, size in sized), key=lambda size: size.pixels)
    found = [each for each, size in sized if size == largest or not _is_thumbnail(size, largest)]
    if len(found) > 1:
        raise SeveralPictures(f"the TIFF has {len(found)} pictures: send each as a Media of its own")
    return found[0]


def _is_thumbnail(size: Size, largest: Size) -> bool:
    is_far_smaller = size.columns * _THUMBNAIL <= largest.columns and size.rows * _THUMBNAIL <= largest.rows
    return is_far_smaller and not is_enough(size)


def page_of(directory: Directory) -> Page:
    """How a picture is kept; every strip or tile is in the file.

    Raises:
        UnsupportedFormat: of a kind that is not read.
        DamagedPicture: something is missing or contradicts itself.
    """
    compression, photometric = _compression(directory), _photometric(directory)
    samples = directory.number(_SAMPLES, 1)
    bits = _bits(directory, samples)
    extra = samples - _COLOURS[photometric]
    if extra < 0:
        raise DamagedPicture("the TIFF has fewer samples than its colours need")
    is_planar = directory.number(_PLANAR, 1) == 2 and samples > 1
    orientation = directory.number(ORIENTATION_TAG, UPRIGHT)
    page = Page(
        size=directory.size,
        orientation=orientation if 1 <= orientation <= 8 else UPRIGHT,
        order=directory.order,
        bits=bits,
        samples=samples,
        compression=compression,
        photometric=photometric,
        is_planar=is_planar,
        segment=_segment(directory),
        is_tiled=_TILE_COLUMNS in directory,
        places=(),
        is_differenced=_is_differenced(directory, compression),
        alpha=_alpha(directory, photometric, extra),
        palette=_palette(directory, bits) if photometric is Photometric.PALETTE else (),
        subsampling=_subsampling(directory, compression, photometric),
        tables=directory.content(_TABLES) if compression is Compression.JPEG else b"",
        profile=directory.content(_PROFILE),
    )
    _check_combination(page)
    return _with_places(page, directory)


# --------------------------------------------------------------------------------------------------------- directories


def _directories(data: memoryview) -> Iterator[Directory]:
    order, is_big = _STARTS[bytes(data[:4])]
    if is_big and _unpacked(data, f"{order}HH", 4) != (8, 0):
        raise DamagedPicture("the header of the BigTIFF is not readable")
    (at,) = _unpacked(data, f"{order}{'Q' if is_big else 'I'}", 8 if is_big else 4)
    seen: set[int] = set()
    while at:
        if at in seen:
            raise DamagedPicture("the directories of the TIFF go round in a circle")
        if len(seen) == _MAX_DIRECTORIES:
            raise DamagedPicture(f"the TIFF has more than {_MAX_DIRECTORIES} directories")
        seen.add(at)
        directory, at = _directory(data, order, at, is_big=is_big)
        yield directory


def _directory(data: memoryview, order: str, at: int, *, is_big: bool) -> tuple[Directory, int]:
    """The directory that begins here, and where the next one begins; 0 behind the last."""
    heading, entry, inline, link = ("Q", "HHQ", 8, "Q") if is_big else ("H", "HHI", 4, "I")
    (count,) = _unpacked(data, f"{order}{heading}", at)
    if count > _MAX_TAGS:
        raise DamagedPicture(f"a directory of the TIFF has more than {_MAX_TAGS} tags")
    at += struct.calcsize(f"={heading}")
    entries: dict[int, tuple[int, int, int]] = {}
    for _ in range(count):
        tag, kind, values = _unpacked(data, f"{order}{entry}", at)
        value = at + struct.calcsize(f"={entry}")
        at = value + inline
        if tag in _READ and kind in _BYTES:
            if values * _BYTES[kind] > inline:
                (value,) = _unpacked(data, f"{order}{link}", value)
            entries.setdefault(tag, (kind, values, value))
    (following,) = _unpacked(data, f"{order}{link}", at)
    return Directory(data, order, entries), following


def _unpacked(data: memoryview, form: str, at: int) -> tuple[int, ...]:
    if at + struct.calcsize(form) > len(data):
        raise _truncated()
    return struct.unpack_from(form, data, at)


def _truncated() -> DamagedPicture:
    return DamagedPicture("the TIFF refers to what lies behind its end: it is truncated")


# ------------------------------------------------------------------------------------------------------------- a page


def _compression(directory: Directory) -> Compression:
    stated = directory.number(_COMPRESSION, Compression.NONE)
    if stated == _OLD_DEFLATE:
        return Compression.DEFLATE
    try:
        return Compression(stated)
    except ValueError as exc:
        raise _unread(f"of compression {_OTHER_COMPRESSIONS.get(stated, stated)}") from exc


def _photometric(directory: Directory) -> Photometric:
    stated = directory.number(_PHOTOMETRIC)
    try:
        photometric = Photometric(stated)
    except ValueError as exc:
        raise _unread(f"of photometric interpretation {stated}") from exc
    if photometric is Photometric.CMYK and directory.number(_INKS, 1) != 1:
        raise _unread("of other inks than CMYK")
    return photometric


def _bits(directory: Directory, samples: int) -> int:
    stated = set(directory.numbers(_BITS, 1)[:samples])
    if stated not in ({8}, {16}):
        raise _unread(f"of {'/'.join(map(str, sorted(stated)))} bits")
    if not set(directory.numbers(_FORMAT, 1)[:samples]) <= {1, 4}:  # 4: not said
        raise _unread("of numbers that are not unsigned integers")
    if directory.number(_FILL_ORDER, 1) != 1:
        raise _unread("of bits in reverse order")
    return stated.pop()


def _is_differenced(directory: Directory, compression: Compression) -> bool:
    stated = directory.number(_PREDICTOR, 1)
    if compression is Compression.JPEG or stated == 1:
        return False
    if stated != 2 or compression not in {Compression.LZW, Compression.DEFLATE}:
        raise _unread(f"of predictor {stated} with {compression.name}")
    return True


def _alpha(directory: Directory, photometric: Photometric, extra: int) -> int | None:
    """Which sample has yet to be applied: on black, colours that were multiplied by their opacity stay as they are."""
    kinds = directory.numbers(_EXTRA)[:extra]
    if {1, 2} & set(kinds) and photometric not in {Photometric.MIN_IS_BLACK, Photometric.RGB}:
        raise _unread(f"of {photometric.name} that is transparent")
    return _COLOURS[photometric] + kinds.index(2) if 2 in kinds else None


def _palette(directory: Directory, bits: int) -> tuple[int, ...]:
    palette = directory.numbers(_COLOUR_MAP)
    if len(palette) != 3 << bits:
        raise DamagedPicture("the TIFF has no whole colour map")
    return palette


def _subsampling(directory: Directory, compression: Compression, photometric: Photometric) -> tuple[int, int]:
    if photometric is not Photometric.YCBCR or compression is Compression.JPEG:  # a JPEG knows its own
        return 1, 1
    if not _is_near(directory.ratios(_COEFFICIENTS), _BT_601, 0.001):
        raise _unread("of YCbCr with other coefficients than those of BT.601")
    if not _is_near(directory.ratios(_BLACK_AND_WHITE), _FULL_RANGE, 0.5):
        raise _unread("of YCbCr that does not use its full range")
    across, down = (*directory.numbers(_SUBSAMPLING, 2, 2), 0)[:2]
    if not {across, down} <= {1, 2, 4} or down > across:
        raise DamagedPicture("the chroma of the TIFF is not readable")
    return across, down


def _is_near(stated: tuple[float, ...], usual: tuple[float, ...], most: float) -> bool:
    """Whether nothing else than the usual is stated."""
    if not stated:
        return True
    return len(stated) == len(usual) and all(abs(a - b) <= most for a, b in zip(stated, usual, strict=True))


def _segment(directory: Directory) -> Size:
    size = directory.size
    if _TILE_COLUMNS not in directory:
        rows = directory.number(_ROWS_PER_STRIP, size.rows)
        if not rows:
            raise DamagedPicture("the TIFF has strips without rows")
        return Size(size.columns, min(rows, size.rows))
    columns, rows = directory.number(_TILE_COLUMNS), directory.number(_TILE_ROWS)
    if min(columns, rows) < _LEAST_TILE or columns * rows > max(_LARGE_TILE.pixels, size.pixels):
        raise DamagedPicture("the TIFF has tiles of an impossible size")
    return Size(columns, rows)


def _check_combination(page: Page) -> None:
    """Raises UnsupportedFormat for what goes together in no file that a camera writes."""
    is_ycbcr = page.photometric is Photometric.YCBCR
    if page.compression is Compression.JPEG and (page.bits != 8 or page.palette):
        raise _unread("of JPEG with a palette or more than 8 bits")
    if is_ycbcr and (page.is_planar or page.bits != 8 or page.samples != 3):
        raise _unread("of YCbCr in planes, of 16 bits or with more samples")
    if page.is_differenced and page.subsampling != (1, 1):
        raise _unread("of YCbCr kept as differences")
    if page.palette and page.is_planar:
        raise _unread("of a palette in planes")


def _with_places(page: Page, directory: Directory) -> Page:
    begins_tag, lengths_tag = (_TILES, _TILE_BYTES) if page.is_tiled else (_STRIPS, _STRIP_BYTES)
    count = page.across * page.down * (page.samples if page.is_planar else 1)
    if count > _MAX_SEGMENTS:
        raise DamagedPicture(f"the TIFF has more than {_MAX_SEGMENTS} strips or tiles")
    needed = [page.bytes_of(page.rows_of(row * page.segment.rows)) for row in range(page.down)]
    by_size = [needed[at // page.across % page.down] for at in range(count)]
    is_plain = page.compression is Compression.NONE
    begins = directory.numbers(begins_tag)[:count]
    lengths = directory.numbers(lengths_tag, *(by_size if is_plain else ()))[:count]
    if len(begins) < count or len(lengths) < count:
        raise DamagedPicture("the TIFF has fewer strips or tiles than its size asks for")
    if any(not length or begin + length > len(directory.data) for begin, length in zip(begins, lengths, strict=True)):
        raise _truncated()
    if sum(lengths) > len(directory.data):
        raise DamagedPicture("strips or tiles of the TIFF lie over each other")
    if is_plain and any(length < least for length, least in zip(lengths, by_size, strict=True)):
        raise DamagedPicture("picture data of the TIFF is missing: it is truncated")
    return replace(page, places=tuple(zip(begins, lengths, strict=True)))


def _unread(what: str) -> UnsupportedFormat:
    return UnsupportedFormat(f"a TIFF {what} is not read: send JPEG or PNG")
