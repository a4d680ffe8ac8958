"""A quick look: fundus photographs pass, and what is none, or badly lit, or blurred, is advised against."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from time import process_time

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter
from tests.pictures import FOLDER, needs_photographs, photographs

from fundus_relay.imaging.precheck import LONGER_SIDE, Advice, advise, measure

CPU_S = 0.05


def a_fundus(longer: int = 1600) -> Image.Image:
    """A round orange field on black, with darker lines of the width of vessels."""
    y, x = np.mgrid[0 : longer * 3 // 4, 0:longer]
    cy, cx, radius = longer * 3 / 8, longer / 2, longer * 0.36
    field = (y - cy) ** 2 + (x - cx) ** 2 < radius**2
    vessels = 0.75 + 0.25 * (np.sin(x * 200 / longer) * np.cos(y * 150 / longer) > -0.5)
    light = field * vessels * (1 - 0.2 * ((x - cx) / radius) ** 2)
    return Image.fromarray((light[..., None] * np.array([190, 100, 45])).astype(np.uint8))


def encoded(image: Image.Image, form: str = "JPEG") -> bytes:
    file = BytesIO()
    image.convert("RGB").save(file, form)
    return file.getvalue()


def a_scene_outdoors() -> Image.Image:
    y, x = np.mgrid[0:1200, 0:1600]
    return Image.fromarray(np.stack([x // 12, 120 + y // 12, 200 - y // 12], axis=-1).astype(np.uint8))


Change = Callable[[Image.Image], Image.Image]


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        (lambda eye: eye, ()),
        (lambda eye: eye.crop((500, 300, 1100, 900)), ()),
        (lambda eye: eye.filter(ImageFilter.GaussianBlur(16)), (Advice.OUT_OF_FOCUS,)),
        (lambda eye: ImageEnhance.Brightness(eye).enhance(0.25), (Advice.TOO_DARK,)),
        (lambda eye: ImageEnhance.Brightness(eye).enhance(0), (Advice.TOO_DARK,)),
        (lambda eye: ImageEnhance.Brightness(eye).enhance(4), (Advice.TOO_BRIGHT,)),
        (lambda eye: eye.convert("L"), (Advice.NOT_A_FUNDUS,)),
        (lambda eye: Image.merge("RGB", eye.split()[::-1]), (Advice.NOT_A_FUNDUS,)),
        (lambda _: a_scene_outdoors(), (Advice.NOT_A_FUNDUS,)),
        (lambda _: Image.new("RGB", (1280, 1024), "white"), (Advice.TOO_BRIGHT,)),
        (lambda _: Image.new("RGB", (1280, 1024), "black"), (Advice.TOO_DARK,)),
    ],
)
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_each_trouble_has_its_advice(change: Change, advice: tuple[Advice, ...], form: str) -> None:
    assert advise(encoded(change(a_fundus()), form)) == advice


def test_the_measurements_hardly_depend_on_how_large_a_photograph_is() -> None:
    small, large = (measure(encoded(a_fundus(longer))) for longer in (1400, 4200))

    assert abs(small.detail - large.detail) < 0.3 * small.detail
    assert abs(small.light - large.light) < 5


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (2000, 1), (1280, LONGER_SIDE)])
def test_no_picture_is_too_odd_to_be_looked_at(size: tuple[int, int]) -> None:
    for colour in ("black", "white", "orange"):
        advise(encoded(Image.new("RGB", size, colour)))


@pytest.mark.real_pictures
@needs_photographs
def test_every_real_photograph_passes_as_a_fundus_and_nothing_else_does(
    record_property: Callable[[str, str], None],
) -> None:
    """The table of `service/docs/precheck.md`."""
    eyes = photographs("idrid/images/*.jpg", "srahim/*.jpg", "normal_cc0/*.*", "codras/*.jpg", "tiff/*.tif")
    others = photographs("negatives/*")
    told = [advise(_readable(each.read_bytes())) for each in eyes]
    of_others = [advise(_readable(each.read_bytes())) for each in others]

    record_property(
        "advised against before paying",
        f"{sum(map(bool, told))} of {len(eyes)} fundus photographs, "
        f"{sum(map(bool, of_others))} of {len(others)} other pictures",
    )
    assert len(eyes) > 60 and len(others) > 5
    assert set(told) == {()}
    assert set(of_others) == {(Advice.NOT_A_FUNDUS,)}


@pytest.mark.real_pictures
@needs_photographs
def test_real_photographs_that_are_blurred_or_darkened_are_mostly_noticed() -> None:
    eyes = [Image.open(each).convert("RGB") for each in photographs("idrid/images/*.jpg", "srahim/*.jpg")[::5]]
    for eye in eyes:
        eye.thumbnail((1600, 1600))
    blurred = [advise(encoded(eye.filter(ImageFilter.GaussianBlur(eye.width / 100)))) for eye in eyes]
    dark = [advise(encoded(ImageEnhance.Brightness(eye).enhance(0.25))) for eye in eyes]

    assert sum(Advice.OUT_OF_FOCUS in each for each in blurred) >= 0.9 * len(eyes)
    assert sum(Advice.TOO_DARK in each for each in dark) >= 0.9 * len(eyes)


@pytest.mark.real_pictures
@needs_photographs
def test_a_look_at_twelve_megapixels_costs_next_to_nothing() -> None:
    picture = (
        (FOLDER / "idrid/images")
        .joinpath(sorted(each.name for each in photographs("idrid/images/*.jpg"))[0])
        .read_bytes()
    )
    advise(picture)  # imports
    begun = process_time()
    for _ in range(5):
        advise(picture)

    assert (process_time() - begun) / 5 < CPU_S


def _readable(picture: bytes) -> bytes:
    """As preparation would have it: no TIFF reaches the look."""
    return picture if picture[:2] in {b"\xff\xd8", b"\x89P"} else encoded(Image.open(BytesIO(picture)), "PNG")
