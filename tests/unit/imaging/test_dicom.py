"""DICOM files of every transfer syntax that is read: the pixels that went in, or a refusal, whatever befell them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.dicom_files import LOSSLESS, a_scene, dicom_file, dicom_jpeg, dicom_lossless
from tests.unit.imaging.pictures import a_jpeg

from fundus_relay.domain.errors import DamagedPicture, UnacceptablePicture
from fundus_relay.domain.geometry import Size
from fundus_relay.imaging import decoding
from fundus_relay.imaging.decoding import check_is_whole
from fundus_relay.imaging.dicom import frame_of, read_dicom
from fundus_relay.imaging.format import examine, jpeg_facts
from fundus_relay.imaging.preparation import prepare

SCENE = a_scene(48, 64)
FILES = {name: dicom_lossless(SCENE, syntax, instance="1.2.3") for name, syntax in LOSSLESS.items()}
FILES["JPEG"] = dicom_jpeg(a_jpeg(Size(64, 48)), instance="1.2.3")
MAX_PIXELS = 1_000_000
DELIMITER = 10
"""Bytes behind encapsulated pixels, padding and all; without them a picture is whole."""


def decoded(file: bytes) -> NDArray[np.uint8]:
    read_dicom(file, max_pixels=MAX_PIXELS)
    picture = frame_of(file, 1).picture
    if isinstance(picture, bytes):
        facts = jpeg_facts(memoryview(picture))
        check_is_whole(picture, facts)
        picture = decoding.decoded(picture, facts)
    return np.asarray(picture)


@pytest.mark.parametrize("name", LOSSLESS)
def test_what_was_kept_without_loss_comes_out_as_it_was(name: str) -> None:
    assert np.array_equal(decoded(FILES[name]), SCENE)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("missing", [30, 60, 300])
def test_a_file_that_lost_its_end_is_refused(name: str, missing: int) -> None:
    with pytest.raises(UnacceptablePicture):
        decoded(FILES[name][:-missing])


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=60, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_anywhere_is_refused(name: str, share: float) -> None:
    file = FILES[name]
    with pytest.raises(UnacceptablePicture):
        decoded(file[: int(share * (len(file) - DELIMITER))])


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=60, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True), change=st.binary(min_size=1, max_size=4))
def test_bytes_that_changed_anywhere_are_survived(name: str, share: float, change: bytes) -> None:
    file = FILES[name]
    at = int(share * len(file))
    try:
        decoded(file[:at] + change + file[at + len(change) :])
    except UnacceptablePicture:
        return


def test_a_jpeg_in_a_dicom_file_that_lost_pixels_is_refused() -> None:
    whole = a_jpeg()
    cut = whole[: len(whole) // 2] + b"\xff\xd9"
    file = dicom_jpeg(cut, instance="1.2.3")

    assert examine(file).size == Size(1320, 1040)
    with pytest.raises(DamagedPicture):
        prepare(file)


@pytest.mark.parametrize(
    ("stated", "written"),
    [("implicit little endian", "explicit little endian"), ("explicit little endian", "implicit little endian")],
)
def test_a_file_that_is_not_in_its_transfer_syntax_is_never_shown_in_shifted_colours(stated: str, written: str) -> None:
    """pydicom forgives it while it reads the header, and takes the samples from where the syntax has them."""
    names = {"implicit little endian": "1.2.840.10008.1.2", "explicit little endian": "1.2.840.10008.1.2.1"}
    file = dicom_file(SCENE, transfer_syntax=names[written])
    padded = [name.encode() + b"\0" * (len(name) % 2) for name in (names[written], names[stated])]
    before, after = (b"\x02\x00\x10\x00UI" + len(each).to_bytes(2, "little") + each for each in padded)
    group = file.index(b"\x02\x00\x00\x00UL") + 8
    length = int.from_bytes(file[group : group + 4], "little") + len(after) - len(before)
    mistaken = (file[:group] + length.to_bytes(4, "little") + file[group + 4 :]).replace(before, after, 1)

    with pytest.raises(DamagedPicture):
        decoded(mistaken)
