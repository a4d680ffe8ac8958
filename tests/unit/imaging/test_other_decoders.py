"""Every real file beside the project, to the pixels that decoders give which have nothing in common with ours."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image
from tests.pictures import needs_photographs, photographs

from fundus_relay.domain.errors import PictureTooSmall
from fundus_relay.imaging import directories, strips, tiff
from fundus_relay.imaging.dicom import frame_of, read_dicom
from fundus_relay.imaging.format import examine
from fundus_relay.imaging.frame import Frame
from fundus_relay.imaging.preparation import prepare

pytestmark = [pytest.mark.real_pictures, needs_photographs]

DICOM = photographs("dicom/*.dcm", "dicom_op_wrapped/*.dcm")
TIFF = photographs("tiff/*.tif")
FILES = photographs("negatives/*.jpg", "negatives/*.png", "normal_cc0/*.jpg")
Pixels = NDArray[np.uint8]


def shown(frame: Frame) -> Pixels:
    picture = frame.picture
    return np.asarray(Image.open(BytesIO(picture)) if isinstance(picture, bytes) else picture)


def strays(ours: Pixels, others: Pixels) -> int:
    assert ours.shape == others.shape
    return int(np.abs(ours.astype(int) - others.astype(int)).max())


def by_other_decoders(file: Path, folder: Path) -> Iterator[Pixels]:
    """What those make of a DICOM file that are here and read it: pydicom with its own plugins, and dcmtk."""
    header = pydicom.dcmread(file)
    try:
        pixels = header.pixel_array
    except (RuntimeError, AttributeError, ValueError):  # it has no plugin for this transfer syntax here
        pass
    else:
        yield in_8_bits(pixels, header)
    yield from by_dcmtk(file, folder)


def in_8_bits(pixels: NDArray[Any], header: Any) -> Pixels:
    if pixels.dtype == np.uint8:
        return pixels
    lowest = -(1 << header.BitsStored - 1) if header.PixelRepresentation else 0
    return np.round((pixels.astype(float) - lowest) * 255 / ((1 << header.BitsStored) - 1)).astype(np.uint8)


def by_dcmtk(file: Path, folder: Path) -> Iterator[Pixels]:
    if shutil.which("dcmj2pnm") is None:
        return
    plain, drawn = folder / "plain.dcm", folder / "drawn.pnm"
    is_ls = pydicom.dcmread(file, stop_before_pixels=True).file_meta.TransferSyntaxUID.endswith((".80", ".81"))
    if is_ls:
        subprocess.run(["dcmdjpls", str(file), str(plain)], capture_output=True, check=True)
    subprocess.run(["dcmj2pnm", "+op", str(plain if is_ls else file), str(drawn)], capture_output=True, check=False)
    if drawn.exists():  # dcmtk reads no JPEG 2000
        yield np.asarray(Image.open(drawn))


@pytest.mark.parametrize("file", DICOM, ids=lambda file: file.name)
def test_a_dicom_file_has_the_pixels_that_other_decoders_give(file: Path, tmp_path: Path) -> None:
    stored = file.read_bytes()
    facts = read_dicom(stored, max_pixels=100_000_000)

    ours = shown(frame_of(stored, 1))

    others = list(by_other_decoders(file, tmp_path))
    if not others:
        pytest.skip("no other decoder here reads it")
    assert (facts.size.rows, facts.size.columns) == ours.shape[:2]
    assert [strays(ours, each) <= 1 for each in others] == [True] * len(others)  # 1: of rounding


@pytest.mark.parametrize("file", TIFF, ids=lambda file: file.name)
def test_a_tiff_has_the_pixels_that_other_decoders_give(file: Path) -> None:
    stored = file.read_bytes()

    with memoryview(stored) as data:
        ours = shown(strips.frame_of(data, tiff.page_of(directories.photograph_in(data))))

    assert strays(ours, tifffile.imread(file)) == 0
    assert strays(ours, np.asarray(Image.open(file))) == 0


@pytest.mark.parametrize("file", TIFF, ids=lambda file: file.name)
def test_a_small_tiff_of_a_real_eye_is_taken_when_it_is_large_enough(file: Path) -> None:
    pixels = np.asarray(Image.open(file).resize((1700, 1758)))
    with pytest.raises(PictureTooSmall):
        examine(file.read_bytes())
    large = BytesIO()
    tifffile.imwrite(large, pixels, photometric="rgb", compression="lzw", metadata=None)

    prepared = prepare(large.getvalue())

    assert prepared.media_type == "image/png"
    assert strays(np.asarray(Image.open(BytesIO(prepared.picture))), pixels) == 0


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_what_is_sent_of_a_jpeg_or_png_is_what_other_decoders_see(file: Path) -> None:
    stored = file.read_bytes()
    try:
        facts = examine(stored)
    except PictureTooSmall:
        with Image.open(file) as image:
            assert min(image.size) < 1024
        return
    others = imagecodecs.imread(file)[..., :3]

    sent = np.asarray(Image.open(BytesIO(prepare(stored).picture)))

    quarter_turns = {1: 0, 6: 3}[facts.orientation]
    assert np.abs(sent.astype(int) - np.rot90(others, quarter_turns)).mean() < 1  # level: written again when turned


@pytest.mark.parametrize(
    "file", [each for each in DICOM if each.parent.name == "dicom_op_wrapped"], ids=lambda file: file.name
)
def test_what_is_sent_of_an_ophthalmic_dicom_file_is_what_other_decoders_see(file: Path, tmp_path: Path) -> None:
    others = list(by_other_decoders(file, tmp_path))
    if not others:
        pytest.skip("no other decoder here reads it")

    sent = np.asarray(Image.open(BytesIO(prepare(file.read_bytes()).picture)))

    assert np.abs(sent.astype(int) - others[0]).mean() < 1  # level: what is no JPEG may be written as one
