"""What a file's bytes are."""

from __future__ import annotations

import mmap
import struct
import tempfile
import time
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fundus_relay.domain.errors import (
    DamagedPicture,
    NotAPicture,
    PictureTooLarge,
    PictureTooSmall,
    UnacceptablePicture,
    UnsupportedFormat,
)
from fundus_relay.domain.geometry import Size
from fundus_relay.imaging import jpeg
from fundus_relay.imaging.format import PictureFacts, examine, media_type_of
from fundus_relay.imaging.preparation import prepare

from .pictures import ENOUGH, a_chunk, a_jpeg, a_png, a_png_header, a_raster

JPEG = a_jpeg(thumbnail=True, orientation=6)
PNG = a_png(a_raster(noise=0), orientation=8)


def in_format(name: str) -> bytes:
    file = BytesIO()
    a_raster(Size(64, 48)).save(file, name)
    return file.getvalue()


def with_frame(picture: bytes, **changed: int) -> bytes:
    """The JPEG with another frame header."""
    at = picture.index(b"\xff\xc0\x00\x11")
    bits, rows, columns, components = struct.unpack_from(">BHHB", picture, at + 4)
    new = {"marker": 0xC0, "bits": bits, "rows": rows, "columns": columns, "components": components} | changed
    head = struct.pack(">BBHBHHB", 0xFF, new["marker"], 17, new["bits"], new["rows"], new["columns"], new["components"])
    return picture[:at] + head + picture[at + len(head) :]


def test_a_jpeg_tells_its_stored_size_and_its_turn() -> None:
    assert examine(JPEG) == PictureFacts("image/jpeg", ENOUGH, orientation=6)


def test_a_png_tells_its_stored_size_and_its_turn() -> None:
    assert examine(PNG) == PictureFacts("image/png", ENOUGH, orientation=8)


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (a_jpeg(mode="L", noise=0), PictureFacts("image/jpeg", ENOUGH, channels=1)),
        (a_jpeg(mode="CMYK", noise=0), PictureFacts("image/jpeg", ENOUGH, channels=4)),
        (a_jpeg(progressive=True, noise=0), PictureFacts("image/jpeg", ENOUGH, is_progressive=True)),
        (a_jpeg(minimal=True, noise=0), PictureFacts("image/jpeg", ENOUGH)),
        (a_png(a_raster().convert("P")), PictureFacts("image/png", ENOUGH, channels=1, has_palette=True)),
        (a_png(a_raster().convert("RGBA")), PictureFacts("image/png", ENOUGH, channels=4)),
        (a_png(a_raster().convert("LA")), PictureFacts("image/png", ENOUGH, channels=2)),
        (a_png(Image.new("I;16", (1300, 1050))), PictureFacts("image/png", Size(1300, 1050), channels=1, bits=16)),
    ],
)
def test_grey_cmyk_palette_deep_and_transparent_pictures_are_taken(picture: bytes, expected: PictureFacts) -> None:
    assert examine(picture) == expected


def test_any_buffer_will_do_and_is_left_open() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(JPEG)
        file.flush()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            assert examine(mapped) == examine(memoryview(JPEG)) == examine(bytearray(JPEG)) == examine(JPEG)


@pytest.mark.parametrize(
    ("picture", "name"),
    [
        (in_format("GIF"), "GIF"),
        (in_format("BMP"), "BMP"),
        (in_format("WEBP"), "WebP"),
        (in_format("JPEG2000"), "JPEG 2000"),
        (b"\x00\x00\x00\x1cftypheic" + bytes(50), "HEIC"),
        (b"\x00\x00\x00\x1cftypavif" + bytes(50), "AVIF"),
        (b"%PDF-1.7" + bytes(50), "PDF"),
    ],
)
def test_another_picture_format_is_refused_by_its_name(picture: bytes, name: str) -> None:
    with pytest.raises(UnsupportedFormat, match=rf"^{name} is not supported"):
        examine(picture)


@pytest.mark.parametrize("picture", [b"", b"\xff", b"\xff\xd8", b"<html>", b"\x00" * 1000, b"not an image" * 99])
def test_what_is_no_picture_is_refused(picture: bytes) -> None:
    with pytest.raises(NotAPicture):
        examine(picture)


def test_the_bytes_decide_what_a_picture_is() -> None:
    assert media_type_of(JPEG) == "image/jpeg"
    assert media_type_of(PNG) == "image/png"


@pytest.mark.parametrize("share", [0.001, 0.01, 0.02, 0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("picture", [JPEG, PNG, a_jpeg(progressive=True)])
def test_a_truncated_picture_is_refused(picture: bytes, share: float) -> None:
    with pytest.raises(DamagedPicture):
        examine(picture[: int(len(picture) * share)])


@given(st.integers(3, len(JPEG) - 2))
def test_a_jpeg_cut_anywhere_is_refused_though_its_thumbnail_is_whole(length: int) -> None:
    with pytest.raises(UnacceptablePicture):
        examine(JPEG[:length])


@given(st.integers(0, len(PNG) - 1))
def test_a_png_cut_anywhere_is_refused(length: int) -> None:
    with pytest.raises(UnacceptablePicture):
        examine(PNG[:length])


@given(st.integers(8, len(PNG) - 5), st.integers(1, 255))
def test_a_png_with_one_wrong_byte_is_refused(at: int, change: int) -> None:
    with pytest.raises(UnacceptablePicture):
        examine(PNG[:at] + bytes([PNG[at] ^ change]) + PNG[at + 1 :])


@given(st.binary(max_size=400), st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b""]))
def test_bytes_at_random_are_refused_and_nothing_else_happens(tail: bytes, start: bytes) -> None:
    with pytest.raises(UnacceptablePicture):
        examine(start + tail)


def test_what_cameras_append_behind_the_picture_does_no_harm() -> None:
    assert examine(JPEG + bytes(200_000)) == examine(JPEG)
    assert examine(PNG + b"trailer") == examine(PNG)


def test_an_end_marker_that_lies_across_a_step_of_the_search_is_found() -> None:
    for padding in range(65_530, 65_540):
        assert examine(JPEG + bytes(padding)).size == ENOUGH


@pytest.mark.parametrize(
    ("size", "is_enough"),
    [
        (Size(1280, 1024), True),
        (Size(1024, 1280), True),
        (Size(1279, 1024), False),
        (Size(1280, 1023), False),
        (Size(1000, 800), False),
        (Size(1100, 1100), False),
        (Size(4000, 900), False),
    ],
)
def test_the_longer_side_needs_1280_and_the_shorter_1024_pixels(size: Size, is_enough: bool) -> None:
    picture = a_jpeg(size, noise=0)
    if is_enough:
        assert examine(picture).size == size
    else:
        with pytest.raises(PictureTooSmall, match=f"{size.columns} x {size.rows}"):
            examine(picture)


@pytest.mark.parametrize(
    "picture",
    [
        a_png_header(Size(50_000, 50_000)),
        a_png_header(Size(2**31 - 1, 2**31 - 1)),
        with_frame(a_jpeg(minimal=True), rows=65_500, columns=65_500),
    ],
)
def test_a_decompression_bomb_is_refused_by_its_header(picture: bytes) -> None:
    with pytest.raises(PictureTooLarge):
        examine(picture)


def test_the_limit_of_pixels_is_the_callers() -> None:
    with pytest.raises(PictureTooLarge):
        examine(JPEG, max_pixels=ENOUGH.pixels - 1)
    assert examine(JPEG, max_pixels=ENOUGH.pixels)


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"marker": 0xC3}, UnsupportedFormat),
        ({"marker": 0xC9}, UnsupportedFormat),
        ({"marker": 0xF7}, UnsupportedFormat),
        ({"bits": 12}, UnsupportedFormat),
        ({"components": 2}, UnsupportedFormat),
        ({"rows": 0}, DamagedPicture),
        ({"columns": 0}, DamagedPicture),
        ({"marker": 0xE5}, DamagedPicture),
    ],
)
def test_a_jpeg_that_common_decoders_do_not_read_is_refused(changed: dict[str, int], error: type[Exception]) -> None:
    with pytest.raises(error):
        examine(with_frame(a_jpeg(minimal=True), **changed))


@pytest.mark.parametrize(
    "segments",
    [
        b"\xff\xd9",
        b"\xff\xe0\x00\x01",
        b"\xff\xe0\x00\x02" + b"garbage",
        b"\xff\xff\xff\xe0\x00\x02\xff\xd9",
        b"\xff\xe0",
    ],
)
def test_a_jpeg_of_broken_segments_is_refused(segments: bytes) -> None:
    with pytest.raises(DamagedPicture):
        examine(b"\xff\xd8" + segments)


@pytest.mark.parametrize(
    ("many", "few"),
    [
        (JPEG[:2] + b"\xff\xe5\x00\x02" * 5000 + JPEG[2:], JPEG[:2] + b"\xff\xe5\x00\x02" * 4900 + JPEG[2:]),
        (JPEG[:2] + b"\xff\x01" * 5000 + JPEG[2:], JPEG[:2] + b"\xff\x01" * 4900 + JPEG[2:]),
        (
            PNG[:33] + a_chunk(b"teSt", b"") * 50_000 + PNG[33:],
            PNG[:33] + a_chunk(b"teSt", b"") * 49_000 + PNG[33:],
        ),
    ],
    ids=["JPEG", "JPEG without lengths", "PNG"],
)
def test_a_picture_of_countless_parts_is_refused(many: bytes, few: bytes) -> None:
    with pytest.raises(DamagedPicture, match="more than"):
        examine(many)
    assert examine(few).size == ENOUGH


def test_countless_segments_behind_the_picture_data_are_refused_before_a_pixel_is_decoded() -> None:
    crowded = a_jpeg(minimal=True).removesuffix(jpeg.END) + b"\xff\xfe\x00\x02" * 5000 + jpeg.END

    assert examine(crowded).size == ENOUGH
    with pytest.raises(DamagedPicture, match="more than"):
        prepare(crowded)


def test_fill_bytes_are_skipped_at_once() -> None:
    filled = JPEG[:2] + b"\xff" * 30_000_000 + JPEG[2:]

    begun = time.process_time()
    facts = examine(filled)

    assert facts == examine(JPEG)
    assert time.process_time() - begun < 1  # one by one they take five seconds


@pytest.mark.parametrize(
    "picture",
    [
        a_png_header(Size(1300, 1100), bits=3),
        a_png_header(Size(1300, 1100), kind=5),
        b"\x89PNG\r\n\x1a\n" + a_chunk(b"IDAT", bytes(40)),
        a_png_header(Size(1300, 1100)).replace(a_chunk(b"IDAT", b""), b""),
    ],
)
def test_a_png_of_broken_chunks_is_refused(picture: bytes) -> None:
    with pytest.raises(DamagedPicture):
        examine(picture)


def test_apples_private_png_is_refused() -> None:
    with pytest.raises(UnsupportedFormat):
        examine(PNG[:8] + a_chunk(b"CgBI", bytes(4)) + PNG[8:])
