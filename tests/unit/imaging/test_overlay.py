"""Boxes drawn on a picture, and what is said around it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from io import BytesIO

import pytest
from PIL import Image, ImageColor, ImageStat
from tests.unit.imaging.pictures import a_jpeg, a_png, a_raster, find_marked

from fundus_relay.domain.errors import DamagedPicture
from fundus_relay.domain.geometry import Box, Size, scaling
from fundus_relay.domain.sheets import Caption, Drawn, Marked
from fundus_relay.domain.strokes import strokes_of
from fundus_relay.imaging.overlay import ALARM, CAUTION, overlay, plate
from fundus_relay.imaging.preparation import Prepared, prepare
from fundus_relay.imaging.viewing import view

SIZE = Size(1320, 1040)
BOX = Box(300, 400, 420, 480)
STANDIN = ("STAND-IN: SIMULATED RESULT - NOT FOR PATIENT CARE", "AI-GENERATED, UNREVIEWED")
KINDS = ("Deep Hemorrhage", "Hard Exudate", "Soft Exudate", "Microaneurysm", "Drusen")
LIMIT = 1_000_000


def marked(prepared: Prepared, boxes: Sequence[tuple[Box, str]], warnings: tuple[str, ...] = STANDIN[1:]) -> Marked:
    counts = dict(sorted(Counter(kind for _, kind in boxes).items()))
    caption = Caption(
        "Right eye (OD)", "taken 2026-11-20 10:15 UTC", "Diabetic retinopathy detected", warnings, counts, "Report 1"
    )
    return Marked(tuple(boxes), prepared.to_source.inverse(), caption)


def drawn(picture: bytes, *boxes: tuple[Box, str], limit: int = LIMIT, warnings: tuple[str, ...] = STANDIN) -> Drawn:
    prepared = prepare(picture)
    subject = marked(prepared, boxes, warnings)
    return overlay(view(prepared.picture), subject, prepared.size, strokes_of(subject.caption.counts), limit)


def plated(picture: bytes, *boxes: tuple[Box, str], longest: int = 2000, limit: int = LIMIT) -> Image.Image:
    """The picture alone, with its boxes."""
    prepared = prepare(picture)
    subject = marked(prepared, boxes)
    seen = view(prepared.picture, longest=longest)
    done = plate(seen, subject, prepared.size, strokes_of(subject.caption.counts), limit)
    return opened(done)


def opened(done: Drawn) -> Image.Image:
    image = Image.open(BytesIO(done.jpeg))
    assert Size(*image.size) == done.size
    return image.convert("RGB")


def has_colour(image: Image.Image, colour: str, area: tuple[float, float, float, float]) -> bool:
    wanted = ImageColor.getrgb(colour)[:3]
    pixels = image.crop(tuple(map(round, area))).tobytes()
    points = zip(pixels[::3], pixels[1::3], pixels[2::3], strict=True)
    return any(max(abs(a - b) for a, b in zip(point, wanted, strict=True)) < 60 for point in points)


def sides(box: Box, reach: int = 7) -> dict[str, tuple[float, float, float, float]]:
    """A piece of the outside of each side of a box, a quarter along it."""
    x, y = box.x_min + (box.x_max - box.x_min) / 5, box.y_min + (box.y_max - box.y_min) / 5
    return {
        "left": (box.x_min - reach, y, box.x_min, y + 3),
        "right": (box.x_max, y, box.x_max + reach, y + 3),
        "top": (x, box.y_min - reach, x + 3, box.y_min),
        "bottom": (x, box.y_max, x + 3, box.y_max + reach),
    }


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_line_runs_around_the_pixels_of_its_box_however_the_camera_was_held(orientation: int) -> None:
    image = plated(a_jpeg(SIZE, noise=0, orientation=orientation, marked=BOX), (BOX, "Deep Hemorrhage"))

    shown = find_marked(image)
    assert image.width == (SIZE.columns if orientation < 5 else SIZE.rows)
    assert {shown.x_max - shown.x_min, shown.y_max - shown.y_min} == {120, 80}  # no line covers any of it
    colour = strokes_of(["Deep Hemorrhage"])["Deep Hemorrhage"].colour
    assert [side for side, area in sides(shown).items() if not has_colour(image, colour, area)] == []


def test_a_box_is_drawn_on_its_pixels_when_the_picture_is_made_smaller() -> None:
    large, box = Size(4288, 2848), Box(1000, 1200, 1400, 1500)
    image = plated(a_jpeg(large, noise=0, marked=box), (box, "Deep Hemorrhage"), longest=1072)

    shown = find_marked(image)
    assert image.size == (1072, 712)
    edges = (shown.x_min, shown.y_min, shown.x_max, shown.y_max)
    assert edges == pytest.approx((250, 300, 350, 375), abs=1)
    assert all(has_colour(image, "#56B4E9", area) for area in sides(shown, 5).values())


def test_a_box_that_ends_with_the_picture_is_drawn_on_all_its_sides() -> None:
    whole = Box(0, 0, SIZE.columns, SIZE.rows)
    image = plated(a_jpeg(SIZE, noise=0), (whole, "Deep Hemorrhage"))

    colour = strokes_of(["Deep Hemorrhage"])["Deep Hemorrhage"].colour
    inside = Box(8, 8, SIZE.columns - 8, SIZE.rows - 8)
    assert [side for side, area in sides(inside, 8).items() if not has_colour(image, colour, area)] == []


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_its_colour_around_its_box_and_in_the_legend(kind: str) -> None:
    done = opened(drawn(a_jpeg(SIZE, noise=0), *((BOX, each) for each in KINDS if each == kind)))
    top = head_of(done)

    colour = strokes_of([kind])[kind].colour
    around = (BOX.x_min - 8, top + BOX.y_min - 8, BOX.x_max + 8, top + BOX.y_max + 8)
    assert has_colour(done, colour, around)
    assert has_colour(done, colour, (0, top + SIZE.rows, done.width, done.height))


def head_of(done: Image.Image) -> int:
    """Rows above the picture; below the last of them it is no strip of one colour any more."""
    left = done.crop((0, 0, 2, done.height))
    dark = (22, 22, 22)
    rows = [row for row in range(done.height // 2) if near(left.getpixel((0, row)), dark)]
    return rows[-1] + 1


def near(a: object, b: tuple[int, ...]) -> bool:
    assert isinstance(a, tuple)
    return max(abs(x - y) for x, y in zip(a, b, strict=True)) < 25


def test_what_is_said_stands_around_the_picture_and_hides_nothing_of_it() -> None:
    picture = a_jpeg(SIZE, noise=0)
    done, plain = opened(drawn(picture)), Image.open(BytesIO(picture)).convert("RGB")
    top = head_of(done)

    assert done.width == plain.width
    shown = done.crop((0, top, done.width, top + plain.height))
    assert shown.size == plain.size
    assert max(ImageStat.Stat(Image.blend(shown, plain, 0.5)).mean) > 60
    difference = max(abs(a - b) for a, b in zip(ImageStat.Stat(shown).mean, ImageStat.Stat(plain).mean, strict=True))
    assert difference < 2


@pytest.mark.parametrize(("warnings", "alarms"), [(STANDIN, True), (STANDIN[1:], False)])
def test_a_stand_in_has_a_band_of_its_own_above_all_else(warnings: tuple[str, ...], alarms: bool) -> None:
    done = opened(drawn(a_jpeg(SIZE, noise=0), warnings=warnings))

    first = done.getpixel((1, 1))
    assert near(first, ImageColor.getrgb(ALARM if alarms else CAUTION)[:3])


def test_letters_cover_no_box_and_stay_on_the_picture() -> None:
    boxes = [(Box(x, y, x + 60, y + 44), "Microaneurysm") for x in range(0, 1241, 310) for y in range(0, 997, 249)]
    boxes += [(Box(1260, 996, 1320, 1040), "Microaneurysm")]
    image = plated(a_jpeg(SIZE, noise=0), *boxes)
    plain = plated(a_jpeg(SIZE, noise=0))

    changed = [
        (box.x_min, box.y_min)
        for box, _ in boxes
        for area in [(box.x_min + 2, box.y_min + 2, box.x_max - 2, box.y_max - 2)]
        if not near(tuple(map(round, mean(image, area))), tuple(map(round, mean(plain, area))))
    ]
    assert changed == []


def mean(image: Image.Image, area: tuple[float, float, float, float]) -> list[float]:
    return ImageStat.Stat(image.crop(tuple(map(round, area)))).mean


def test_letters_stand_beside_a_box_that_has_room() -> None:
    image = plated(a_jpeg(SIZE, noise=0), (BOX, "Deep Hemorrhage"))

    above = (BOX.x_min, BOX.y_min - 40, BOX.x_max, BOX.y_min - 12)
    assert has_colour(image, "#56B4E9", above)


def test_of_a_crowd_only_some_have_letters() -> None:
    crowd = [(Box(x, y, x + 8, y + 8), "Microaneurysm") for x in range(20, 1300, 60) for y in range(40, 1000, 60)]
    image = plated(a_jpeg(SIZE, noise=0), *crowd)

    green = "#009E73"
    lettered = [
        box
        for box, _ in crowd
        if has_colour(image, green, (box.x_min - 8, box.y_min - 34, box.x_max + 8, box.y_min - 16))
    ]
    assert 0 < len(lettered) <= 12
    assert all(
        has_colour(image, green, (box.x_min - 8, box.y_min - 8, box.x_max + 8, box.y_max + 8)) for box, _ in crowd
    )


def test_boxes_at_every_edge_are_drawn_where_they_reach_into_the_picture() -> None:
    edges = [(Box(0, 0, 1320, 1040), "Soft Exudate"), (Box(1319, 1039, 1320, 1040), "Soft Exudate")]

    assert plated(a_jpeg(SIZE, noise=0), *edges).size == (SIZE.columns, SIZE.rows)


def test_a_png_and_words_in_any_script_are_drawn() -> None:
    kind = "रक्तस्राव 出血 <b>" + "x" * 300

    done = opened(drawn(a_png(a_raster(noise=0)), (BOX, kind)))

    assert done.width == SIZE.columns


def test_the_same_is_drawn_in_the_same_bytes() -> None:
    picture = a_jpeg(SIZE, noise=5)

    assert drawn(picture, (BOX, "Drusen")) == drawn(picture, (BOX, "Drusen"))


@pytest.mark.parametrize("limit", [250_000, 60_000, 15_000])
def test_a_drawing_keeps_within_its_bytes(limit: int) -> None:
    done = drawn(a_jpeg(SIZE, noise=40), (BOX, "Drusen"), limit=limit)

    assert len(done.jpeg) <= limit
    assert done.size.columns > 200


def test_a_picture_that_cannot_be_kept_within_any_bytes_is_a_thumbnail() -> None:
    assert drawn(a_jpeg(SIZE, noise=40), limit=10).size.columns == 240


def test_a_view_is_never_larger_than_the_picture_nor_than_a_screen() -> None:
    assert view(a_jpeg(SIZE, noise=0)).size == (1320, 1040)
    assert view(a_jpeg(Size(4288, 2848), noise=0)).size == (2000, 1328)
    assert view(a_png(a_raster(noise=0)), longest=600).size == (600, 473)


@pytest.mark.parametrize("broken", [b"", b"\xff\xd8\xff", a_jpeg(SIZE)[:3000]])
def test_what_does_not_decode_says_so(broken: bytes) -> None:
    with pytest.raises(DamagedPicture):
        view(broken)


def test_a_view_shows_what_the_analyser_was_given() -> None:
    prepared = prepare(a_jpeg(SIZE, noise=0, orientation=6, marked=BOX))
    to_view = scaling(of=prepared.size, to=Size(*view(prepared.picture).size)).after(prepared.to_source.inverse())

    assert find_marked(view(prepared.picture)) == to_view.box(BOX)
