"""Codestreams as DICOM carries them, each made by a lossless encoder: the samples that went in come out."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray

from fundus_relay.domain.errors import DamagedPicture
from fundus_relay.domain.geometry import Size
from fundus_relay.imaging.codestreams import decode

SIZE = Size(31, 17)
JPEG_LOSSLESS, JPEG_LS, JPEG_2000 = (f"1.2.840.10008.1.2.4.{end}" for end in ("70", "80", "90"))

Encoder = Callable[[NDArray[Any]], bytes]


def lossless_jpeg(pixels: NDArray[Any]) -> bytes:
    return imagecodecs.jpeg8_encode(pixels, lossless=True, predictor=1, bitspersample=8 * pixels.itemsize)


def jpeg_ls(pixels: NDArray[Any]) -> bytes:
    return imagecodecs.jpegls_encode(pixels, level=0)


def jpeg_2000(pixels: NDArray[Any]) -> bytes:
    return imagecodecs.jpeg2k_encode(pixels, level=0, codecformat="J2K", reversible=True)


ENCODERS = {JPEG_LOSSLESS: lossless_jpeg, JPEG_LS: jpeg_ls, JPEG_2000: jpeg_2000}


def samples(kind: type[np.generic], samples: int) -> NDArray[Any]:
    shape = (SIZE.rows, SIZE.columns, samples)[: 2 if samples == 1 else 3]
    top = np.iinfo(kind).max
    return np.random.default_rng(5).integers(0, top, shape, dtype=kind, endpoint=True)


@pytest.mark.parametrize("syntax", ENCODERS)
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("count", [1, 3])
def test_what_was_coded_without_loss_comes_out_as_it_was(syntax: str, kind: type[np.generic], count: int) -> None:
    pixels = samples(kind, count)

    for padding in (b"", b"\0", b"\xff"):
        found = decode(ENCODERS[syntax](pixels) + padding, syntax, SIZE, count)

        assert found.dtype == pixels.dtype
        assert np.array_equal(found, pixels)


@pytest.mark.parametrize("syntax", ENCODERS)
@pytest.mark.parametrize(("size", "count"), [(Size(30, 17), 3), (Size(31, 18), 3), (SIZE, 1)])
def test_what_is_not_of_the_size_that_the_header_states_is_refused_undecoded(
    syntax: str, size: Size, count: int
) -> None:
    with pytest.raises(DamagedPicture, match="two sizes"):
        decode(ENCODERS[syntax](samples(np.uint8, 3)), syntax, size, count)


@pytest.mark.parametrize("syntax", ENCODERS)
def test_a_codestream_that_was_cut_short_is_refused(syntax: str) -> None:
    with pytest.raises(DamagedPicture, match="not whole"):
        decode(ENCODERS[syntax](samples(np.uint8, 3))[:-40], syntax, SIZE, 3)


def test_a_codestream_that_claims_a_giant_picture_takes_no_memory() -> None:
    honest = jpeg_2000(samples(np.uint8, 3))
    at = honest.index(b"\xff\x4f\xff\x51") + 8
    giant = honest[:at] + struct.pack(">II", 1 << 31, 1 << 31) + honest[at + 8 :]

    with pytest.raises(DamagedPicture, match="two sizes"):
        decode(giant, JPEG_2000, SIZE, 3)
