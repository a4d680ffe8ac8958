"""Regions, blur, field and rule against plain definitions of the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from fundus_relay.standin.eyes.field import DIAMETER, Frame, find_field, normalise
from fundus_relay.standin.eyes.grading import grade
from fundus_relay.standin.eyes.lesions import LESIONS, Candidate, to_source
from fundus_relay.standin.eyes.quality import _blur
from fundus_relay.standin.eyes.regions import Region, regions

EVIDENCE = {
    "MA": {"count": 8, "area": 0},
    "HE": {"count": 2, "area": 0},
    "EX": {"count": 1, "area": 7000},
    "SE": {"count": 4, "area": 0},
    "near_fovea": 2,
}
FRAME = Frame(0, 0, 1, 1536, 1536)

planes = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.floats(0, 1, width=16)
)


def grown(probability: NDArray[np.float32], over: float) -> set[tuple[int, int, int, int, int]]:
    """Boxes and areas by walking from pixel to pixel, corners included."""
    left = {(int(y), int(x)) for y, x in np.argwhere(probability > over)}
    found = set()
    while left:
        region, edge = set(), [left.pop()]
        while edge:
            y, x = edge.pop()
            region.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            edge += near
        ys, xs = zip(*region, strict=True)
        found.add((min(xs), min(ys), max(xs) + 1, max(ys) + 1, len(region)))
    return found


@given(planes)
def test_a_region_is_what_can_be_walked_to(probability: NDArray[np.float32]) -> None:
    found = {(*region.box, region.area) for region in regions(probability, over=0.5, join=0, area=1)}

    assert found == grown(probability, 0.5)


@pytest.mark.parametrize(("gap", "number"), [(4, 1), (5, 2)])
def test_regions_are_joined_over_twice_the_distance_and_no_further(gap: int, number: int) -> None:
    plane = np.zeros((9, 20), np.float32)
    plane[4, 5] = plane[4, 6 + gap] = 1

    assert len(regions(plane, over=0.5, join=2, area=1)) == number


@given(planes, st.integers(1, 5))
def test_the_blur_is_the_mean_of_a_window_with_repeated_edges(plane: NDArray[np.float32], radius: int) -> None:
    wide = np.pad(plane.astype(float), radius, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(wide, (2 * radius + 1, 2 * radius + 1))

    np.testing.assert_allclose(_blur(plane, radius), windows.mean(axis=(2, 3)), atol=1e-6)


@given(
    st.tuples(*[st.integers(0, 1600)] * 4),
    st.builds(Frame, st.floats(0, 500), st.floats(0, 500), st.floats(0.3, 3), st.just(1536), st.just(1300)),
    st.integers(1, 4000),
    st.integers(1, 4000),
)
def test_a_box_in_the_source_is_never_empty_and_never_outside(
    box: tuple[int, int, int, int], frame: Frame, width: int, height: int
) -> None:
    x1, y1, x2, y2 = to_source(box, frame, width, height)

    assert 0 <= x1 < x2 <= width
    assert 0 <= y1 < y2 <= height


@pytest.mark.parametrize(("width", "height", "radius"), [(1600, 1400, 600), (1600, 1000, 640), (3000, 2600, 1200)])
def test_a_bright_circle_is_found_and_scaled(width: int, height: int, radius: int) -> None:
    y, x = np.ogrid[0:height, 0:width]
    is_inside = np.hypot(x + 0.5 - width / 2, y + 0.5 - height / 2) < radius
    rgb = np.where(is_inside[..., None], np.array([180, 90, 40]), 0).astype(np.uint8)

    field = find_field(rgb)
    picture, mask, frame = normalise(rgb, field)

    assert (field.cx, field.cy, field.r) == pytest.approx((width / 2, height / 2, radius), abs=0.01 * radius)
    assert frame.width == pytest.approx(min(DIAMETER, DIAMETER * width / (2 * radius)), abs=16)
    assert not picture[~mask].any()
    assert {size % 32 for size in mask.shape} == {0}


def sure(number: int, area: int = 30, spread: bool = False) -> list[Candidate]:
    places = [(300, 300), (1200, 300), (300, 1200), (1200, 1200)] if spread else [(300, 300)]
    boxes = [places[i % len(places)] for i in range(number)]
    return [Candidate(Region((x, y, x + 6, y + 6), area, 0.95), True, True) for x, y in boxes]


@pytest.mark.parametrize(
    ("found", "level"),
    [
        ({}, 0),
        ({"MA": sure(7)}, 0),
        ({"MA": sure(8)}, 1),
        ({"HE": sure(1)}, 0),
        ({"HE": sure(2)}, 2),
        ({"EX": sure(50)}, 0),
        ({"EX": sure(1, area=7000)}, 2),
        ({"SE": sure(4)}, 2),
        ({"HE": sure(79, spread=True)}, 2),
        ({"HE": sure(80, spread=True)}, 3),
        ({"HE": [Candidate(each.region, True, False) for each in sure(80)]}, 0),
    ],
)
def test_the_rule_counts_what_is_sure(found: dict[str, list[Candidate]], level: int) -> None:
    verdict = grade({name: found.get(name, []) for name in LESIONS}, None, FRAME, EVIDENCE)

    assert (verdict.grade, verdict.is_referable) == (level, level >= 2)
    assert verdict.has_retinopathy is (level > 0)
