"""EXIF orientation: read from bytes, and as a map."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from fundus_relay.domain.geometry import Box, Size
from fundus_relay.imaging.orientation import orientation_of, to_stored, upright_size

ALL = range(1, 9)


def an_exif_block(value: int, *, order: str = "<", kind: int = 3, count: int = 1) -> bytes:
    head = b"II*\x00" if order == "<" else b"MM\x00*"
    other = struct.pack(f"{order}HHII", 0x010F, 2, 1, 0)
    entry = struct.pack(f"{order}HHIHH", 0x0112, kind, count, value, 0)
    return head + struct.pack(f"{order}IH", 8, 2) + other + entry + bytes(4)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", ALL)
def test_the_orientation_is_read_in_both_byte_orders(orientation: int, order: str) -> None:
    assert orientation_of(an_exif_block(orientation, order=order)) == orientation


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"nonsense",
        b"II*\x00",
        b"II*\x00\xff\xff\xff\xff",
        an_exif_block(0),
        an_exif_block(9),
        an_exif_block(6, kind=4),
        an_exif_block(6, count=2),
        an_exif_block(6)[:24],
        an_exif_block(6).replace(b"\x12\x01", b"\x13\x01"),
    ],
)
def test_what_states_no_orientation_readably_is_upright(block: bytes) -> None:
    assert orientation_of(block) == 1


@given(st.binary(max_size=200).map(lambda tail: b"II*\x00" + tail))
def test_no_block_of_bytes_breaks_the_reader(block: bytes) -> None:
    assert orientation_of(block) in ALL


@given(st.sampled_from(ALL), st.builds(Size, st.integers(4, 40), st.integers(4, 40)), st.data())
def test_the_map_agrees_with_turning_real_pixels(orientation: int, size: Size, data: st.DataObject) -> None:
    x, y = data.draw(st.integers(0, 3)), data.draw(st.integers(0, 3))
    marked = Box(x, y, data.draw(st.integers(x + 1, size.columns)), data.draw(st.integers(y + 1, size.rows)))
    stored = Image.new("L", (size.columns, size.rows))
    stored.paste(255, (int(marked.x_min), int(marked.y_min), int(marked.x_max), int(marked.y_max)))
    stored.getexif()[0x0112] = orientation

    upright = ImageOps.exif_transpose(stored)

    found = upright.getbbox()
    assert found is not None
    assert Size(*upright.size) == upright_size(orientation, size)
    assert to_stored(orientation, size).box(Box(*found)) == marked
