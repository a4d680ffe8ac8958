"""TIFF: every way to keep a photograph gives the pixels that other decoders give, and nothing is made up."""

from __future__ import annotations

import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from tests.tiff_files import PROFILE, begins, plain_tags, raw_tiff, tiff_file

from fundus_relay.domain.errors import (
    DamagedPicture,
    PictureTooLarge,
    PictureTooSmall,
    SeveralPictures,
    UnacceptablePicture,
    UnsupportedFormat,
)
from fundus_relay.domain.geometry import IDENTITY, Box, Size
from fundus_relay.imaging import directories, strips, tiff
from fundus_relay.imaging.format import PictureFacts, examine, media_type_of
from fundus_relay.imaging.frame import Frame
from fundus_relay.imaging.preparation import prepare

from .pictures import ENOUGH, a_raster, find_marked, srgb_profile, swapped_profile

MARKED = Box(200, 304, 440, 376)
ROWS, COLUMNS = 61, 83


def frame_in(file: bytes) -> Frame:
    with memoryview(file) as data:
        return strips.frame_of(data, tiff.page_of(directories.photograph_in(data)))


def pixels_in(file: bytes) -> NDArray[np.uint8]:
    """As we decode them, small or not."""
    picture = frame_in(file).picture
    return np.asarray(Image.open(BytesIO(picture)) if isinstance(picture, bytes) else picture)


def samples(count: int, kind: type[np.unsignedinteger[Any]] = np.uint8) -> NDArray[Any]:
    """(rows, columns, samples), different everywhere, smooth enough for a predictor to be of use."""
    y, x, s = np.mgrid[0:ROWS, 0:COLUMNS, 0:count]
    grain = np.random.default_rng(3).integers(0, 9, y.shape)
    return (
        (3 * x + 2 * y + 40 * s + grain) % 256 * (1 if kind is np.uint8 else 257) + grain * (kind is np.uint16)
    ).astype(kind)


def opened(file: bytes) -> Image.Image:
    return Image.open(BytesIO(file))


# ------------------------------------------------------------------------------------------- every way to keep samples


def eight(deep: NDArray[Any]) -> NDArray[Any]:
    return deep if deep.dtype == np.uint8 else np.round(deep / 257).astype(np.uint8)


def on_black(colours: NDArray[Any], opacity: NDArray[Any]) -> NDArray[Any]:
    return np.floor(eight(colours) * (eight(opacity) / 255.0) + 0.5).astype(np.uint8)


KINDS: dict[str, tuple[dict[str, Any], int, Callable[[NDArray[Any]], NDArray[Any]]]] = {
    "grey": ({"photometric": "minisblack"}, 1, eight),
    "grey, white is zero": ({"photometric": "miniswhite"}, 1, lambda told: 255 - eight(told)),
    "grey, opacity beside": (
        {"photometric": "minisblack", "extrasamples": ["unassalpha"]},
        2,
        lambda told: on_black(told[..., 0], told[..., 1]),
    ),
    "RGB": ({"photometric": "rgb"}, 3, eight),
    "RGB, opacity applied": (
        {"photometric": "rgb", "extrasamples": ["assocalpha"]},
        4,
        lambda told: eight(told)[..., :3],
    ),
    "RGB, opacity beside": (
        {"photometric": "rgb", "extrasamples": ["unassalpha"]},
        4,
        lambda told: on_black(told[..., :3], told[..., 3:]),
    ),
    "RGB and something": (
        {"photometric": "rgb", "extrasamples": ["unspecified"]},
        4,
        lambda told: eight(told)[..., :3],
    ),
    "CMYK": ({"photometric": "separated"}, 4, eight),
}
"""How it is written, samples of a pixel, and what is seen of what an independent decoder gives."""

PACKED: dict[str, dict[str, Any]] = {
    "none": {},
    "LZW": {"compression": "lzw"},
    "LZW, differences": {"compression": "lzw", "predictor": 2},
    "deflate": {"compression": "adobe_deflate"},
    "deflate, differences": {"compression": "adobe_deflate", "predictor": 2},
    "deflate by its old number": {"compression": "deflate"},
    "PackBits": {"compression": "packbits"},
}
LAID_OUT: dict[str, dict[str, Any]] = {
    "one strip": {"rowsperstrip": ROWS},
    "strips": {"rowsperstrip": 7},
    "tiles": {"tile": (32, 48)},
}
CONTAINERS: dict[str, dict[str, Any]] = {
    "little endian": {"byteorder": "<"},
    "big endian": {"byteorder": ">"},
    "BigTIFF": {"byteorder": "<", "bigtiff": True},
    "BigTIFF, big endian": {"byteorder": ">", "bigtiff": True},
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("laid_out", LAID_OUT)
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("kind", KINDS)
def test_samples_side_by_side_are_what_tifffile_gives(
    kind: str, depth: type[Any], laid_out: str, packed: str, container: str
) -> None:
    how, count, seen = KINDS[kind]
    pixels = samples(count, depth) if count > 1 else samples(1, depth)[..., 0]

    file = tiff_file(pixels, **how, **LAID_OUT[laid_out], **PACKED[packed], **CONTAINERS[container])

    assert np.array_equal(pixels_in(file), seen(tifffile.imread(BytesIO(file))))


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("laid_out", LAID_OUT)
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("kind", [kind for kind, (_, count, _) in KINDS.items() if count > 1])
def test_samples_in_planes_of_their_own_are_what_tifffile_gives(
    kind: str, depth: type[Any], laid_out: str, packed: str
) -> None:
    how, count, seen = KINDS[kind]
    planes = samples(count, depth).transpose(2, 0, 1)

    file = tiff_file(planes, planarconfig="separate", byteorder=">", **how, **LAID_OUT[laid_out], **PACKED[packed])

    assert np.array_equal(pixels_in(file), seen(tifffile.imread(BytesIO(file)).transpose(1, 2, 0)))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "P", "RGBX"])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "packbits", "jpeg"])
def test_what_libtiff_wrote_is_what_libtiff_reads(mode: str, compression: str) -> None:
    if (mode, compression) == ("P", "jpeg"):
        pytest.skip("there is no such file")
    written = BytesIO()
    Image.fromarray(samples(3)).convert(mode).save(written, "TIFF", compression=compression)

    pixels = pixels_in(written.getvalue())

    read = opened(written.getvalue())
    read = read if mode in {"L", "CMYK"} else read.convert("RGB")
    assert np.array_equal(pixels, np.asarray(read))


@pytest.mark.parametrize("photometric", ["minisblack", "rgb", "ycbcr"])
@pytest.mark.parametrize("subsampling", [(1, 1), (2, 1), (2, 2)])
@pytest.mark.parametrize("laid_out", [{"rowsperstrip": ROWS}, {"rowsperstrip": 8}, {"tile": (32, 48)}])
def test_jpeg_in_strips_and_tiles_is_what_libtiff_reads(
    photometric: str, subsampling: tuple[int, int], laid_out: dict[str, Any]
) -> None:
    pixels = samples(3) if photometric != "minisblack" else samples(1)[..., 0]
    colours = {"outcolorspace": photometric} if photometric != "minisblack" else {}
    told = {"subsampling": subsampling} if photometric == "ycbcr" else {}

    file = tiff_file(
        pixels,
        photometric=photometric,
        compression="jpeg",
        compressionargs={"level": 92, **colours},
        **told,
        **laid_out,
    )

    assert np.array_equal(pixels_in(file), np.asarray(opened(file)))
    assert np.array_equal(pixels_in(file), tifffile.imread(BytesIO(file)))


@pytest.mark.parametrize(("across", "down"), [(1, 1), (2, 1), (2, 2), (4, 1), (4, 2), (4, 4)])
def test_chroma_that_pixels_share_is_what_libtiff_reads(across: int, down: int) -> None:
    rows, columns = 48, 64
    generator = np.random.default_rng(9)
    blocks = generator.integers(30, 220, (rows // down, columns // across, across * down + 2), dtype=np.uint8)
    file = raw_tiff(
        plain_tags(columns, rows, [blocks.tobytes()], t262=(3, [6]), t530=(3, [across, down])), data=[blocks.tobytes()]
    )
    # Pillow leaves reading YCbCr to libtiff only when it is compressed
    packed = zlib.compress(blocks.tobytes())
    tags = plain_tags(columns, rows, [packed], t262=(3, [6]), t530=(3, [across, down]), t259=(3, [8]))

    read = np.asarray(opened(raw_tiff(tags, data=[packed])).convert("RGB"))

    assert np.abs(pixels_in(file).astype(int) - read).max() <= 1  # of rounding
    assert np.array_equal(pixels_in(file), pixels_in(raw_tiff(tags, data=[packed])))


@pytest.mark.parametrize("scale", [256, 257, 1])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_a_palette_gives_its_colours_whatever_its_writer_took_for_white(scale: int, depth: type[Any]) -> None:
    levels = np.random.default_rng(4).integers(0, 256, (3, 256), dtype=np.uint16)
    colour_map = np.zeros((3, 1 << 8 * np.dtype(depth).itemsize), np.uint16)
    colour_map[:, :256] = levels * scale
    index = samples(1)[..., 0]

    file = tiff_file(index.astype(depth), photometric="palette", colormap=colour_map)

    assert np.array_equal(pixels_in(file), levels.T[index])


def test_rows_that_a_last_strip_packs_too_many_do_no_harm() -> None:
    strip = bytes(range(240)) * 10  # 10 rows of 80 RGB pixels
    pixels = np.frombuffer(strip * 2, np.uint8).reshape(20, 80, 3)[:15]

    def packed(compression: int, pack: Callable[[bytes], bytes]) -> bytes:
        pieces = [pack(strip)] * 2
        tags = plain_tags(80, 15, pieces, t278=(4, [10]), t259=(3, [compression]))
        return raw_tiff(tags, data=pieces)

    for file in (packed(1, bytes), packed(8, zlib.compress), packed(5, _lzw), packed(32773, _packbits)):
        assert np.array_equal(pixels_in(file), pixels)


def _lzw(raw: bytes) -> bytes:
    import imagecodecs

    return imagecodecs.lzw_encode(raw)


def _packbits(raw: bytes) -> bytes:
    """As literals: imagecodecs' encoder takes a minute for a photograph."""
    runs = [raw[at : at + 128] for at in range(0, len(raw), 128)]
    return b"".join(bytes([len(run) - 1]) + run for run in runs)


def test_an_uncompressed_strip_whose_length_is_not_told_is_as_long_as_it_has_to_be() -> None:
    pixels = samples(3)
    tags = plain_tags(COLUMNS, ROWS, [pixels.tobytes()], t279=None)

    assert np.array_equal(pixels_in(raw_tiff(tags, data=[pixels.tobytes()])), pixels)


# ----------------------------------------------------------------------------------------------------- what is prepared


AS_JPEG: dict[str, Any] = {
    "compression": "jpeg",
    "photometric": "rgb",  # tifffile makes YCbCr of it
    "compressionargs": {"level": 92},
    "subsampling": (1, 1),
}


def a_tiff(raster: Image.Image | None = None, **how: Any) -> bytes:
    return tiff_file(np.asarray(a_raster() if raster is None else raster), **{"compression": "lzw", **how})


def test_a_tiff_tells_its_stored_size_and_its_turn() -> None:
    assert examine(a_tiff(orientation=6)) == PictureFacts("image/tiff", ENOUGH, orientation=6)
    assert media_type_of(a_tiff()) == "image/tiff"


@pytest.mark.parametrize(
    ("file", "facts"),
    [
        (a_tiff(a_raster().convert("L")), PictureFacts("image/tiff", ENOUGH, channels=1)),
        (a_tiff(a_raster().convert("CMYK"), photometric="separated"), PictureFacts("image/tiff", ENOUGH, channels=4)),
        (tiff_file(np.zeros((1040, 1320, 3), np.uint16)), PictureFacts("image/tiff", ENOUGH, bits=16)),
        (
            tiff_file(np.zeros((1040, 1320), np.uint8), photometric="palette", colormap=np.zeros((3, 256), np.uint16)),
            PictureFacts("image/tiff", ENOUGH, channels=1, has_palette=True),
        ),
    ],
)
def test_grey_cmyk_palette_and_deep_tiffs_are_taken(file: bytes, facts: PictureFacts) -> None:
    assert examine(file) == facts


def test_what_is_sent_of_a_tiff_is_a_png_of_the_same_pixels() -> None:
    prepared = prepare(a_tiff())

    assert prepared.media_type == "image/png"
    assert np.array_equal(np.asarray(opened(prepared.picture)), np.asarray(a_raster()))
    assert prepared.to_source == IDENTITY
    assert prepared.steps == ("decoded from TIFF, compression LZW", "written as PNG")


def test_a_large_tiff_becomes_a_jpeg() -> None:
    prepared = prepare(a_tiff(a_raster(noise=80)), limit_bytes=3_000_000)

    assert examine(prepared.picture).media_type == prepared.media_type == "image/jpeg"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("how", [{}, {**AS_JPEG, "rowsperstrip": 1040}])
def test_a_box_found_upright_lies_on_its_own_pixels_in_the_stored_raster(orientation: int, how: dict[str, Any]) -> None:
    prepared = prepare(a_tiff(a_raster(marked=MARKED), orientation=orientation, **how))

    assert prepared.to_source.box(find_marked(opened(prepared.picture))) == MARKED
    assert examine(prepared.picture).size == prepared.size


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("how", [{}, {**AS_JPEG, "rowsperstrip": 1040}])
def test_a_tiff_is_turned_as_a_viewer_shows_it(orientation: int, how: dict[str, Any]) -> None:
    file = a_tiff(a_raster(marked=MARKED), orientation=orientation, **how)
    shown = opened(file)
    shown.load()  # Pillow turns a TIFF when it loads it

    sent = np.asarray(opened(prepare(file).picture)).astype(int)

    assert np.abs(sent - np.asarray(shown)).mean() < (3 if how else 1e-9)  # levels: a turned JPEG is written again


@pytest.mark.parametrize("orientation", [0, 9, 60_000])
def test_a_turn_that_does_not_exist_is_none(orientation: int) -> None:
    assert examine(a_tiff(orientation=orientation)).orientation == 1


def test_a_jpeg_that_is_all_of_a_tiff_keeps_its_coded_pixels() -> None:
    file = a_tiff(**AS_JPEG, rowsperstrip=1040)

    prepared = prepare(file)

    assert prepared.media_type == "image/jpeg"
    assert np.array_equal(np.asarray(opened(prepared.picture)), tifffile.imread(BytesIO(file)))
    assert prepared.picture[-20_000:] in file
    assert prepared.steps == ("taken out of its TIFF file",)


def test_a_colour_profile_is_applied_and_one_that_changes_nothing_is_dropped() -> None:
    marked = a_raster(marked=MARKED, noise=0)

    swapped, plain = prepare(a_tiff(marked, profile=swapped_profile())), prepare(a_tiff(marked, profile=srgb_profile()))

    assert "colour profile applied" in swapped.steps
    red, green, _ = opened(swapped.picture).getpixel((300, 340))
    assert red > 240
    assert green < 15
    assert "colour profile applied" not in plain.steps


@pytest.mark.parametrize("depth", [8, 16])
def test_sixteen_bits_become_eight_once(depth: int) -> None:
    level = np.full((1040, 1320), 200 if depth == 8 else 200 * 257 + 128, f"u{depth // 8}")

    prepared = prepare(tiff_file(level))

    assert opened(prepared.picture).getpixel((7, 7)) == (200,) * 3
    assert ("16 bits to 8" in prepared.steps) == (depth == 16)


# ---------------------------------------------------------------------------------------------------- several pictures


def pages(*which: tuple[NDArray[Any], dict[str, Any]]) -> bytes:
    file = BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for pixels, how in which:
            writer.write(pixels, photometric="rgb", metadata=None, **how)
    return file.getvalue()


FULL = np.asarray(a_raster(noise=0))
OTHER = np.asarray(a_raster(Size(1300, 1050), noise=0))
SMALL = FULL[::4, ::4]
HALF = np.asarray(a_raster(Size(2640, 2080), noise=0))[::2, ::2]


@pytest.mark.parametrize(
    "file",
    [
        pages((FULL, {}), (SMALL, {"subfiletype": 1})),
        pages((SMALL, {"subfiletype": 1}), (FULL, {})),
        pages((FULL, {}), (SMALL, {})),
        pages((SMALL, {}), (FULL, {})),
        raw_tiff(
            plain_tags(1320, 1040, [FULL.tobytes()]),
            {254: (4, [4]), 256: (4, [1320]), 257: (4, [1040])},
            data=[FULL.tobytes()],
        ),
        pages((FULL, {"subfiletype": 2}), (SMALL, {"subfiletype": 3})),
        pages((FULL, {"subifds": 1}), (SMALL, {"subfiletype": 1})),
    ],
    ids=["version behind", "version in front", "thumbnail", "thumbnail in front", "mask", "page", "beside"],
)
def test_smaller_versions_thumbnails_and_masks_are_passed_over(file: bytes) -> None:
    assert examine(file).size == ENOUGH
    assert np.array_equal(pixels_in(file), FULL)


@pytest.mark.parametrize(
    "file",
    [
        pages((FULL, {}), (OTHER, {})),
        pages((FULL, {}), (FULL, {})),
        pages((FULL, {"subfiletype": 2}), (OTHER, {"subfiletype": 2})),
        pages((FULL, {}), (FULL[:900, :900], {})),
        pages((np.zeros((4200, 4200, 3), np.uint8), {}), (FULL, {})),
    ],
    ids=["two", "twice the same", "two pages", "one too small but large", "one far smaller but large enough"],
)
def test_a_file_of_several_pictures_is_refused(file: bytes) -> None:
    with pytest.raises(SeveralPictures, match="2 pictures"):
        examine(file)


def test_a_file_that_only_has_smaller_versions_is_refused() -> None:
    with pytest.raises(DamagedPicture, match="smaller versions"):
        examine(pages((FULL, {"subfiletype": 1})))


# ----------------------------------------------------------------------------------------------------------- refusals


STRIP = bytes(1320 * 1040 * 3)


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"t259": (3, [6])}, "old style"),
        ({"t259": (3, [4])}, "CCITT"),
        ({"t259": (3, [34712])}, "JPEG 2000"),
        ({"t259": (3, [50000])}, "Zstandard"),
        ({"t259": (3, [777])}, "777"),
        ({"t262": (3, [8])}, "photometric interpretation 8"),
        ({"t258": (3, [12, 12, 12])}, "12 bits"),
        ({"t258": (3, [8, 8, 16])}, "8/16 bits"),
        ({"t339": (3, [2, 2, 2])}, "unsigned"),
        ({"t258": (3, [16] * 3), "t339": (3, [3] * 3)}, "unsigned"),
        ({"t266": (3, [2])}, "reverse"),
        ({"t317": (3, [2])}, "predictor 2 with NONE"),
        ({"t317": (3, [3]), "t259": (3, [5])}, "predictor 3"),
        ({"t262": (3, [5]), "t277": (3, [4]), "t332": (3, [2])}, "inks"),
        ({"t262": (3, [5]), "t277": (3, [5]), "t338": (3, [2])}, "CMYK that is transparent"),
        ({"t262": (3, [6]), "t529": (5, [2126, 10000, 7152, 10000, 722, 10000])}, "BT.601"),
        ({"t262": (3, [6]), "t532": (5, [16, 1, 235, 1, 128, 1, 240, 1, 128, 1, 240, 1])}, "full range"),
        ({"t262": (3, [6]), "t284": (3, [2])}, "YCbCr in planes"),
        ({"t262": (3, [6]), "t317": (3, [2]), "t259": (3, [5])}, "differences"),
        ({"t259": (3, [7]), "t262": (3, [3]), "t277": (3, [1]), "t320": (3, [0] * 768)}, "JPEG with a palette"),
    ],
)
def test_what_is_not_read_is_refused_by_its_name(changed: dict[str, Any], name: str) -> None:
    file = raw_tiff(plain_tags(1320, 1040, [STRIP], **changed), data=[STRIP])

    with pytest.raises(UnsupportedFormat, match=name):
        examine(file)


@pytest.mark.parametrize(
    "changed",
    [
        {"t256": None},
        {"t257": (4, [0])},
        {"t262": None},
        {"t273": None},
        {"t273": (4, [2**32 - 1])},
        {"t273": (16, [2**64 - 1])},
        {"t273": (5, [8, 1])},
        {"t279": (4, [0])},
        {"t279": (4, [len(STRIP) - 1])},
        {"t279": (4, [2**32 - 1])},
        {"t278": (4, [0])},
        {"t278": (4, [1])},
        {"t278": (4, [520]), "t273": (4, [8, 8]), "t279": (4, [len(STRIP)] * 2)},
        {"t277": (3, [2])},
        {"t257": (4, [20_000])},
        {"t262": (3, [3]), "t277": (3, [1])},
        {"t262": (3, [3]), "t277": (3, [1]), "t320": (3, [0] * 700)},
        {"t322": (4, [8]), "t323": (4, [8])},
        {"t322": (4, [2**31]), "t323": (4, [2**31]), "t324": (4, [8]), "t325": (4, [100])},
        {"t322": (4, [1024]), "t323": (4, [1024]), "t324": (4, [8]), "t325": (4, [100])},
        {"t262": (3, [6]), "t530": (3, [3, 1])},
        {"t262": (3, [6]), "t530": (3, [0, 0])},
        {"t262": (3, [6]), "t530": (3, [1, 2])},
    ],
)
def test_a_tiff_whose_tags_contradict_each_other_or_its_bytes_is_refused(changed: dict[str, Any]) -> None:
    file = raw_tiff(plain_tags(1320, 1040, [STRIP], **changed), data=[STRIP])

    with pytest.raises(DamagedPicture):
        examine(file)


@pytest.mark.parametrize("is_big", [False, True])
def test_directories_that_go_round_or_do_not_end_are_refused(is_big: bool) -> None:
    tags = {254: (4, [1]), 256: (4, [160]), 257: (4, [120])}
    first = 16 if is_big else 8

    with pytest.raises(DamagedPicture, match="circle"):
        examine(raw_tiff(tags, tags, is_big=is_big, last_link=first))
    with pytest.raises(DamagedPicture, match="more than 200"):
        examine(raw_tiff(*[tags] * 300, is_big=is_big))
    with pytest.raises(DamagedPicture, match="behind its end"):
        examine(raw_tiff(tags, is_big=is_big, last_link=2**63 if is_big else 2**31))


def test_a_picture_beyond_the_limit_is_refused_unread() -> None:
    giant = raw_tiff(plain_tags(2**31, 2**31, [STRIP]), data=[STRIP])

    with pytest.raises(PictureTooLarge):
        examine(giant)
    with pytest.raises(PictureTooLarge):
        examine(a_tiff(), max_pixels=ENOUGH.pixels - 1)
    with pytest.raises(PictureTooSmall, match="640 x 480"):
        examine(a_tiff(a_raster(Size(640, 480))))


def test_countless_tags_strips_and_numbers_are_refused_at_once() -> None:
    many = {number: (3, [1]) for number in range(5000)}
    narrow = plain_tags(1024, 97_000, [b""], t278=(4, [1]), t277=(3, [1]), t258=(3, [8]), t262=(3, [1]))
    tiny = plain_tags(9000, 9000, [b""], t322=(4, [16]), t323=(4, [16]), t324=(4, [8]), t325=(4, [8]))

    begun = time.process_time()
    for tags, data in ((many, b""), (narrow, bytes(1024)), (tiny, b"")):
        with pytest.raises(DamagedPicture):
            examine(raw_tiff(tags, data=[data]))
    assert time.process_time() - begun < 1


def test_strips_that_lie_over_each_other_are_refused() -> None:
    packed = zlib.compress(bytes(1320 * 3))
    file = raw_tiff(
        plain_tags(
            1320, 1040, [packed], t278=(4, [1]), t259=(3, [8]), t273=(4, [8] * 1040), t279=(4, [len(packed)] * 1040)
        ),
        data=[packed],
    )

    with pytest.raises(DamagedPicture, match="over each other"):
        examine(file)


def test_a_strip_that_unpacks_to_more_than_the_picture_costs_no_memory() -> None:
    packer = zlib.compressobj()
    bomb = b"".join([*(packer.compress(bytes(1 << 24)) for _ in range(16)), packer.flush()])
    file = raw_tiff(plain_tags(1320, 1040, [bomb], t259=(3, [8])), data=[bomb])

    tracemalloc.start()
    prepare(file)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 40_000_000


@pytest.mark.parametrize("packed", ["LZW", "deflate", "PackBits"])
def test_a_strip_that_unpacks_to_less_than_the_picture_is_refused(packed: str) -> None:
    pack, number = {"LZW": (_lzw, 5), "deflate": (zlib.compress, 8), "PackBits": (_packbits, 32773)}[packed]
    short = pack(bytes(1320 * 1040 * 3 - 1))

    with pytest.raises(DamagedPicture, match="missing"):
        prepare(raw_tiff(plain_tags(1320, 1040, [short], t259=(3, [number])), data=[short]))


def test_a_checksum_that_is_wrong_is_refused() -> None:
    packed = bytearray(zlib.compress(STRIP))
    packed[-1] ^= 1

    with pytest.raises(DamagedPicture, match="unpack"):
        prepare(raw_tiff(plain_tags(1320, 1040, [packed], t259=(3, [8])), data=[bytes(packed)]))


@pytest.mark.parametrize("missing", [40, 400, 4_000])
@pytest.mark.parametrize("rows", [1040, 256])
def test_a_jpeg_strip_that_lost_its_end_is_refused_even_with_an_end_marker(rows: int, missing: int) -> None:
    file = bytearray(a_tiff(**AS_JPEG, rowsperstrip=rows))
    with tifffile.TiffFile(BytesIO(file)) as read:
        begin, length = read.pages[0].dataoffsets[-1], read.pages[0].databytecounts[-1]  # type: ignore[union-attr]
    end = begin + length
    assert file[end - 2 : end] == b"\xff\xd9"
    file[end - 2 - missing : end] = b"\xff\xd9" + b"\xff" * missing

    with pytest.raises(DamagedPicture):
        prepare(bytes(file))


@pytest.mark.parametrize(("columns", "rows", "samples"), [(1312, 1040, 3), (1320, 1024, 3), (1320, 1040, 1)])
def test_a_jpeg_strip_of_another_size_or_other_colours_is_refused(columns: int, rows: int, samples: int) -> None:
    raster = np.asarray(a_raster(Size(columns, rows)).convert("RGB" if samples == 3 else "L"))
    jpeg = BytesIO()
    Image.fromarray(raster).save(jpeg, "JPEG")
    file = raw_tiff(plain_tags(1320, 1040, [jpeg.getvalue()], t259=(3, [7])), data=[jpeg.getvalue()])

    with pytest.raises(DamagedPicture):
        prepare(file)


FILES = {
    "LZW strips": a_tiff(rowsperstrip=64, predictor=2, orientation=3),
    "deflate tiles, BigTIFF": a_tiff(compression="adobe_deflate", tile=(256, 256), bigtiff=True, byteorder=">"),
    "planes": tiff_file(np.asarray(a_raster()).transpose(2, 0, 1), planarconfig="separate", compression="packbits"),
    "JPEG tiles": a_tiff(**AS_JPEG, tile=(256, 256)),
    "plain": a_tiff(compression=None, profile=srgb_profile(), rowsperstrip=100),
}


@pytest.mark.parametrize("name", FILES)
def test_a_tiff_cut_at_any_of_its_joints_is_refused(name: str) -> None:
    file = FILES[name]
    with tifffile.TiffFile(BytesIO(file)) as read:
        page = read.pages[0]
        joints = [4, 8, 16, page.offset, *(tag.offset for tag in page.tags), *(tag.valueoffset for tag in page.tags)]  # type: ignore[union-attr]
        joints += [*page.dataoffsets, page.dataoffsets[-1] + page.databytecounts[-1] - 1]  # type: ignore[union-attr]

    for joint in {at + step for at in joints for step in (-1, 0, 1) if at + step < len(file)}:
        with pytest.raises(UnacceptablePicture):
            examine(file[:joint])


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_tiff_with_broken_tags_is_prepared_or_refused_and_nothing_else_happens(
    name: str, data: st.DataObject
) -> None:
    file = FILES[name]
    with tifffile.TiffFile(BytesIO(file)) as read:
        places = [0, 4, *(at for tag in read.pages[0].tags for at in range(tag.offset, tag.offset + 20))]  # type: ignore[union-attr]
    at = data.draw(st.sampled_from(places))
    change = data.draw(st.binary(min_size=1, max_size=4))
    broken = file[:at] + change + file[at + len(change) :]
    try:
        prepared = prepare(broken)
    except UnacceptablePicture:
        return
    assert examine(prepared.picture).size == prepared.size


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=10, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_bit_that_fell_over_anywhere_is_survived(name: str, share: float, bit: int) -> None:
    file = bytearray(FILES[name])
    file[int(share * len(file))] ^= 1 << bit
    try:
        prepare(bytes(file))
    except UnacceptablePicture:
        return


@given(st.binary(max_size=400), st.sampled_from([b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"]))
def test_bytes_at_random_behind_the_first_four_are_refused(tail: bytes, start: bytes) -> None:
    with pytest.raises(UnacceptablePicture):
        examine(start + tail)


def test_what_is_not_read_never_becomes_a_value() -> None:
    secret = b"MRN 4711 Jane Roe"
    file = raw_tiff(
        plain_tags(1320, 1040, [STRIP], t270=(2, secret), t315=(2, secret), t33432=(2, secret)), data=[STRIP]
    )

    prepared = prepare(file)

    assert secret in file
    assert secret not in prepared.picture


def test_begins_says_where_the_pieces_lie() -> None:
    file = raw_tiff({256: (3, [1]), PROFILE: (7, b"abcdefgh")}, data=[b"one", b"three"])

    assert [file[at : at + 3] for at in begins([b"one", b"three"])] == [b"one", b"thr"]
    assert struct.unpack_from("<H", file, struct.unpack_from("<I", file, 4)[0]) == (2,)
