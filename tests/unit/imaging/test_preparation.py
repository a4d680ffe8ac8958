"""What is sent, and that a box comes back to the pixels it was found on."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from hashlib import sha256
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops
from tests.dicom_files import dicom_file
from tests.tiff_files import tiff_file

from fundus_relay.domain.errors import DamagedPicture, PictureTooLarge, UnacceptablePicture
from fundus_relay.domain.geometry import IDENTITY, Box, Size
from fundus_relay.imaging import jpeg
from fundus_relay.imaging.format import examine
from fundus_relay.imaging.preparation import Prepared, prepare

from .pictures import (
    ENOUGH,
    SECRET,
    a_chunk,
    a_jpeg,
    a_png,
    a_raster,
    find_marked,
    srgb_profile,
    swapped_profile,
)

MARKED = Box(200, 304, 440, 376)
PLAIN = a_jpeg()
PROGRESSIVE = a_jpeg(progressive=True)


def opened(picture: bytes) -> Image.Image:
    return Image.open(BytesIO(picture))


def marked_in(prepared: Prepared) -> Box:
    return find_marked(opened(prepared.picture))


def difference(a: Image.Image, b: Image.Image) -> int:
    return max(ImageChops.difference(a.convert("RGB"), b.convert("RGB")).tobytes())


# ----------------------------------------------------------------------------------------------------- pixels untouched


@pytest.mark.parametrize(
    "picture",
    [
        PLAIN,
        PROGRESSIVE,
        a_jpeg(thumbnail=True, orientation=1),
        a_jpeg(profile=srgb_profile()),
        a_jpeg(subsampling="4:2:0"),
        a_jpeg(profile=b"no profile at all"),
        a_png(),
        a_png(profile=srgb_profile()),
    ],
)
def test_an_upright_rgb_picture_keeps_every_pixel_and_loses_all_metadata(picture: bytes) -> None:
    prepared = prepare(picture)

    assert difference(opened(prepared.picture), opened(picture)) == 0
    assert prepared.to_source == IDENTITY
    assert prepared.steps == ("metadata removed",)
    assert SECRET not in prepared.picture
    assert set(opened(prepared.picture).info) <= {
        "jfif",
        "jfif_version",
        "jfif_unit",
        "jfif_density",
        "progressive",
        "progression",
    }


def test_the_compressed_pixels_of_a_jpeg_are_not_touched() -> None:
    scan = PLAIN[PLAIN.index(b"\xff\xda") :]

    assert prepare(PLAIN).picture.endswith(scan)


def test_what_is_bare_already_is_sent_as_it_came() -> None:
    bare = prepare(PLAIN).picture

    again = prepare(bare)

    assert again.picture == bare
    assert again.steps == ()


def test_a_prepared_picture_names_its_digest_its_size_and_its_type() -> None:
    prepared = prepare(PLAIN)

    assert prepared.sha256 == sha256(prepared.picture).hexdigest()
    assert (prepared.size, prepared.media_type) == (ENOUGH, "image/jpeg")


def test_the_same_picture_is_always_prepared_to_the_same_bytes() -> None:
    turned = a_jpeg(orientation=5)

    assert prepare(turned) == prepare(turned)


@pytest.mark.parametrize(
    "picture",
    [
        pytest.param(a_jpeg(), id="JPEG"),
        pytest.param(a_jpeg(orientation=6), id="JPEG that is written anew"),
        pytest.param(a_png(), id="PNG"),
        pytest.param(dicom_file(np.asarray(a_raster())), id="DICOM"),
        pytest.param(dicom_file(np.asarray(a_raster().convert("L")), photometric="MONOCHROME2"), id="DICOM, grey"),
        pytest.param(tiff_file(np.asarray(a_raster())), id="TIFF"),
    ],
)
def test_a_file_that_is_handed_over_as_a_view_is_let_go(picture: bytes) -> None:
    view = memoryview(picture)

    assert prepare(view) == prepare(picture)

    with pytest.raises(ValueError, match="released"):
        view.tobytes()


def test_comments_between_scans_and_pictures_behind_the_picture_go_too() -> None:
    second_scan = PROGRESSIVE.index(b"\xff\xc4", PROGRESSIVE.index(b"\xff\xda"))
    comment = b"\xff\xfe" + struct.pack(">H", len(SECRET) + 2) + SECRET
    hidden = PROGRESSIVE[:second_scan] + comment + PROGRESSIVE[second_scan:] + PLAIN + SECRET

    assert prepare(hidden).picture == prepare(PROGRESSIVE).picture


def test_a_jpeg_whose_channels_are_rgb_and_not_ycc_keeps_its_colours() -> None:
    file = BytesIO()
    a_raster(marked=MARKED).save(file, "JPEG", quality=95, keep_rgb=True)
    only_adobe_says_rgb = _with_adobe_segment(_with_numbered_channels(file.getvalue()))

    prepared = prepare(only_adobe_says_rgb)

    assert difference(opened(prepared.picture), a_raster(marked=MARKED)) < 60
    assert SECRET not in prepared.picture


def _with_numbered_channels(picture: bytes) -> bytes:
    """The JPEG with channels 1, 2, 3 where R, G, B stood: decoders take those for luma and chroma."""
    frame, scan = picture.index(b"\xff\xc0") + 10, picture.index(b"\xff\xda") + 5
    changed = bytearray(picture)
    for number in range(3):
        changed[frame + 3 * number] = changed[scan + 2 * number] = number + 1
    return bytes(changed)


def _with_adobe_segment(picture: bytes) -> bytes:
    content = b"Adobe" + struct.pack(">HHHB", 100, 0, 0, 0) + SECRET
    bare = picture[:2] + picture[picture.index(b"\xff\xdb") :]
    return bare[:2] + b"\xff\xee" + struct.pack(">H", len(content) + 2) + content + bare[2:]


def test_the_thumbnail_in_a_jfif_segment_goes_and_the_segment_stays() -> None:
    thumbnail = SECRET.ljust(27)
    old = PLAIN[PLAIN.index(b"\xff\xe0") :][:18]
    new = b"\xff\xe0" + struct.pack(">H", 16 + 27) + b"JFIF\x00\x01\x02\x01\x00\x48\x00\x48\x03\x03" + thumbnail

    prepared = prepare(PLAIN.replace(old, new, 1))

    assert SECRET not in prepared.picture
    assert prepared.picture[2:11] == b"\xff\xe0\x00\x10JFIF\x00"


SEGMENT_THAT_NOBODY_NEEDS = [0xDC, 0xE3, 0xEF, 0xFE]
"""A number of lines (which decoders skip), application segments, a comment."""


@pytest.mark.parametrize("marker", SEGMENT_THAT_NOBODY_NEEDS)
def test_no_segment_of_a_jpeg_stays_but_those_that_pixels_are_made_of(marker: int) -> None:
    scan = PLAIN.index(b"\xff\xda")
    segment = bytes([0xFF, marker]) + struct.pack(">H", len(SECRET) + 2) + SECRET

    prepared = prepare(PLAIN[:scan] + segment + PLAIN[scan:])

    assert prepared.picture == prepare(PLAIN).picture


def test_what_an_adobe_segment_says_besides_its_transform_goes() -> None:
    content = b"Adobe" + SECRET[:6] + b"\x01"
    segment = b"\xff\xee" + struct.pack(">H", len(content) + 2) + content
    without_jfif = PLAIN[:2] + segment + PLAIN[PLAIN.index(b"\xff\xdb") :]

    prepared = prepare(without_jfif)

    assert SECRET[:6] not in prepared.picture
    assert difference(opened(prepared.picture), opened(without_jfif)) == 0


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (b"PLTE", SECRET * 3),  # a suggestion in a picture of three colours
        (b"iTXt", b"Comment\x00\x00\x00\x00\x00" + SECRET),
        (b"prIv", SECRET),
    ],
)
def test_no_chunk_of_a_png_stays_but_those_that_pixels_are_made_of(name: bytes, content: bytes) -> None:
    whole = a_png()

    assert prepare(whole[:33] + a_chunk(name, content) + whole[33:]).picture == prepare(whole).picture


def test_the_last_chunk_of_a_png_is_empty_whatever_was_in_it() -> None:
    whole = a_png()

    prepared = prepare(whole.replace(a_chunk(b"IEND", b""), a_chunk(b"IEND", SECRET)) + SECRET)

    assert prepared.picture == prepare(whole).picture


@pytest.mark.parametrize(
    "pack",
    [
        lambda rows: zlib.compress(rows + SECRET),
        lambda rows: zlib.compress(rows) + SECRET,
        lambda rows: zlib.compress(rows)[:-4],
    ],
    ids=["packed", "raw", "no checksum"],
)
def test_what_a_png_has_behind_its_pixels_does_not_go_with_them(pack: Callable[[bytes], bytes]) -> None:
    rows = b"".join(b"\x00" + bytes([row % 256, 70, 40]) * 1300 for row in range(1050))
    header = a_chunk(b"IHDR", struct.pack(">IIBBBBB", 1300, 1050, 8, 2, 0, 0, 0))
    picture = b"\x89PNG\r\n\x1a\n" + header + a_chunk(b"IDAT", pack(rows)) + a_chunk(b"IEND", b"")

    prepared = prepare(picture)

    assert prepared.steps == ("written as PNG",)
    assert difference(opened(prepared.picture), opened(picture)) == 0


def test_a_png_whose_header_is_longer_than_a_header_is_refused() -> None:
    longer = a_chunk(b"IHDR", struct.pack(">IIBBBBB", 1320, 1040, 8, 2, 0, 0, 0) + SECRET)

    with pytest.raises(DamagedPicture, match="header"):
        prepare(a_png()[:8] + longer + a_png()[33:])


# ------------------------------------------------------------------------------------------------------- the way back


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("is_png", [False, True])
def test_a_box_found_upright_lies_on_its_own_pixels_in_the_stored_raster(orientation: int, is_png: bool) -> None:
    raster = a_raster(marked=MARKED)
    picture = a_png(raster, orientation=orientation) if is_png else a_jpeg(marked=MARKED, orientation=orientation)

    prepared = prepare(picture)

    assert prepared.to_source.box(marked_in(prepared)) == MARKED == find_marked(opened(picture))
    assert examine(prepared.picture).orientation == 1
    assert examine(prepared.picture).size == prepared.size


def test_the_picture_is_sent_as_a_viewer_shows_it() -> None:
    picture = a_png(a_raster(), orientation=6)

    shown = opened(picture).transpose(Image.Transpose.ROTATE_270)

    assert difference(opened(prepare(picture).picture), shown) == 0


# ----------------------------------------------------------------------------------------------------------- the limit


def test_a_picture_over_the_limit_loses_quality_first() -> None:
    prepared = prepare(a_jpeg(noise=40, quality=100), limit_bytes=1_900_000)

    assert len(prepared.picture) <= 1_900_000
    assert prepared.size == ENOUGH
    assert prepared.steps[-1].startswith("written as JPEG of quality")


@pytest.mark.parametrize("share", [0.99, 0.9, 0.75, 0.6])
def test_the_quality_is_the_best_that_fits(share: float) -> None:
    raster = a_raster(noise=20)
    limit = int(share * len(a_jpeg(noise=20, quality=95, subsampling="4:4:4")))
    turned = a_jpeg(noise=20, quality=100, orientation=3)

    prepared = prepare(turned, limit_bytes=limit)

    upright = opened(turned).transpose(Image.Transpose.ROTATE_180)
    fitting = [each for each in (95, 92, 89, 86) if written_size(upright, each) <= limit]
    assert raster.size == (prepared.size.columns, prepared.size.rows)
    assert prepared.steps[-1] == f"written as JPEG of quality {fitting[0]}"


def written_size(image: Image.Image, quality: int) -> int:
    file = BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling="4:4:4")
    return len(file.getvalue())


def test_chroma_keeps_its_full_resolution_when_written_again() -> None:
    prepared = prepare(a_jpeg(orientation=3))

    assert [(across, down) for _, across, down, _ in opened(prepared.picture).layer] == [(1, 1)] * 3


def test_then_it_shrinks_but_not_below_what_the_analyser_asks_for() -> None:
    picture = a_jpeg(Size(2600, 2080), noise=80)

    prepared = prepare(picture, limit_bytes=1_300_000)

    assert len(prepared.picture) <= 1_300_000
    assert prepared.size.columns >= 1280
    assert prepared.size.rows >= 1024
    assert prepared.size.columns < 2600
    assert any(step.startswith("scaled from 2600 x 2080 to ") for step in prepared.steps)


def test_a_picture_that_may_not_shrink_loses_more_quality() -> None:
    prepared = prepare(a_jpeg(Size(1280, 1024), noise=80), limit_bytes=1_500_000)

    assert len(prepared.picture) <= 1_500_000
    assert prepared.size == Size(1280, 1024)
    assert prepared.steps[-1] in {"written as JPEG of quality 80", "written as JPEG of quality 70"}


def test_a_picture_that_cannot_be_brought_below_the_limit_is_refused() -> None:
    with pytest.raises(PictureTooLarge, match="below 100000 bytes"):
        prepare(a_jpeg(noise=80), limit_bytes=100_000)


def test_a_large_png_becomes_a_jpeg() -> None:
    prepared = prepare(a_png(a_raster(noise=80)), limit_bytes=3_000_000)

    assert prepared.media_type == examine(prepared.picture).media_type == "image/jpeg"
    assert prepared.size == ENOUGH


# ------------------------------------------------------------------------------------------------------------- colours


def test_a_colour_profile_is_applied_before_it_is_dropped() -> None:
    plain, swapped = a_jpeg(marked=MARKED, noise=0), a_jpeg(marked=MARKED, noise=0, profile=swapped_profile())

    prepared = prepare(swapped)

    assert "colour profile applied" in prepared.steps
    assert opened(plain).getpixel((300, 340))[1] > 240
    red, green, _ = opened(prepared.picture).getpixel((300, 340))
    assert red > 240
    assert green < 15


def test_a_profile_for_other_channels_than_the_pictures_is_left_aside() -> None:
    prepared = prepare(a_jpeg(mode="L", profile=srgb_profile()))

    assert prepared.steps == ("metadata removed", "L to RGB", "written as JPEG of quality 95")


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_a_jpeg_in_grey_or_cmyk_becomes_rgb(mode: str) -> None:
    picture = a_jpeg(mode=mode, noise=0)

    prepared = prepare(picture)

    assert opened(prepared.picture).mode == "RGB"
    assert difference(opened(prepared.picture), opened(picture)) <= 8
    assert f"{mode} to RGB" in prepared.steps


@pytest.mark.parametrize("mode", ["L", "P", "1"])
def test_a_png_in_grey_or_palette_becomes_rgb_without_loss(mode: str) -> None:
    picture = a_png(a_raster(noise=0).convert(mode))

    prepared = prepare(picture)

    assert (prepared.media_type, opened(prepared.picture).mode) == ("image/png", "RGB")
    assert difference(opened(prepared.picture), opened(picture)) == 0


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_lies_on_black(mode: str) -> None:
    raster = a_raster(noise=0).convert(mode)
    raster.putalpha(Image.linear_gradient("L").resize(raster.size).point(lambda level: 255 if level > 100 else 0))

    prepared = prepare(a_png(raster))

    image = opened(prepared.picture)
    assert image.mode == "RGB"
    assert image.getpixel((10, 10)) == (0, 0, 0)
    assert difference(image.crop((0, 800, 1320, 1040)), raster.convert("RGB").crop((0, 800, 1320, 1040))) == 0


def test_a_transparent_colour_of_an_rgb_png_lies_on_black() -> None:
    raster = a_raster(noise=0, marked=MARKED)
    file = BytesIO()
    raster.save(file, "PNG", transparency=(0, 255, 0))

    image = opened(prepare(file.getvalue()).picture)

    assert image.getpixel((300, 340)) == (0, 0, 0)
    assert image.getpixel((5, 5)) == raster.getpixel((5, 5))


@pytest.mark.parametrize(("deep", "shallow"), [(0, 0), (257, 1), (32_896, 128), (65_535, 255)])
def test_sixteen_bits_become_eight_by_scale(deep: int, shallow: int) -> None:
    grey = Image.new("I;16", (1300, 1050), deep)

    prepared = prepare(a_png(grey))

    assert opened(prepared.picture).getpixel((7, 7)) == (shallow,) * 3
    assert "16 bits to 8" in prepared.steps


def test_sixteen_bits_of_three_colours_become_eight() -> None:
    row = b"\x00" + struct.pack(">HHH", 0x8000, 0x4000, 0xFFFF) * 1300
    header = struct.pack(">IIBBBBB", 1300, 1050, 16, 2, 0, 0, 0)
    picture = b"\x89PNG\r\n\x1a\n" + a_chunk(b"IHDR", header)
    picture += a_chunk(b"IDAT", zlib.compress(row * 1050)) + a_chunk(b"IEND", b"")

    assert opened(prepare(picture).picture).getpixel((9, 9)) == (0x80, 0x40, 0xFF)


# ------------------------------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize("missing", [40, 400, 4_000, 40_000, 200_000])
@pytest.mark.parametrize("picture", [PLAIN, PROGRESSIVE, a_jpeg(mode="L"), a_jpeg(subsampling="4:2:0", orientation=6)])
def test_a_jpeg_that_lost_its_end_is_refused_even_with_an_end_marker(picture: bytes, missing: int) -> None:
    with pytest.raises(DamagedPicture):
        prepare(picture[:-missing] + jpeg.END)


def test_a_progressive_jpeg_cut_between_scans_is_refused() -> None:
    scans = [s.start for s in jpeg.segments(memoryview(PROGRESSIVE)) if s.marker == 0xDA]

    for start in scans[1:]:
        with pytest.raises(DamagedPicture):
            prepare(PROGRESSIVE[:start] + jpeg.END)


@pytest.mark.parametrize("rows", [0, 1, 500, 1049])
def test_a_png_whose_data_ends_early_is_refused(rows: int) -> None:
    header = struct.pack(">IIBBBBB", 1300, 1050, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1300 * 3 + 1) * rows)
    picture = b"\x89PNG\r\n\x1a\n" + a_chunk(b"IHDR", header) + a_chunk(b"IDAT", data) + a_chunk(b"IEND", b"")

    with pytest.raises(DamagedPicture):
        prepare(picture)


def test_a_png_whose_data_does_not_unpack_is_refused() -> None:
    header = struct.pack(">IIBBBBB", 1300, 1050, 8, 2, 0, 0, 0)
    picture = b"\x89PNG\r\n\x1a\n" + a_chunk(b"IHDR", header) + a_chunk(b"IDAT", b"no zlib") + a_chunk(b"IEND", b"")

    with pytest.raises(DamagedPicture):
        prepare(picture)


@pytest.mark.parametrize("rows_missing", [0, 1])
@pytest.mark.parametrize(("columns", "rows"), [(1285, 1031), (1280, 1024)])
def test_an_interlaced_png_is_whole_to_its_last_byte(columns: int, rows: int, rows_missing: int) -> None:
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    lengths = [
        (1 + 3 * len(range(x, columns, dx)), len(range(y, rows, dy)) - rows_missing * (dy == 2 and dx == 1))
        for x, y, dx, dy in passes
    ]
    data = zlib.compress(b"".join(bytes(wide) * high for wide, high in lengths))
    header = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 1)
    picture = b"\x89PNG\r\n\x1a\n" + a_chunk(b"IHDR", header) + a_chunk(b"IDAT", data) + a_chunk(b"IEND", b"")

    if rows_missing:
        with pytest.raises(DamagedPicture, match="missing"):
            prepare(picture)
    else:
        assert prepare(picture).steps == ()


def test_a_png_that_states_two_sizes_is_refused() -> None:
    whole = a_png(a_raster(noise=0))
    other = a_chunk(b"IHDR", struct.pack(">IIBBBBB", 1300, 1030, 8, 2, 0, 0, 0))

    with pytest.raises(DamagedPicture, match="two sizes"):
        prepare(whole[:33] + other + whole[33:])


def test_a_scan_header_that_is_too_short_is_refused() -> None:
    at = PLAIN.index(b"\xff\xda\x00\x0c\x03")

    with pytest.raises(DamagedPicture, match="scan header"):
        prepare(PLAIN[:at] + b"\xff\xda\x00\x08\x03" + PLAIN[at + 5 :])


def test_a_jpeg_whose_end_marker_lies_in_a_segment_is_refused() -> None:
    comment = b"\xff\xfe\x00\x04\xff\xd9"
    last_scan = PROGRESSIVE.rindex(b"\xff\xda\x00")

    with pytest.raises(DamagedPicture, match="truncated"):
        prepare(PROGRESSIVE[:last_scan] + comment + PROGRESSIVE[last_scan:-2])


def test_a_picture_beyond_the_decoders_own_limit_is_refused_when_ours_is_higher() -> None:
    at = PLAIN.index(b"\xff\xc0\x00\x11\x08") + 5
    huge = PLAIN[:at] + struct.pack(">HH", 65_000, 65_000) + PLAIN[at + 4 :]

    with pytest.raises(PictureTooLarge, match="decoder"):
        prepare(huge, max_pixels=10**10)


def test_a_colour_profile_that_does_not_unpack_is_left_aside() -> None:
    whole = a_png()
    broken = a_chunk(b"iCCP", b"name\x00\x00not compressed")

    assert prepare(whole[:33] + broken + whole[33:]).picture == prepare(whole).picture


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    scans = [s for s in jpeg.segments(memoryview(PROGRESSIVE)) if s.marker == 0xDA]
    last = PROGRESSIVE[scans[-1].start : -2]

    with pytest.raises(DamagedPicture, match="more than 200 scans"):
        prepare(PROGRESSIVE[:-2] + last * 300 + jpeg.END)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 700), st.binary(min_size=1, max_size=4))
def test_a_jpeg_with_a_broken_header_is_prepared_or_refused_and_nothing_else_happens(at: int, bytes_: bytes) -> None:
    broken = PLAIN[:at] + bytes_ + PLAIN[at + len(bytes_) :]
    try:
        prepared = prepare(broken)
    except UnacceptablePicture:
        return
    assert examine(prepared.picture).size == prepared.size
