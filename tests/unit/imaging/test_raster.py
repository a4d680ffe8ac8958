"""What is made band by band is what Pillow makes at once."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops

from fundus_relay.domain.geometry import Size
from fundus_relay.imaging.raster import Packed, rows_of, scaled

SIZES = st.builds(Size, st.integers(1, 60), st.integers(1, 700))


def noise(size: Size) -> Image.Image:
    chance = random.Random(size.rows)  # noqa: S311 - any noise
    coarse = Image.frombytes("RGB", (9, 90), chance.randbytes(9 * 90 * 3))
    return coarse.resize((size.columns, size.rows), Image.Resampling.BICUBIC)


def difference(one: Image.Image, other: Image.Image) -> int:
    """The largest, of 255 levels."""
    assert one.size == other.size
    return int(max(high for _, high in ImageChops.difference(one, other).getextrema()))


@given(SIZES)
@settings(max_examples=20, deadline=None)
def test_packed_pixels_are_the_same_ones(size: Size) -> None:
    image = noise(size)
    packed = Packed(image)

    assert packed.size == size
    for top, bottom in pairwise(sorted({0, size.rows // 3, size.rows})):
        assert packed.rows(top, bottom).tobytes() == rows_of(image)(top, bottom).tobytes()


@pytest.mark.parametrize("turn", Image.Transpose)
@given(size=SIZES)
@settings(max_examples=10, deadline=None)
def test_a_turn_in_bands_is_the_turn(turn: Image.Transpose, size: Size) -> None:
    image = noise(size)

    assert Packed(image).turned(turn).tobytes() == image.transpose(turn).tobytes()


@given(SIZES, st.floats(0.3, 1.0))
@settings(max_examples=50, deadline=None)
def test_a_picture_scaled_in_bands_is_the_picture_scaled(size: Size, factor: float) -> None:
    # no black and no white: Pillow filters rows first or columns first, and cuts off at them in between
    stripes = bytes(60 + 120 * (row // 3 % 2) for row in range(size.rows))
    image = Image.frombytes("L", (1, size.rows), stripes).resize((size.columns, size.rows)).convert("RGB")
    smaller = Size(max(1, int(size.columns * factor)), max(1, int(size.rows * factor)))
    at_once = image.resize((smaller.columns, smaller.rows), Image.Resampling.LANCZOS)

    for rows in (rows_of(image), Packed(image).rows):
        assert difference(scaled(rows, size, smaller), at_once) <= 2  # levels: Pillow reckons places in 32 bits
