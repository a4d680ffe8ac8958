"""A box that the analyser finds by looking at what it was sent reaches the EHR on the pixels that it was drawn on."""

from __future__ import annotations

import numpy as np
import pytest
from tests.dicom_files import dicom_file, dicom_jpeg, listed
from tests.flow.archived import ask_for_the_study
from tests.flow.boxes import boxes_at_ehr, near, sees_green
from tests.flow.world import World, a_photograph
from tests.unit.imaging.pictures import a_jpeg, a_png, a_raster

from fundus_relay.domain.analysis import Graded, Lesion
from fundus_relay.domain.geometry import Box, Size
from fundus_relay.domain.states import ImageState

MARKED = Box(301, 402, 395, 470)
LARGE, FINE = Size(4000, 3200), 30
"""Of this size with this share of grain, a JPEG within the analyser's limit is smaller."""


@pytest.fixture(autouse=True)
def the_analyser_has_eyes(world: World) -> None:
    world.analyser.look = sees_green


@pytest.mark.parametrize("turn", range(1, 9))
async def test_a_box_on_a_turned_photograph_is_told_in_pixels_as_stored(world: World, turn: int) -> None:
    await world.accept(await a_photograph(world, a_jpeg(marked=MARKED, orientation=turn)))

    await world.finish()

    assert await boxes_at_ehr(world) == [near(MARKED)]


async def test_a_box_on_a_png_is_told_in_pixels_as_stored(world: World) -> None:
    await world.accept(await a_photograph(world, a_png(a_raster(marked=MARKED), orientation=7)))

    await world.finish()

    assert await boxes_at_ehr(world) == [near(MARKED)]


async def test_a_box_on_a_photograph_that_had_to_shrink_is_told_in_pixels_as_stored(world: World) -> None:
    picture = a_jpeg(LARGE, marked=MARKED, noise=FINE, quality=97, orientation=5)
    await world.accept(await a_photograph(world, picture))

    await world.finish()

    (image,) = await world.images()
    assert image.prepared is not None
    assert image.prepared.size.pixels < LARGE.pixels
    assert await boxes_at_ehr(world) == [near(MARKED)]


async def test_boxes_on_frames_and_instances_of_dicom_are_each_on_their_own(world: World) -> None:
    first, second, third = Box(50, 60, 120, 150), Box(600, 500, 640, 590), Box(1200, 30, 1280, 70)
    frames = np.stack([np.asarray(a_raster(marked=box, noise=0)) for box in (first, second)])
    world.archive.address = "http://pacs.test/dicom-web"
    world.archive.put(listed("1.2.3.1"), dicom_file(frames, frames=2, instance="1.2.3.1"))
    world.archive.put(listed("1.2.3.2"), dicom_jpeg(a_jpeg(marked=third, orientation=8), instance="1.2.3.2"))
    await ask_for_the_study(world)

    await world.finish()

    assert sorted(await boxes_at_ehr(world)) == [near(first), near(second), near(third)]


async def test_a_box_that_sticks_out_of_the_picture_reaches_nobody(world: World) -> None:
    beyond = Box(MARKED.x_min, MARKED.y_min, 1321, MARKED.y_max)
    world.analyser.look = lambda _: Graded(True, True, (Lesion("Microaneurysm", beyond, "[301, 402, 1321, 470]"),))
    await world.accept(await a_photograph(world, a_jpeg(orientation=3)))

    await world.finish()

    (image,) = await world.images()
    assert (image.state, image.reason) == (ImageState.PARKED, "answer-not-understood")
    assert await boxes_at_ehr(world) == []
    assert await world.at_ehr("Observation") == []
