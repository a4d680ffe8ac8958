"""The demonstration's two eyes."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import pytest
from PIL import Image, ImageChops

from fundus_relay.demonstration.pictures import normal_eye, painted_eye, painted_lesions
from fundus_relay.domain.geometry import Box, Size
from fundus_relay.imaging.format import examine
from fundus_relay.imaging.preparation import prepare
from fundus_relay.standin.answers import Seen
from fundus_relay.standin.eyes.look import look


def overlap(a: Box, b: Box) -> bool:
    return a.x_min < b.x_max and b.x_min < a.x_max and a.y_min < b.y_max and b.y_min < a.y_max


def boxes(seen: Seen, literal: str) -> list[Box]:
    return [Box(*box) for word, box in seen.lesions if word == literal]


@pytest.mark.parametrize("eye", [normal_eye, painted_eye])
def test_an_eye_of_the_demonstration_can_be_submitted_as_it_is(eye: Callable[[], bytes]) -> None:
    assert examine(eye()).size == Size(1411, 1411)
    assert prepare(eye()).steps == ("metadata removed",)


def test_the_painted_eye_is_always_the_same() -> None:
    assert painted_eye() == painted_eye()
    assert painted_lesions() == painted_lesions()


def test_paint_lies_in_the_painted_boxes_and_nowhere_else() -> None:
    normal, painted = (Image.open(BytesIO(eye)).convert("RGB") for eye in (normal_eye(), painted_eye()))
    moved = ImageChops.difference(normal, painted).convert("L").point(lambda level: 255 if level > 40 else 0)
    for lesion in painted_lesions():
        around = tuple(
            map(round, (lesion.box.x_min - 8, lesion.box.y_min - 8, lesion.box.x_max + 8, lesion.box.y_max + 8))
        )
        assert moved.crop(around).getbbox() is not None
        moved.paste(0, around)
    assert moved.getbbox() is None


@pytest.mark.slow
def test_the_network_calls_the_normal_eye_gradable_and_free_of_retinopathy() -> None:
    seen = look(normal_eye())

    assert (seen.is_fundus, seen.is_gradable) == (True, True)
    assert (seen.has_retinopathy, seen.is_referable) == (False, False)


@pytest.mark.slow
def test_the_network_calls_the_painted_eye_referable_and_boxes_what_was_painted() -> None:
    seen = look(prepare(painted_eye()).picture)

    assert (seen.is_fundus, seen.is_gradable) == (True, True)
    assert (seen.has_retinopathy, seen.is_referable) == (True, True)
    for painted in painted_lesions():
        assert any(overlap(painted.box, box) for box in boxes(seen, painted.sign)), painted
    for box in boxes(seen, "Deep Hemorrhage"):
        assert any(overlap(painted.box, box) for painted in painted_lesions())
