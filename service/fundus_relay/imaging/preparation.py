"""What the analyser may see of a photograph, and the way back to its source frame.

How this works. **The source frame is the raster as stored in the submitted file**, before any EXIF turn: the frame of
`Media.width` and `Media.height`, of DICOM's Rows and Columns, and of every library that ignores EXIF. A viewer that
applies EXIF shows the picture turned; `Prepared.to_source` maps a box found in the prepared picture to stored pixels
exactly, and `Prepared.steps` names the turn.

The prepared picture is upright, 8-bit RGB in sRGB, free of metadata and within the analyser's limit. A file that is all
of that already keeps its pixels bit for bit: only its metadata is cut out. Everything else is decoded and written
again, with full chroma resolution, since the signs sought are small and red: first at falling quality, then smaller,
never below what the analyser asks for.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from io import BytesIO
from math import ceil, sqrt
from typing import IO, cast

from PIL import Image, ImageChops, ImageCms

from fundus_relay.domain.errors import DamagedPicture, PictureTooLarge
from fundus_relay.domain.geometry import Affine, Size, scaling

from . import directories, jpeg, png, strips, tiff
from .decoding import check_is_whole, decoded
from .format import MediaType, PictureFacts, examine
from .frame import Frame
from .orientation import UPRIGHT, to_stored, upright_size
from .raster import Packed, scaled
from .sizes import LONGER_SIDE, MAX_PIXELS, SHORTER_SIDE

LIMIT_BYTES = 5_000_000
"""Source: Netra.AI API 1.0, "maximum file size 5 MB"; we stay below the smaller reading of a megabyte."""

_QUALITIES = (95, 92, 89, 86)
_LAST_QUALITIES = (80, 70)  # only for a picture that may not become smaller
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SAME_COLOUR = 2  # of 255: a profile that moves no colour further is sRGB under another name


@dataclass(frozen=True, slots=True)
class Prepared:
    """A picture as it may be sent.

    Attributes:
        picture: the file.
        to_source: from pixels of this picture to pixels of the raster as stored in the submitted file.
        steps: what was done, in order, for people to read.
        sha256: of `picture`, in hexadecimal.
    """

    picture: bytes
    media_type: MediaType
    size: Size
    to_source: Affine
    steps: tuple[str, ...]
    sha256: str


@dataclass(slots=True)
class _Raster:
    """Pixels that are to be written anew, and what was done to them so far."""

    image: Image.Image | None
    facts: PictureFacts
    profile: bytes
    steps: list[str]

    @property
    def pixels(self) -> Image.Image:
        assert self.image is not None  # noqa: S101 - nobody looks at what was taken
        return self.image

    def taken(self) -> Image.Image:
        """The pixels, once: whoever takes them can let them go."""
        image, self.image = self.pixels, None
        return image


def prepare(
    picture: bytes | memoryview, *, frame: int = 1, limit_bytes: int = LIMIT_BYTES, max_pixels: int = MAX_PIXELS
) -> Prepared:
    """Make a photograph ready to be sent; the same bytes always give the same bytes.

    Args:
        picture: a JPEG, PNG, TIFF or DICOM file. A view is released as soon as the file is not needed any more, so
            that a file which nobody else holds is not in memory beside what is made of it.
        frame: which of a DICOM file's pictures, from 1.
        limit_bytes: the prepared file has no more.
        max_pixels: as in `examine`.

    Raises:
        NotAPicture, UnsupportedFormat, SeveralPictures, PictureTooSmall: as `examine`.
        DamagedPicture: as `examine`, or pixels do not decode.
        PictureTooLarge: as `examine`, or it cannot be made small enough.
    """
    found = _taken_out(picture, frame, limit_bytes, max_pixels)
    if isinstance(picture, memoryview):
        picture.release()
    return found if isinstance(found, Prepared) else _of_pixels(found, limit_bytes)


def _taken_out(picture: bytes | memoryview, frame: int, limit_bytes: int, max_pixels: int) -> Prepared | _Raster:
    """What the file holds: ready as it is, or its pixels; nothing of the file itself."""
    facts = examine(picture, max_pixels=max_pixels)
    match facts.media_type:
        case "application/dicom":
            from .dicom import frame_of  # its libraries are large, and most files are no DICOM

            return _of_frame(frame_of(picture, frame), facts, limit_bytes, max_pixels)
        case "image/tiff":
            return _of_frame(_in_tiff(picture), replace(facts, bits=8), limit_bytes, max_pixels)
        case _:
            return _of_file(picture, facts, b"", [], limit_bytes)


def _in_tiff(picture: bytes | memoryview) -> Frame:
    with memoryview(picture) as data:
        return strips.frame_of(data, tiff.page_of(directories.photograph_in(data)))


def _of_frame(found: Frame, facts: PictureFacts, limit_bytes: int, max_pixels: int) -> Prepared | _Raster:
    """A frame that is a JPEG goes on as one; the turn that counts is the file's around it, not one of EXIF inside."""
    steps = list(found.steps)
    if isinstance(found.picture, bytes):
        inner = replace(examine(found.picture, max_pixels=max_pixels), orientation=facts.orientation)
        if inner.size != facts.size:
            raise DamagedPicture("the file and the JPEG in it state two sizes")
        return _of_file(found.picture, inner, found.profile, steps, limit_bytes)
    return _Raster(found.picture, facts, found.profile, steps)


def _of_file(
    picture: bytes | memoryview, facts: PictureFacts, profile: bytes, steps: list[str], limit_bytes: int
) -> Prepared | _Raster:
    """
    Args:
        profile: ICC profile that stands outside the file; its own counts more.
    """
    with memoryview(picture) as data:
        bare = jpeg.without_metadata(data) if facts.media_type == "image/jpeg" else png.without_metadata(data)
        profile = _colour_profile(data, facts) or profile
    if bare != picture:
        steps.append("metadata removed")
    elif isinstance(picture, bytes):
        bare = picture  # so that its copy goes
    is_bare = check_is_whole(bare, facts)
    if is_bare and len(bare) <= limit_bytes and _is_plain(bare, facts) and _is_srgb(profile):
        return _prepared(bare, facts.media_type, facts.size, to_stored(UPRIGHT, facts.size), steps)
    return _Raster(decoded(bare, facts), facts, profile, steps)


def _of_pixels(found: _Raster, limit_bytes: int) -> Prepared:
    facts, steps = found.facts, found.steps
    found.image = _rgb(found.taken(), facts, found.profile, steps)
    if facts.orientation != UPRIGHT:
        steps.append(f"turned upright from orientation {facts.orientation}")
        found.image = Packed(found.taken()).turned(_TURNS[facts.orientation])
    written, media_type, size = _written(found, limit_bytes)
    back = to_stored(facts.orientation, facts.size).after(
        scaling(of=size, to=upright_size(facts.orientation, facts.size))
    )
    return _prepared(written, media_type, size, back, steps)


def _prepared(picture: bytes, media_type: MediaType, size: Size, to_source: Affine, steps: list[str]) -> Prepared:
    return Prepared(picture, media_type, size, to_source, tuple(steps), hashlib.sha256(picture).hexdigest())


def _is_plain(bare: bytes, facts: PictureFacts) -> bool:
    """Whether the raster is upright 8-bit RGB without transparency already."""
    if facts.orientation != UPRIGHT or facts.channels != 3 or facts.bits != 8:
        return False
    return facts.media_type == "image/jpeg" or not png.content_of(memoryview(bare), b"tRNS")


# ---------------------------------------------------------------------------------------------------- colours and turn


def _colour_profile(data: memoryview, facts: PictureFacts) -> bytes:
    if facts.media_type == "image/jpeg":
        return jpeg.colour_profile_of(data, jpeg.header(data))
    return png.colour_profile_of(data)


def _to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The way from a profile's colours to sRGB; None when the profile is not readable or not for such pixels."""
    try:
        return ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("sRGB"), mode, "RGB"
        )
    except (ImageCms.PyCMSError, OSError):
        return None


def _is_srgb(profile: bytes) -> bool:
    """Whether a profile, or none, leaves RGB pixels as they are, to the eye."""
    if not profile or (transform := _to_srgb(profile, "RGB")) is None:
        return True
    levels = range(0, 256, 17)
    colours = bytes(level for r in levels for g in levels for b in levels for level in (r, g, b))
    cube = Image.frombytes("RGB", (len(levels) ** 2, len(levels)), colours)
    return max(ImageChops.difference(cube, transform.apply(cube)).tobytes()) <= _SAME_COLOUR


def _rgb(image: Image.Image, facts: PictureFacts, profile: bytes, steps: list[str]) -> Image.Image:
    """The picture as 8-bit RGB in sRGB; where it is transparent, it lies on black."""
    if facts.bits == 16:
        steps.append("16 bits to 8")
        image.info.pop("transparency", None)
        if image.mode.startswith("I"):
            image = image.convert("I").point(lambda level: level * (1 / 257) + 0.5).convert("L")
    if image.mode in ("P", "PA", "LA", "RGBA") or "transparency" in image.info:
        steps.append(f"{image.mode} to RGB on black")
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image).convert("RGB")
    if not (image.mode == "RGB" and _is_srgb(profile)) and profile:
        transform = _to_srgb(profile, image.mode)
        if transform is not None:
            steps.append("colour profile applied")
            return transform.apply(image)
    if image.mode != "RGB":
        steps.append(f"{image.mode} to RGB")
        image = image.convert("RGB")
    return image


# ------------------------------------------------------------------------------------------------------------- writing


def _written(found: _Raster, limit_bytes: int) -> tuple[bytes, MediaType, Size]:
    source, size = found.facts.media_type, Size(*found.pixels.size)
    if source != "image/jpeg" and (source == "image/png" or _may_fit(size, limit_bytes)):
        written = _png(found.pixels)
        if len(written) <= limit_bytes:
            found.steps.append("written as PNG")
            return written, "image/png", size
    written, fitting, quality = _fitting(found, limit_bytes)
    if fitting != size:
        found.steps.append(f"scaled from {size.columns} x {size.rows} to {fitting.columns} x {fitting.rows}")
    found.steps.append(f"written as JPEG of quality {quality}")
    return written, "image/jpeg", fitting


def _may_fit(size: Size, limit_bytes: int) -> bool:
    """Whether it is worth trying to keep every pixel as it is: PNG halves a photograph at best."""
    return size.columns * size.rows * 3 <= 2 * limit_bytes


def _fitting(found: _Raster, limit_bytes: int) -> tuple[bytes, Size, int]:
    """The best JPEG within the limit: its bytes, size and quality."""
    tried = _jpeg(found.pixels, _QUALITIES[-1], limit_bytes)
    if tried.written is not None:
        return _best(found.pixels, tried.written, limit_bytes)
    source = Packed(found.taken())
    size = source.size
    while (smaller := _smaller(size, sqrt(limit_bytes / tried.byte_count))) != size:
        size = smaller
        tried = _jpeg(scaled(source.rows, source.size, size), _QUALITIES[-1], limit_bytes)
        if tried.written is not None:
            return tried.written, size, _QUALITIES[-1]
    smallest = scaled(source.rows, source.size, size)
    for quality in _LAST_QUALITIES:
        tried = _jpeg(smallest, quality, limit_bytes)
        if tried.written is not None:
            return tried.written, size, quality
    raise PictureTooLarge(f"the picture cannot be brought below {limit_bytes} bytes at the size that is needed")


def _best(image: Image.Image, written: bytes, limit_bytes: int) -> tuple[bytes, Size, int]:
    """The best of the qualities that fits, by halving.

    Args:
        written: the least of them, which fits.
    """
    fits, too_large = len(_QUALITIES) - 1, -1
    while fits - too_large > 1:
        middle = (fits + too_large) // 2
        better = _jpeg(image, _QUALITIES[middle], limit_bytes).written
        if better is not None:
            written, fits = better, middle
        else:
            too_large = middle
    return written, Size(*image.size), _QUALITIES[fits]


def _smaller(size: Size, factor: float) -> Size:
    """A size about `factor` as wide and high, a little less, but not below what the analyser asks for."""
    longer, shorter = max(size.columns, size.rows), min(size.columns, size.rows)
    least = max(LONGER_SIDE / longer, SHORTER_SIDE / shorter)
    factor = min(1.0, max(0.97 * min(factor, 1.0), least))
    return Size(ceil(size.columns * factor), ceil(size.rows * factor))


class _Trial:
    """A file that Pillow writes; once it is too large, its bytes are only counted.

    Attributes:
        byte_count: of all that was written.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._room = bytearray(limit_bytes)  # in one piece, so that it goes back to the system in one
        self.byte_count = 0

    def write(self, piece: bytes) -> int:
        end = self.byte_count + len(piece)
        if end <= len(self._room):
            self._room[self.byte_count : end] = piece
        else:
            self._room = bytearray()
        self.byte_count = end
        return len(piece)

    def flush(self) -> None:
        """For Pillow."""

    @property
    def written(self) -> bytes | None:
        """The file; None when it is too large."""
        return bytes(memoryview(self._room)[: self.byte_count]) if self._room else None


def _jpeg(image: Image.Image, quality: int, limit_bytes: int) -> _Trial:
    trial = _Trial(limit_bytes)
    image.save(cast("IO[bytes]", trial), format="JPEG", quality=quality, subsampling="4:4:4")
    return trial


def _png(image: Image.Image) -> bytes:
    file = BytesIO()
    image.save(file, format="PNG", icc_profile=None)  # a conversion of colours leaves one, with the hour of it
    return file.getvalue()
