"""Pixels of a bare JPEG or PNG file, and whether they are all in it."""

from __future__ import annotations

import random
from io import BytesIO

from PIL import Image

from fundus_relay.domain.errors import DamagedPicture, PictureTooLarge

from . import jpeg, png
from .format import PictureFacts

_NOISE = bytes(byte for byte in random.Random(0).randbytes(8192) if byte != 0xFF)  # noqa: S311 - any fixed noise will do


def decoded(bare: bytes, facts: PictureFacts, *, coarsely: bool = False) -> Image.Image:
    """All pixels, or one for every 8 x 8 of a JPEG.

    Raises:
        DamagedPicture: they do not decode.
    """
    try:
        image = Image.open(BytesIO(bare), formats=[facts.media_type.removeprefix("image/")])
        if image.size != (facts.size.columns, facts.size.rows):
            raise DamagedPicture(f"the {facts.media_type} states two sizes")
        if coarsely:
            image.draft(image.mode, (max(1, image.width // 8), max(1, image.height // 8)))
        image.load()
    except Image.DecompressionBombError as exc:
        raise PictureTooLarge("the picture has more pixels than the decoder takes") from exc
    except (OSError, SyntaxError, ValueError, EOFError) as exc:  # what Pillow raises for broken files
        raise DamagedPicture(f"the {facts.media_type} does not decode") from exc
    return image


def check_is_whole(bare: bytes, facts: PictureFacts) -> bool:
    """See that every pixel is in the file; False when a PNG packs more than pixels.

    A decoder fills what is missing with grey or black and says nothing. So we decode a JPEG twice, the second time with
    noise behind the picture data: a decoder that has had all it needs does not read it, one that has not draws it.

    Raises:
        DamagedPicture: they are not.
    """
    if facts.media_type == "image/png":
        is_bare = png.check_pixels(memoryview(bare))
        decoded(bare, facts)
        return is_bare
    jpeg.check_scans(memoryview(bare))
    coarsely = not facts.is_progressive  # an unfinished last scan of a progressive JPEG shows in fine detail only
    as_sent = decoded(bare, facts, coarsely=coarsely)
    with_noise = decoded(bare.removesuffix(jpeg.END) + _NOISE + jpeg.END, facts, coarsely=coarsely)
    if as_sent.tobytes() != with_noise.tobytes():
        raise DamagedPicture("picture data of the JPEG is missing: it is truncated")
    return True
