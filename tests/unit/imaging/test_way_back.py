"""A box that is found in what is sent lies, mapped back, on the pixels of the submitted file that it was drawn on."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from skimage.registration import phase_cross_correlation
from tests.dicom_files import dicom_file, dicom_jpeg
from tests.pictures import needs_photographs, photographs
from tests.tiff_files import tiff_file

from fundus_relay.domain.geometry import Box, Size
from fundus_relay.imaging.preparation import Prepared, prepare

from .pictures import a_jpeg, a_png, a_raster, an_exif, edges_of_marked, find_marked

TURNS = range(1, 9)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A file with a green box in its raster as stored, and how little of it may be sent."""

    kind: str
    size: Size
    box: Box
    turn: int
    noise: int
    limit_bytes: int

    def file(self) -> bytes:
        return KINDS[self.kind](self)

    @property
    def frame(self) -> int:
        return 2 if self.kind.startswith("DICOM") else 1


def _raster(drawn: Drawn) -> Image.Image:
    return a_raster(drawn.size, marked=drawn.box, noise=drawn.noise)


def _jpeg(drawn: Drawn, **how: object) -> bytes:
    given = {"marked": drawn.box, "noise": drawn.noise, "orientation": drawn.turn, **how}
    return a_jpeg(drawn.size, **given)  # type: ignore[arg-type]  # its own arguments


def _dicom(drawn: Drawn) -> bytes:
    """The box in the second frame; the first has none."""
    frames = [np.asarray(a_raster(drawn.size, noise=0)), np.asarray(_raster(drawn))]
    return dicom_file(np.stack(frames), frames=2)


def _dicom_of_jpegs(drawn: Drawn) -> bytes:
    size = {"rows": drawn.size.rows, "columns": drawn.size.columns}
    frames = [a_jpeg(drawn.size, noise=0), _jpeg(drawn)]
    return dicom_file(
        encoded=frames, frames=2, transfer_syntax="1.2.840.10008.1.2.4.50", photometric="YBR_FULL_422", **size
    )


def _tiff(drawn: Drawn, *, is_planar: bool = False, **how: object) -> bytes:
    pixels = np.asarray(_raster(drawn))
    if is_planar:
        pixels, how = pixels.transpose(2, 0, 1), {"planarconfig": "separate", **how}
    return tiff_file(pixels, orientation=drawn.turn, **how)


KINDS: dict[str, Callable[[Drawn], bytes]] = {
    "JPEG": _jpeg,
    "JPEG 4:2:0": lambda drawn: _jpeg(drawn, subsampling="4:2:0"),
    "progressive JPEG": lambda drawn: _jpeg(drawn, progressive=True),
    "PNG": lambda drawn: a_png(_raster(drawn), orientation=drawn.turn),
    "TIFF": lambda drawn: _tiff(drawn, compression="lzw", predictor=2, rowsperstrip=40),
    "TIFF of JPEG tiles": lambda drawn: _tiff(
        drawn, compression="jpeg", compressionargs={"level": 92}, tile=(256, 320)
    ),
    "TIFF of one JPEG": lambda drawn: _tiff(
        drawn, compression="jpeg", compressionargs={"level": 92}, rowsperstrip=drawn.size.rows
    ),
    "TIFF of JPEG strips": lambda drawn: _tiff(
        drawn, compression="jpeg", compressionargs={"level": 92}, rowsperstrip=96
    ),
    "BigTIFF in planes": lambda drawn: _tiff(drawn, is_planar=True, bigtiff=True, byteorder=">", tile=(512, 512)),
    "DICOM": _dicom,
    "DICOM of JPEGs": _dicom_of_jpegs,
}


@st.composite
def drawings(draw: st.DrawFn) -> Drawn:
    sides = draw(st.tuples(st.integers(1280, 2300), st.integers(1024, 2300)).map(draw(st.sampled_from([tuple, _swap]))))
    size = Size(*sides)
    wide, high = draw(st.integers(24, 300)), draw(st.integers(24, 300))
    x, y = draw(st.integers(0, size.columns - wide)), draw(st.integers(0, size.rows - high))
    return Drawn(
        kind=draw(st.sampled_from(sorted(KINDS))),
        size=size,
        box=Box(x, y, x + wide, y + high),
        turn=draw(st.sampled_from(TURNS)),
        noise=draw(st.integers(2, 25)),
        limit_bytes=draw(st.sampled_from([700_000, 1_000_000, 1_600_000, 5_000_000])),
    )


def _swap(pair: tuple[int, int]) -> tuple[int, int]:
    return pair[1], pair[0]


def opened(prepared: Prepared) -> Image.Image:
    return Image.open(BytesIO(prepared.picture))


def corners(box: Box) -> Sequence[float]:
    return box.x_min, box.y_min, box.x_max, box.y_max


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(drawings())
def test_a_box_comes_back_within_a_pixel_whatever_was_done_to_the_picture(drawn: Drawn) -> None:
    prepared = prepare(drawn.file(), frame=drawn.frame, limit_bytes=drawn.limit_bytes)

    back = prepared.to_source.box(Box(*edges_of_marked(opened(prepared))))

    assert corners(back) == pytest.approx(corners(drawn.box), abs=1)
    assert prepared.size == Size(*opened(prepared).size)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(drawings())
def test_the_edges_of_what_is_sent_are_the_edges_of_the_source(drawn: Drawn) -> None:
    prepared = prepare(drawn.file(), frame=drawn.frame, limit_bytes=drawn.limit_bytes)

    whole = Box(0, 0, prepared.size.columns, prepared.size.rows)
    assert corners(prepared.to_source.box(whole)) == (0, 0, drawn.size.columns, drawn.size.rows)


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("at", [(0, 0), (1319, 0), (0, 1039), (1319, 1039), (731, 402)])
def test_a_single_pixel_comes_back_to_itself_from_every_turn(turn: int, at: tuple[int, int]) -> None:
    pixel = Box(*at, at[0] + 1, at[1] + 1)
    picture = a_png(a_raster(marked=pixel, noise=0), orientation=turn)

    in_tiff = tiff_file(np.asarray(a_raster(marked=pixel, noise=0)), orientation=turn, compression="lzw")

    for prepared in (prepare(picture), prepare(in_tiff)):
        assert prepared.to_source.box(find_marked(opened(prepared))) == pixel


def test_a_turn_that_stands_in_a_frame_of_dicom_counts_for_nothing() -> None:
    marked = Box(100, 200, 300, 260)

    prepared = prepare(dicom_jpeg(a_jpeg(marked=marked, orientation=6)))

    assert find_marked(opened(prepared)) == marked == prepared.to_source.box(marked)


# --------------------------------------------------------------------------------------------------- real photographs


@pytest.mark.slow
@pytest.mark.real_pictures
@needs_photographs
@pytest.mark.parametrize("turn", TURNS)
def test_a_lesion_of_a_real_photograph_lies_where_its_box_is_after_it_went_and_came_back(turn: int) -> None:
    photograph = photographs("idrid/images/*.jpg")[turn]
    stored = photograph.read_bytes()
    exif = an_exif(turn)
    turned = stored[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + stored[2:]

    prepared = prepare(turned, limit_bytes=len(stored) // 2)

    assert prepared.size.pixels < 4288 * 2848
    assert _strays(Image.open(BytesIO(stored)), prepared, _lesions(photograph)) == pytest.approx(0, abs=1)


def _lesions(photograph: Path) -> list[Box]:
    told = json.loads((photograph.parents[1] / "boxes" / f"{photograph.stem}.json").read_text())
    return [Box(*each["bbox"]) for each in told]


def _strays(stored: Image.Image, prepared: Prepared, lesions: list[Box], around: int = 40) -> float:
    """How far the worst of the twelve lesions that are told best is shifted, in pixels of the source.

    What was sent is drawn back into the source's frame by the recorded map; a lesion's surroundings in both are then
    shifted against each other until they fit best.
    """
    m = prepared.to_source.inverse()
    drawn = opened(prepared).transform(
        stored.size, Image.Transform.AFFINE, (m.a, m.b, m.c, m.d, m.e, m.f), Image.Resampling.BICUBIC
    )
    before, after = np.asarray(stored, dtype=float)[..., 1], np.asarray(drawn, dtype=float)[..., 1]
    places = [
        np.s_[int(box.y_min) - around : int(box.y_max) + around, int(box.x_min) - around : int(box.x_max) + around]
        for box in lesions
        if box.x_min > around and box.y_min > around
    ]
    places.sort(key=lambda place: float(before[place].std()))
    shifts = [
        phase_cross_correlation(_flat(before[at]), _flat(after[at]), upsample_factor=10, normalization=None)[0]
        for at in places[-12:]
    ]
    return float(np.abs(shifts).max())


def _flat(patch: NDArray[np.float64]) -> NDArray[np.float64]:
    """Without its mean, and fading towards its borders, so that only what lies in it tells."""
    rows, columns = patch.shape
    faded: NDArray[np.float64] = (patch - patch.mean()) * np.outer(np.hanning(rows), np.hanning(columns))
    return faded
