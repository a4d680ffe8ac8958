"""How the photograph of a TIFF is kept, and where its rows lie; no pixel is decoded here.

How this works. The rows of a picture lie in strips or tiles anywhere in the file. `page_of` reads from the picture's
directory how they are packed and what their samples mean, and sees that they are all within the file, and as many as
its size asks for.

Source: TIFF 6.0 (Adobe, 1992); TIFF Technical Note 2 (JPEG, 1995); ICC.1:2022 annex B.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

from fundus_relay.domain.errors import DamagedPicture, UnsupportedFormat
from fundus_relay.domain.geometry import Size

from .directories import Directory, Tag, truncated
from .orientation import UPRIGHT

_MAX_SEGMENTS = 100_000  # strips and tiles have some kilobytes at least; millions serve to keep a reader busy
_LEAST_TILE, _LARGE_TILE = 16, Size(4096, 4096)


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


def page_of(directory: Directory) -> Page:
    """How a picture is kept; every strip or tile is in the file.

    Raises:
        UnsupportedFormat: of a kind that is not read.
        DamagedPicture: something is missing or contradicts itself.
    """
    compression, photometric = _compression(directory), _photometric(directory)
    samples = directory.number(Tag.SAMPLES, 1)
    bits = _bits(directory, samples)
    extra = samples - _COLOURS[photometric]
    if extra < 0:
        raise DamagedPicture("the TIFF has fewer samples than its colours need")
    is_planar = directory.number(Tag.PLANAR, 1) == 2 and samples > 1
    orientation = directory.number(Tag.ORIENTATION, UPRIGHT)
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
        is_tiled=Tag.TILE_COLUMNS in directory,
        places=(),
        is_differenced=_is_differenced(directory, compression),
        alpha=_alpha(directory, photometric, extra),
        palette=_palette(directory, bits) if photometric is Photometric.PALETTE else (),
        subsampling=_subsampling(directory, compression, photometric),
        tables=directory.content(Tag.TABLES) if compression is Compression.JPEG else b"",
        profile=directory.content(Tag.PROFILE),
    )
    _check_combination(page)
    return _with_places(page, directory)


# ------------------------------------------------------------------------------------------------------------- a page


def _compression(directory: Directory) -> Compression:
    stated = directory.number(Tag.COMPRESSION, Compression.NONE)
    if stated == _OLD_DEFLATE:
        return Compression.DEFLATE
    try:
        return Compression(stated)
    except ValueError as exc:
        raise _unread(f"of compression {_OTHER_COMPRESSIONS.get(stated, stated)}") from exc


def _photometric(directory: Directory) -> Photometric:
    stated = directory.number(Tag.PHOTOMETRIC)
    try:
        photometric = Photometric(stated)
    except ValueError as exc:
        raise _unread(f"of photometric interpretation {stated}") from exc
    if photometric is Photometric.CMYK and directory.number(Tag.INKS, 1) != 1:
        raise _unread("of other inks than CMYK")
    return photometric


def _bits(directory: Directory, samples: int) -> int:
    stated = set(directory.numbers(Tag.BITS, 1)[:samples])
    if stated not in ({8}, {16}):
        raise _unread(f"of {'/'.join(map(str, sorted(stated)))} bits")
    if not set(directory.numbers(Tag.FORMAT, 1)[:samples]) <= {1, 4}:  # 4: not said
        raise _unread("of numbers that are not unsigned integers")
    if directory.number(Tag.FILL_ORDER, 1) != 1:
        raise _unread("of bits in reverse order")
    return stated.pop()


def _is_differenced(directory: Directory, compression: Compression) -> bool:
    stated = directory.number(Tag.PREDICTOR, 1)
    if compression is Compression.JPEG or stated == 1:
        return False
    if stated != 2 or compression not in {Compression.LZW, Compression.DEFLATE}:
        raise _unread(f"of predictor {stated} with {compression.name}")
    return True


def _alpha(directory: Directory, photometric: Photometric, extra: int) -> int | None:
    """Which sample has yet to be applied: on black, colours that were multiplied by their opacity stay as they are."""
    kinds = directory.numbers(Tag.EXTRA)[:extra]
    if {1, 2} & set(kinds) and photometric not in {Photometric.MIN_IS_BLACK, Photometric.RGB}:
        raise _unread(f"of {photometric.name} that is transparent")
    return _COLOURS[photometric] + kinds.index(2) if 2 in kinds else None


def _palette(directory: Directory, bits: int) -> tuple[int, ...]:
    palette = directory.numbers(Tag.COLOUR_MAP)
    if len(palette) != 3 << bits:
        raise DamagedPicture("the TIFF has no whole colour map")
    return palette


def _subsampling(directory: Directory, compression: Compression, photometric: Photometric) -> tuple[int, int]:
    if photometric is not Photometric.YCBCR or compression is Compression.JPEG:  # a JPEG knows its own
        return 1, 1
    if not _is_near(directory.ratios(Tag.COEFFICIENTS), _BT_601, 0.001):
        raise _unread("of YCbCr with other coefficients than those of BT.601")
    if not _is_near(directory.ratios(Tag.BLACK_AND_WHITE), _FULL_RANGE, 0.5):
        raise _unread("of YCbCr that does not use its full range")
    across, down = (*directory.numbers(Tag.SUBSAMPLING, 2, 2), 0)[:2]
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
    if Tag.TILE_COLUMNS not in directory:
        rows = directory.number(Tag.ROWS_PER_STRIP, size.rows)
        if not rows:
            raise DamagedPicture("the TIFF has strips without rows")
        return Size(size.columns, min(rows, size.rows))
    columns, rows = directory.number(Tag.TILE_COLUMNS), directory.number(Tag.TILE_ROWS)
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
    begins_tag, lengths_tag = (Tag.TILES, Tag.TILE_BYTES) if page.is_tiled else (Tag.STRIPS, Tag.STRIP_BYTES)
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
        raise truncated()
    if sum(lengths) > len(directory.data):
        raise DamagedPicture("strips or tiles of the TIFF lie over each other")
    if is_plain and any(length < least for length, least in zip(lengths, by_size, strict=True)):
        raise DamagedPicture("picture data of the TIFF is missing: it is truncated")
    return replace(page, places=tuple(zip(begins, lengths, strict=True)))


def _unread(what: str) -> UnsupportedFormat:
    return UnsupportedFormat(f"a TIFF {what} is not read: send JPEG or PNG")
