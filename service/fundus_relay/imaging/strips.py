"""Pixels of a TIFF's photograph: strips and tiles unpacked, put together, and made what people see.

How this works. Each strip or tile is unpacked to exactly the bytes that it needs, never more; less means that the file
is damaged, and nothing is made up for it. Samples then go in bands of rows, so that the whole is never there at once in
16 bits, to a picture in `L`, `RGB` or `CMYK`. A JPEG that is all of the picture is handed on as it is.

Source: TIFF 6.0 (Adobe, 1992) sections 8, 9, 13 to 16, 18, 20, 21; TIFF Technical Note 2 (1995).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from PIL import Image

from fundus_relay.domain.errors import DamagedPicture
from fundus_relay.domain.geometry import Size

from . import jpeg
from .decoding import check_is_whole, decoded
from .format import jpeg_facts
from .frame import Frame
from .tiff import Compression, Page, Photometric

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BAND = 128  # rows that are made at once
_STEP = 1 << 20
_MODES = {Photometric.MIN_IS_WHITE: "L", Photometric.MIN_IS_BLACK: "L", Photometric.CMYK: "CMYK"}


def frame_of(data: memoryview, page: Page) -> Frame:
    """The picture, as stored, as it can be worked with.

    Args:
        data: the whole file.

    Raises: DamagedPicture, UnsupportedFormat.
    """
    if _may_be_one_jpeg(page):
        file = _whole_jpeg(data, page)
        facts = jpeg_facts(memoryview(file))
        if (facts.size, facts.channels) == (page.size, page.samples):
            return Frame(file, page.profile, ("taken out of its TIFF file",))
    image = Image.new(_MODES.get(page.photometric, "RGB"), (page.size.columns, page.size.rows))
    for left, top, samples in _in_planes(data, page) if page.is_planar else _pieces(data, page, 0):
        image.paste(_image(_shown(samples, page), image.mode), (left, top))
    return Frame(image, page.profile, tuple(_steps(page)))


def _may_be_one_jpeg(page: Page) -> bool:
    """Whether a reader of JPEG shows the one strip or tile as the TIFF means it."""
    is_plain = page.photometric in {Photometric.MIN_IS_BLACK, Photometric.RGB, Photometric.YCBCR}
    return page.compression is Compression.JPEG and len(page.places) == 1 and is_plain and page.samples == page.colours


def _steps(page: Page) -> Iterator[str]:
    yield f"decoded from TIFF, compression {page.compression.name}"
    if page.palette:
        yield "palette applied"
    elif page.bits == 16:
        yield "16 bits to 8"
    if page.photometric is Photometric.MIN_IS_WHITE:
        yield "inverted: WhiteIsZero"
    if page.alpha is not None:
        yield "laid on black"


def _image(samples: NDArray[Any], mode: str) -> Image.Image:
    import numpy as np

    samples = np.ascontiguousarray(samples)
    return Image.frombuffer(mode, (samples.shape[1], samples.shape[0]), samples, "raw", mode, 0, 1)


# ------------------------------------------------------------------------------------------------------ strips, tiles


def _pieces(data: memoryview, page: Page, plane: int) -> Iterator[tuple[int, int, NDArray[Any]]]:
    """Left, top and samples (rows, columns, samples) of one band after another; none reaches beyond the picture."""
    of_plane = plane * page.across * page.down
    for index in range(page.across * page.down):
        top = index // page.across * page.segment.rows
        left = index % page.across * page.segment.columns
        begin, length = page.places[of_plane + index]
        stored = _samples(data[begin : begin + length], page, page.rows_of(top))
        width, height = page.size.columns - left, min(len(stored), page.size.rows - top)
        for row in range(0, height, _BAND):
            band = _undifferenced(stored[row : min(height, row + _BAND)], page)
            yield left, top + row, band[:, :width]


def _in_planes(data: memoryview, page: Page) -> Iterator[tuple[int, int, NDArray[Any]]]:
    """The same of a picture whose samples are kept apart; 8 bits."""
    import numpy as np

    planes = [Image.new("L", (page.size.columns, page.size.rows)) for _ in range(page.samples)]
    for number, plane in enumerate(planes):
        for left, top, samples in _pieces(data, page, number):
            plane.paste(_image(_in_8_bits(samples), "L"), (left, top))
    for top in range(0, page.size.rows, _BAND):
        band = (0, top, page.size.columns, min(page.size.rows, top + _BAND))
        yield 0, top, np.stack([np.asarray(plane.crop(band)) for plane in planes], axis=-1)


def _samples(packed: memoryview, page: Page, rows: int) -> NDArray[Any]:
    """(rows, columns, samples) of a strip or tile as they are stored; differences are not undone."""
    import numpy as np

    if page.compression is Compression.JPEG:
        return _of_jpeg(packed, page, rows)
    raw = _unpacked(packed, page, page.bytes_of(rows))
    if page.subsampling != (1, 1):
        return _with_chroma(np.frombuffer(raw, np.uint8), page, rows)
    kind = np.dtype(np.uint8 if page.bits == 8 else f"{page.order}u2")
    return np.frombuffer(raw, kind).reshape(rows, page.segment.columns, -1)


def _unpacked(packed: memoryview, page: Page, needed: int) -> bytes | bytearray | memoryview:
    """Exactly as many bytes as are needed. Raises DamagedPicture when they are not there."""
    import imagecodecs

    raw: bytes | bytearray | memoryview
    try:
        match page.compression:
            case Compression.DEFLATE:
                raw = _inflated(packed, needed)
            case Compression.LZW:
                raw = imagecodecs.lzw_decode(packed, out=needed)  # type: ignore[arg-type]  # it takes any buffer
            case Compression.PACKBITS:  # the last strip may be packed with as many rows as the others
                room = max(needed, page.bytes_of(page.segment.rows))
                raw = imagecodecs.packbits_decode(packed, out=room)  # type: ignore[arg-type]  # as above
            case _:
                raw = packed
    except (zlib.error, RuntimeError, ValueError) as exc:  # imagecodecs' errors are RuntimeErrors
        raise DamagedPicture("a strip or tile of the TIFF does not unpack") from exc
    if len(raw) < needed:
        raise DamagedPicture("picture data of the TIFF is missing: it is truncated")
    return memoryview(raw)[:needed]


def _inflated(packed: memoryview, needed: int) -> bytearray:
    """Inflated piece by piece into its place; the checksum counts, if the stream ends there."""
    raw, at = bytearray(needed), 0
    inflater = zlib.decompressobj()
    for begin in range(0, len(packed), _STEP):
        waiting: bytes | memoryview = packed[begin : begin + _STEP]
        while waiting and not inflater.eof:
            part = inflater.decompress(waiting, min(_STEP, max(1, needed - at)))
            if at == needed and part:  # more rows than are needed
                return raw
            raw[at : at + len(part)] = part
            at += len(part)
            waiting = inflater.unconsumed_tail
    del raw[at:]
    return raw


def _undifferenced(band: NDArray[Any], page: Page) -> NDArray[Any]:
    import numpy as np

    if not page.is_differenced:
        return band
    return np.add.accumulate(band, axis=1, dtype=np.uint8 if page.bits == 8 else np.uint16)


# --------------------------------------------------------------------------------------------------------------- JPEG


def _whole_jpeg(data: memoryview, page: Page) -> bytes:
    ((begin, length),) = page.places
    return _jpeg_file(data[begin : begin + length], page)


def _jpeg_file(packed: memoryview, page: Page) -> bytes:
    """A strip or tile as a file of its own, with the tables that all share, and told what its colours are."""
    if packed[:2] != jpeg.START or page.tables[:2] not in {b"", jpeg.START}:
        raise DamagedPicture("a strip or tile of the TIFF is no JPEG")
    joined = jpeg.START + page.tables[2:].removesuffix(jpeg.END) + packed[2:]
    return jpeg.without_markers(memoryview(joined), is_rgb=page.photometric is not Photometric.YCBCR)


def _of_jpeg(packed: memoryview, page: Page, rows: int) -> NDArray[Any]:
    import numpy as np

    file = _jpeg_file(packed, page)
    facts = jpeg_facts(memoryview(file))
    if facts.channels != (1 if page.is_planar else page.samples):
        raise DamagedPicture("a JPEG in the TIFF has other colours than the TIFF says")
    if facts.size.columns != page.segment.columns or not rows <= facts.size.rows <= page.segment.rows:
        raise DamagedPicture("a JPEG in the TIFF has another size than the TIFF says")
    check_is_whole(file, facts)
    pixels = np.asarray(decoded(file, facts))
    pixels = 255 - pixels if facts.channels == 4 else pixels  # Pillow takes four samples for Adobe's inverted CMYK
    return pixels.reshape(*pixels.shape[:2], -1)


# -------------------------------------------------------------------------------------------------------- what is seen


def _in_8_bits(samples: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    if samples.dtype.itemsize == 1:
        return samples
    return ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _shown(samples: NDArray[Any], page: Page) -> NDArray[Any]:
    """(rows, columns) or (rows, columns, colours) of 8 bits: bright where it is bright, the transparent on black."""
    import numpy as np

    if page.palette:
        shown: NDArray[Any] = _palette(page)[samples[..., 0]]
        return shown
    samples = _in_8_bits(samples)
    count = page.colours
    colours = samples[..., 0] if count == 1 else samples[..., :count]
    if page.photometric is Photometric.YCBCR and page.compression is not Compression.JPEG:
        return np.asarray(_image(colours, "YCbCr").convert("RGB"))
    if page.photometric is Photometric.MIN_IS_WHITE:
        return 255 - colours
    if page.alpha is not None:
        opacity = samples[..., page.alpha].astype(np.uint16)
        opacity = opacity if colours.ndim == 2 else opacity[..., None]
        return ((colours * opacity + 127) // 255).astype(np.uint8)
    return colours


def _palette(page: Page) -> NDArray[Any]:
    """(indices, 3), 8 bits: the upper ones, or those that are there when a writer has used no others."""
    import numpy as np

    palette = np.array(page.palette, np.uint16).reshape(3, -1).T
    return (palette >> 8 if palette.max() > 255 else palette).astype(np.uint8)


def _with_chroma(raw: NDArray[Any], page: Page, rows: int) -> NDArray[Any]:
    """(rows, columns, 3) of pixels that are kept in blocks, each with one value of both chromas."""
    import numpy as np

    across, down = page.subsampling
    size = Size(-(-page.segment.columns // across) * across, -(-rows // down) * down)
    blocks = raw.reshape(size.rows // down, size.columns // across, across * down + 2)
    pixels = np.empty((size.rows, size.columns, 3), np.uint8)
    luma = blocks[..., :-2].reshape(size.rows // down, size.columns // across, down, across)
    pixels[..., 0] = luma.transpose(0, 2, 1, 3).reshape(size.rows, size.columns)
    for chroma in (1, 2):
        pixels[..., chroma] = blocks[..., chroma - 3].repeat(down, axis=0).repeat(across, axis=1)
    return pixels[:rows, : page.segment.columns]
