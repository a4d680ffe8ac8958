"""Frames, boxes and maps."""

from __future__ import annotations

from functools import reduce
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_relay.domain.geometry import IDENTITY, Affine, Box, Size, scaling

SIDES = st.integers(100, 20_000)
SIZES = st.builds(Size, SIDES, SIDES)
SHARES = st.tuples(st.floats(0, 1), st.floats(0, 1)).filter(lambda pair: abs(pair[0] - pair[1]) > 1e-3).map(sorted)


def a_box_in(frame: Size, across: list[float], down: list[float]) -> Box:
    return Box(across[0] * frame.columns, down[0] * frame.rows, across[1] * frame.columns, down[1] * frame.rows)


def corners(box: Box) -> tuple[float, float, float, float]:
    return box.x_min, box.y_min, box.x_max, box.y_max


@pytest.mark.parametrize(
    "numbers",
    [(5, 0, 5, 1), (6, 0, 5, 1), (0, 7, 1, 3), (-1, 0, 5, 5), (0, -0.5, 5, 5), (nan, 0, 1, 1), (0, 0, inf, 1)],
)
def test_a_box_that_is_empty_or_inside_out_or_endless_or_outside_cannot_be_made(numbers: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="box"):
        Box(*numbers)


@pytest.mark.parametrize(("columns", "rows"), [(0, 5), (5, 0), (-1, 5)])
def test_a_picture_has_at_least_one_pixel(columns: int, rows: int) -> None:
    with pytest.raises(ValueError, match="at least one"):
        Size(columns, rows)


def test_a_size_knows_its_pixels_and_its_quarter_turn() -> None:
    assert Size(30, 20).pixels == 600
    assert Size(30, 20).transposed == Size(20, 30)


@pytest.mark.parametrize(
    ("box", "lies"),
    [
        (Box(0, 0, 30, 20), True),
        (Box(29, 19, 30, 20), True),
        (Box(0, 0, 30.01, 20), False),
        (Box(0, 0, 30, 20.01), False),
    ],
)
def test_a_box_lies_in_a_frame_up_to_its_last_edge(box: Box, lies: bool) -> None:
    assert box.lies_in(Size(30, 20)) is lies


def test_a_mirror_exchanges_the_sides_of_a_box() -> None:
    mirror = Affine(-1, 0, 100, 0, 1, 0)

    assert mirror.box(Box(10, 5, 30, 50)) == Box(70, 5, 90, 50)


def test_a_slanted_map_gives_the_smallest_upright_box_around() -> None:
    slanted = Affine(1, 1, 0, 0, 1, 0)

    assert slanted.box(Box(0, 0, 10, 20)) == Box(0, 0, 30, 20)


@pytest.mark.parametrize("wide", range(300, 400))
def test_a_box_on_the_frames_edge_stays_on_it(wide: int) -> None:
    stored, sent = Size(1411, 1057), Size(wide, 1057 * wide // 1411)
    back = Affine(-1, 0, stored.columns, 0, -1, stored.rows).after(scaling(of=sent, to=stored))

    assert back.box(Box(0, 0, sent.columns, sent.rows)) == Box(0, 0, stored.columns, stored.rows)


def test_a_map_that_leads_out_of_the_frame_makes_no_box() -> None:
    with pytest.raises(ValueError, match="box"):
        Affine(1, 0, -50, 0, 1, 0).box(Box(0, 0, 10, 10))


def test_a_map_onto_a_line_cannot_be_undone() -> None:
    with pytest.raises(ValueError, match="inverse"):
        Affine(1, 0, 0, 2, 0, 0).inverse()


def test_after_applies_the_other_map_first() -> None:
    twice, shift = Affine(2, 0, 0, 0, 2, 0), Affine(1, 0, 5, 0, 1, 7)

    assert twice.after(shift).point(1, 1) == (12, 16)
    assert shift.after(twice).point(1, 1) == (7, 9)


@given(SIZES, SIZES, SHARES, SHARES)
def test_a_scaled_box_keeps_its_place_and_stays_inside(
    of: Size, to: Size, across: list[float], down: list[float]
) -> None:
    scaled = scaling(of=of, to=to).box(a_box_in(of, across, down))

    assert corners(scaled) == pytest.approx(corners(a_box_in(to, across, down)), abs=2e-6)


@given(SIZES, SIZES, SHARES, SHARES)
def test_a_box_comes_back_through_the_inverse(of: Size, to: Size, across: list[float], down: list[float]) -> None:
    there = scaling(of=of, to=to).after(Affine(-1, 0, of.columns, 0, 1, 0))
    box = a_box_in(of, across, down)

    assert corners(there.inverse().box(there.box(box))) == pytest.approx(corners(box), abs=1e-3)


@given(SIZES, SIZES, SIZES, SHARES, SHARES)
def test_maps_in_a_row_do_what_each_does_in_turn(
    a: Size, b: Size, c: Size, across: list[float], down: list[float]
) -> None:
    box = a_box_in(a, across, down)
    first, then = scaling(of=a, to=b), scaling(of=b, to=c)

    assert corners(then.after(first).box(box)) == pytest.approx(corners(then.box(first.box(box))), rel=1e-6, abs=1e-2)


MAPS = st.lists(
    st.one_of(
        st.builds(lambda of, to: scaling(of=of, to=to), SIZES, SIZES),
        st.builds(lambda x, y: Affine(1, 0, x, 0, 1, y), st.integers(-9999, 9999), st.integers(-9999, 9999)),
        st.builds(lambda side: Affine(-1, 0, side, 0, 1, 0), SIDES),
        st.builds(lambda side: Affine(0, 1, 0, -1, 0, side), SIDES),
    ),
    min_size=1,
    max_size=4,
).map(lambda steps: reduce(lambda done, step: step.after(done), steps, IDENTITY))
"""Scales, crops, mirrors and quarter turns, one after the other."""
POINTS = st.tuples(st.floats(0, 20_000), st.floats(0, 20_000))


@given(MAPS, POINTS)
def test_doing_nothing_before_or_after_a_map_changes_nothing(some: Affine, point: tuple[float, float]) -> None:
    assert some.after(IDENTITY).point(*point) == IDENTITY.after(some).point(*point) == some.point(*point)


@given(MAPS, MAPS, MAPS, POINTS)
def test_maps_in_a_row_may_be_put_together_from_either_end(
    a: Affine, b: Affine, c: Affine, point: tuple[float, float]
) -> None:
    assert c.after(b.after(a)).point(*point) == pytest.approx(c.after(b).after(a).point(*point), rel=1e-9, abs=1e-3)


@given(MAPS, POINTS)
def test_the_inverse_undoes_a_map_from_both_sides(some: Affine, point: tuple[float, float]) -> None:
    back = some.inverse()

    assert back.after(some).point(*point) == pytest.approx(point, rel=1e-6, abs=1e-2)
    assert some.after(back).point(*point) == pytest.approx(point, rel=1e-6, abs=1e-2)


@given(MAPS, MAPS)
def test_what_two_maps_do_is_undone_in_the_other_order(a: Affine, b: Affine) -> None:
    undone, one_by_one = b.after(a).inverse(), a.inverse().after(b.inverse())

    for point in [(0, 0), (1000, 0), (0, 1000)]:
        assert undone.point(*point) == pytest.approx(one_by_one.point(*point), rel=1e-6, abs=1e-2)
