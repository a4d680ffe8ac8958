"""Large reports, kept small: whatever goes in comes out, and memory does not follow the count of boxes."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.golden.stories import REFERABLE, STORIES, a_page, an_image

from fundus_relay.domain.analysis import Graded
from fundus_relay.domain.packed import Packed
from fundus_relay.domain.values import Json, Pages
from fundus_relay.fhir.report import Report

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(), part, max_size=3),
    max_leaves=6,
)


@given(st.lists(st.fixed_dictionaries({"id": st.text()}, optional={"component": st.lists(JSON, max_size=30)})))
def test_what_goes_in_comes_out(resources: list[Json]) -> None:
    packed = Packed(resources)

    assert list(packed) == resources
    assert packed[:2] == tuple(resources[:2])
    assert packed == Packed(resources)
    assert [each["id"] for each in packed.heads] == [each["id"] for each in resources]


@pytest.mark.parametrize("changed", [{"id": "2"}, {"component": [{"n": n} for n in range(1, 100)]}])
def test_what_differs_is_not_equal(changed: Json) -> None:
    resource = {"id": "1", "component": [{"n": n} for n in range(99)]}

    assert Packed([resource]) != Packed([{**resource, **changed}])
    assert Packed([resource]) == Packed([resource])
    assert Packed([resource]) != [resource]


def test_heads_change_and_what_is_packed_stays() -> None:
    boxes = [{"n": n} for n in range(99)]
    packed = Packed([{"id": "1", "component": boxes}, {"id": "2"}])

    changed = packed.mapped(lambda each: {**each, "status": "x"} if each["id"] == "1" else None)

    assert list(changed) == [{"id": "1", "status": "x", "component": boxes}]
    assert "component" not in changed.heads[0]
    assert list(packed.where(lambda each: each["id"] == "1")) == [{"id": "1", "component": boxes}]


LESIONS = 100


def crowded(count: int) -> Report:
    """A report of that many photographs with a hundred lesions in each."""
    (lesion, *_) = REFERABLE.lesions
    graded = Graded(True, True, tuple(replace(lesion, source=f"[{n}]") for n in range(LESIONS)), {})
    images = [an_image(number, analysis=graded) for number in range(1, count + 1)]
    page = Pages(a_page(1, "application/pdf"), {})
    return replace(STORIES["normal-eye"], images=images, pages=page).told()


def test_a_crowded_report_takes_less_memory_than_its_text() -> None:
    crowded(1)
    tracemalloc.start()
    report = crowded(20)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    text = sum(len(json.dumps(each)) for each in report.resources)
    assert text > 20 * LESIONS * 500
    assert kept < text / 2
    assert peak < text
