"""Pictures made on the spot: a noisy gradient with a rectangle in it, in every guise a sender may choose."""

from __future__ import annotations

import random
import struct
import zlib
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageDraw, ImageFilter

from fundus_relay.domain.geometry import Box, Size

ENOUGH = Size(1320, 1040)
SECRET = b"MRN 4711 Jane Roe"
"""Stands wherever metadata can stand, and must be nowhere in what is sent."""


def a_raster(size: Size = ENOUGH, *, marked: Box | None = None, noise: int = 12) -> Image.Image:
    """A reddish gradient with grain; `marked` is filled with pure green.

    Args:
        noise: share of the grain in percent; from 60 on it hardly compresses.
    """
    across = Image.linear_gradient("L").rotate(90).resize((size.columns, size.rows))
    down = Image.linear_gradient("L").resize((size.columns, size.rows))
    red = across.point(lambda level: 120 + level // 3)
    green = down.point(lambda level: 30 + level // 4)
    raster = Image.merge("RGB", (red, green, green.point(lambda level: level // 2)))
    if noise:
        raster = Image.blend(raster, _grain(size), min(1.0, noise / 100))
    if marked is not None:
        corners = (marked.x_min, marked.y_min, marked.x_max - 1, marked.y_max - 1)
        ImageDraw.Draw(raster).rectangle(corners, fill=(0, 255, 0))
    return raster


def _grain(size: Size) -> Image.Image:
    data = random.Random(7).randbytes(size.pixels * 3)  # noqa: S311 - grain, no secret
    return Image.frombytes("RGB", (size.columns, size.rows), data)


def find_marked(raster: Image.Image) -> Box:
    """The rectangle that holds all that is plainly green: exact, since the gradient never is."""
    red, green, blue = raster.convert("RGB").split()
    plainly = green.point(lambda level: 255 if level > 200 else 0)
    not_red = red.point(lambda level: 255 if level < 70 else 0)
    not_blue = blue.point(lambda level: 255 if level < 90 else 0)
    mask = Image.composite(plainly, Image.new("L", raster.size), not_red)
    box = Image.composite(mask, Image.new("L", raster.size), not_blue).getbbox()
    assert box is not None, "no green rectangle"
    return Box(*box)


def edges_of_marked(raster: Image.Image) -> tuple[float, float, float, float]:
    """Left, top, right and lower edge of the green rectangle, to a fraction of a pixel, also where it is blurred.

    An edge is where the green comes half way up; at the border of the picture it is the border.
    """
    red, green, blue = np.moveaxis(np.asarray(raster.convert("RGB"), dtype=np.float32), -1, 0)
    greenness = np.clip(green - np.maximum(red, blue), 0, 255)
    inside = Image.fromarray(greenness > 127).getbbox()
    assert inside is not None, "no green rectangle"
    x_min, y_min, x_max, y_max = inside
    middle_rows = slice((3 * y_min + y_max) // 4, (y_min + 3 * y_max + 3) // 4)
    middle_columns = slice((3 * x_min + x_max) // 4, (x_min + 3 * x_max + 3) // 4)
    across, down = greenness[middle_rows].mean(axis=0), greenness[:, middle_columns].mean(axis=1)
    left, right = _half_ways(across, x_min, x_max)
    top, lower = _half_ways(down, y_min, y_max)
    return left, top, right, lower


def _half_ways(profile: NDArray[np.float32], begin: int, end: int) -> tuple[float, float]:
    half = float(np.median(profile[begin:end])) / 2

    def between(outer: int, inner: int) -> float:
        share = (half - profile[outer]) / (profile[inner] - profile[outer])
        return (outer + 0.5) + float(share) * (inner - outer)

    return (
        between(begin - 1, begin) if begin > 0 else 0.0,
        between(end, end - 1) if end < len(profile) else float(end),
    )


def an_exif(orientation: int | None = None, *, comment: bytes = SECRET, thumbnail: bool = False) -> bytes:
    """An EXIF block of our own making: orientation, an artist, and a thumbnail with an end-of-image marker."""
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    exif[0x013B] = comment.decode()
    block = exif.tobytes()
    if thumbnail:
        block += a_jpeg(Size(160, 120), minimal=True)
    return block if block.startswith(b"Exif") else b"Exif\x00\x00" + block


def a_jpeg(
    size: Size = ENOUGH,
    *,
    orientation: int | None = None,
    marked: Box | None = None,
    noise: int = 12,
    mode: str = "RGB",
    profile: bytes | None = None,
    quality: int = 90,
    progressive: bool = False,
    thumbnail: bool = False,
    minimal: bool = False,
    subsampling: str = "4:4:4",
) -> bytes:
    """A JPEG; unless `minimal`, with EXIF, XMP and a comment, all of which hold `SECRET`."""
    options: dict[str, object] = {}
    if not minimal:
        options = {"exif": an_exif(orientation, thumbnail=thumbnail), "comment": SECRET, "xmp": b"<x>%s</x>" % SECRET}
    if profile is not None:
        options["icc_profile"] = profile
    file = BytesIO()
    a_raster(size, marked=marked, noise=noise).convert(mode).save(
        file, "JPEG", quality=quality, subsampling=subsampling, progressive=progressive, **options
    )
    return file.getvalue()


def a_png(raster: Image.Image | None = None, *, orientation: int | None = None, profile: bytes | None = None) -> bytes:
    """A PNG, with a text chunk that holds `SECRET`, and EXIF when an orientation is given."""
    raster = a_raster() if raster is None else raster
    file = BytesIO()
    raster.save(file, "PNG", compress_level=1, icc_profile=profile)
    extra = a_chunk(b"tEXt", b"Comment\x00" + SECRET)
    if orientation is not None:
        extra += a_chunk(b"eXIf", an_exif(orientation).removeprefix(b"Exif\x00\x00"))
    whole = file.getvalue()
    return whole[:33] + extra + whole[33:]


def a_chunk(name: bytes, content: bytes) -> bytes:
    """A PNG chunk with its length and checksum."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def a_png_header(size: Size, *, bits: int = 8, kind: int = 2) -> bytes:
    """The beginning of a PNG that claims this size, with a little data: a decompression bomb when the size is large."""
    header = struct.pack(">IIBBBBB", size.columns, size.rows, bits, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + a_chunk(b"IHDR", header) + a_chunk(b"IDAT", b"") + a_chunk(b"IEND", b"")


def srgb_profile() -> bytes:
    """The profile that most cameras embed."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def swapped_profile() -> bytes:
    """A valid display profile whose red and green primaries are exchanged: what it says red is green."""
    profile = bytearray(srgb_profile())
    count = struct.unpack_from(">I", profile, 128)[0]
    entries = {bytes(profile[132 + 12 * i : 136 + 12 * i]): 132 + 12 * i for i in range(count)}
    red, green = entries[b"rXYZ"], entries[b"gXYZ"]
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(profile)


def blurred(raster: Image.Image) -> Image.Image:
    """The same picture out of focus."""
    return raster.filter(ImageFilter.GaussianBlur(24))
