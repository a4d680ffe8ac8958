"""One picture, taken out of a file that wraps it."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as it can be worked with.

    Attributes:
        picture: a JPEG file, its coded pixels bit for bit as the file around it holds them (a marker for its colours
            may be added), or pixels in mode `L`, `RGB` or `CMYK`, 8 bits, not yet turned upright.
        profile: ICC profile of the pixels, or nothing.
        steps: what was done, in order, for people to read.
    """

    picture: bytes | Image.Image
    profile: bytes = b""
    steps: tuple[str, ...] = ()
