"""TIFF files as a chain of directories, and which of their pictures is the photograph.

How this works. A TIFF is a chain of directories, each a table of tags that tells of one picture. `photograph_in` walks
the chain and finds the one photograph. Nothing that a tag says is believed beyond the bytes that are there, so a lie
costs neither memory nor time.

Source: TIFF 6.0 (Adobe, 1992) section 2; BigTIFF (libtiff 4).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum

from fundus_relay.domain.errors import DamagedPicture, SeveralPictures
from fundus_relay.domain.geometry import Size

from .sizes import is_enough

_STARTS = {b"II*\x00": ("<", False), b"MM\x00*": (">", False), b"II+\x00": ("<", True), b"MM\x00+": (">", True)}
"""Byte order, and whether it is a BigTIFF."""

_WHOLE = {1: "B", 3: "H", 4: "I", 7: "B", 13: "I", 16: "Q", 18: "Q"}
_RATIO = 5
_BYTES = {**{kind: struct.calcsize(code) for kind, code in _WHOLE.items()}, _RATIO: 8}
_MAX_DIRECTORIES = 200  # pyramids have ten, documents some tens
_MAX_TAGS = 4096
_MAX_NUMBERS = 200_000  # a colour map of 16 bits
_MOST_RATIOS = 6  # black and white of three colours
_THUMBNAIL = 3  # so many times smaller, on both sides
_REDUCED, _MASK = 1, 4  # bits of NewSubfileType
_OLD_REDUCED = 2


class Tag(IntEnum):
    """All that is read; what else a file tells, of a person perhaps, never becomes a value."""

    SUBFILE = 254
    OLD_SUBFILE = 255
    COLUMNS = 256
    ROWS = 257
    BITS = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    FILL_ORDER = 266
    STRIPS = 273
    ORIENTATION = 274
    SAMPLES = 277
    ROWS_PER_STRIP = 278
    STRIP_BYTES = 279
    PLANAR = 284
    PREDICTOR = 317
    COLOUR_MAP = 320
    TILE_COLUMNS = 322
    TILE_ROWS = 323
    TILES = 324
    TILE_BYTES = 325
    INKS = 332
    EXTRA = 338
    FORMAT = 339
    TABLES = 347
    COEFFICIENTS = 529
    SUBSAMPLING = 530
    BLACK_AND_WHITE = 532
    PROFILE = 34675


_READ = frozenset(Tag)


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
        if kind != _RATIO or count > _MOST_RATIOS:
            return ()
        parts = _unpacked(self.data, f"{self.order}{2 * count}I", at)
        return tuple(above / below if below else 0.0 for above, below in zip(parts[::2], parts[1::2], strict=True))

    def content(self, tag: int) -> bytes:
        """Bytes as they are, or nothing. Raises DamagedPicture."""
        kind, count, at = self._entries.get(tag, (0, 0, 0))
        if _BYTES.get(kind) != 1:
            return b""
        if at + count > len(self.data):
            raise truncated()
        return bytes(self.data[at : at + count])

    @property
    def size(self) -> Size:
        """Of the raster as stored. Raises DamagedPicture."""
        columns, rows = self.number(Tag.COLUMNS), self.number(Tag.ROWS)
        if not columns or not rows:
            raise DamagedPicture("the TIFF does not state its size")
        return Size(columns, rows)

    @property
    def is_reduced(self) -> bool:
        """Whether it says of itself that it is a smaller version of another picture, or a mask for one."""
        if self.number(Tag.SUBFILE, 0) & (_REDUCED | _MASK):
            return True
        return self.number(Tag.OLD_SUBFILE, 1) == _OLD_REDUCED


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
        raise truncated()
    return struct.unpack_from(form, data, at)


def truncated() -> DamagedPicture:
    """The error for what is said to lie where no bytes are."""
    return DamagedPicture("the TIFF refers to what lies behind its end: it is truncated")
