"""Which overlays of the revision before still show what a report says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.golden.stories import (
    HALVED,
    ISSUED,
    LEFT,
    LESIONS,
    NORMAL,
    REFERABLE,
    RIGHT,
    UNGRADABLE,
    Story,
    a_study,
    an_image,
)

from fundus_relay.domain.geometry import Box
from fundus_relay.domain.packed import Packed
from fundus_relay.domain.values import Image, Json, Pages, StoredPage
from fundus_relay.fhir.earlier import earlier_of, stored
from fundus_relay.fhir.pages import blob_of, is_overlay, is_purged, not_drawn, shown_instead
from fundus_relay.fhir.report import Report
from fundus_relay.fhir.withdrawn import withdrawn, withdrawn_report

CROWDED = replace(REFERABLE, lesions=LESIONS * 5)
MOVED = replace(REFERABLE, lesions=(replace(LESIONS[0], box=Box(479.5, 364.5, 522, 406)), *LESIONS[1:]))
OTHER_KIND = replace(REFERABLE, lesions=(replace(LESIONS[0], literal="Drusen"), *LESIONS[1:]))
DRAWN = an_image(1, RIGHT, analysis=REFERABLE, prepared=HALVED)
LATE = an_image(2, LEFT)
SAID = Story(a_study(), [DRAWN]).told()
WHEN = "2026-11-23 09:30 UTC"


def later(*images: Image, made: Pages | None = None) -> Report:
    return Story(a_study(), images, pages=made).told(revision=2, issued=ISSUED + timedelta(days=40))


def told_again(image: Image, said: Packed = SAID.resources) -> Pages:
    """Pages of a revision for which this image could not be drawn, and a late one could."""
    earlier = earlier_of(image.media_id, said, later(image, LATE).resources)
    late = StoredPage("9" * 64, "", "image/jpeg", 9, Story(a_study(), [LATE]).made.overlays[LATE.id].size)
    return Pages(None, {LATE.id: late}, (image.id,), {image.id: earlier} if earlier else {})


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"media_id": "media-9"},  # another Media stands for the photograph
        {"attempt": 3, "trace": "00-1-2-3"},
    ],
    ids=str,
)
@pytest.mark.parametrize("analysis", [NORMAL, REFERABLE, CROWDED, UNGRADABLE], ids=["normal", "few", "many", "none"])
def test_an_overlay_stands_while_what_it_shows_is_what_is_said(change: dict[str, Any], analysis: Any) -> None:
    drawn = replace(DRAWN, analysis=analysis)
    said = Story(a_study(), [drawn]).told().resources
    image = replace(drawn, **change)

    earlier = earlier_of(image.media_id, said, later(image, LATE).resources)

    assert earlier is not None
    assert is_overlay(earlier.media)
    assert stored(earlier) == Story(a_study(), [drawn]).made.overlays[drawn.id]


@pytest.mark.parametrize(
    "change",
    [
        {"laterality": LEFT},
        {"laterality": None},
        {"captured": "2026-11-19T10:15:00+05:30"},
        {"captured": None},
        {"is_standin": True},
        {"analysis": NORMAL},
        {"analysis": replace(REFERABLE, is_referable=False)},
        {"analysis": replace(REFERABLE, lesions=LESIONS[:2])},
        {"analysis": replace(REFERABLE, lesions=())},
        {"analysis": MOVED},
        {"analysis": OTHER_KIND},
        {"analysis": UNGRADABLE},
    ],
    ids=lambda change: str(change)[:60],
)
def test_an_overlay_falls_with_whatever_it_shows_of_its_photograph(change: dict[str, Any]) -> None:
    image = replace(DRAWN, **change)

    assert earlier_of(image.media_id, SAID.resources, later(image, LATE).resources) is None


def test_an_overlay_of_another_patient_does_not_stand() -> None:
    other = Story(a_study(subject={"reference": "Patient/other"}), [DRAWN]).told().resources

    assert earlier_of(DRAWN.media_id, other, later(DRAWN).resources) is None


def test_lesions_beyond_a_few_are_looked_at_as_well() -> None:
    """A report keeps them deflated."""
    drawn = replace(DRAWN, analysis=CROWDED)
    said = Story(a_study(), [drawn]).told().resources
    last = replace(CROWDED, lesions=(*CROWDED.lesions[:-1], replace(CROWDED.lesions[-1], box=Box(0, 0, 11, 24))))

    assert earlier_of(drawn.media_id, said, later(replace(drawn, analysis=last)).resources) is None


FIRST, SECOND = DRAWN, an_image(2, RIGHT)


@pytest.mark.parametrize(
    ("before", "now", "stands"),
    [
        ([FIRST], [FIRST, SECOND], True),  # "Right eye" is image 1 of 2
        ([FIRST, SECOND], [FIRST, SECOND, an_image(3, RIGHT)], True),
        ([FIRST, SECOND], [FIRST], True),
        ([FIRST], [SECOND, FIRST], False),  # "Right eye" is image 2 of 2: an earlier one was of the other eye
        ([SECOND, FIRST], [FIRST], False),
        ([SECOND, FIRST], [FIRST, SECOND], False),
    ],
)
def test_an_overlay_falls_when_its_number_is_that_of_another_photograph(
    before: Sequence[Image], now: Sequence[Image], stands: bool
) -> None:
    said = Story(a_study(), before).told().resources

    assert (earlier_of(FIRST.media_id, said, later(*now).resources) is not None) is stands


def test_what_was_never_drawn_or_was_taken_back_does_not_stand() -> None:
    told = later(DRAWN, LATE).resources
    without = Story(a_study(), [DRAWN], pages=Pages(not_drawn=(DRAWN.id,))).told().resources
    gone = SAID.resources.mapped(lambda each: withdrawn(each) if is_overlay(each) else each)
    wrong = SAID.resources.mapped(lambda each: {**each, "status": "entered-in-error"} if is_overlay(each) else each)
    pageless = SAID.resources.mapped(lambda each: None if each["resourceType"] == "Binary" else each)

    for said in (Packed(), without, gone, wrong, pageless, withdrawn_report(SAID.resources, revision=2, issued="")):
        assert earlier_of(DRAWN.media_id, said, told) is None


def test_a_report_tells_of_an_earlier_overlay_as_it_was_and_by_when_it_was_made() -> None:
    said = next(each for each in SAID.resources if is_overlay(each))
    report = later(replace(DRAWN, media_id="media-9"), LATE, made=told_again(DRAWN))

    (overlay,) = (each for each in report.resources if each["id"] == said["id"])
    assert {**overlay, "partOf": ()} == {**said, "partOf": ()}
    assert overlay["partOf"] == [{"reference": "Media/media-9"}]
    (page,) = (each for each in report.resources if each["id"] == overlay["content"]["url"].rpartition("/")[2])
    assert (is_purged(page), blob_of(page)) == (True, None)
    comments = {each["link"]["reference"]: each["comment"] for each in report.diagnostic_report["media"]}
    where = f"that of the revision of {WHEN}, if it is still there"
    assert comments[f"Media/{said['id']}"] == f"Right eye, with boxes drawn, {where}"
    (provenance,) = (each for each in report.resources if each["resourceType"] == "Provenance")
    assert f"Media/{said['id']}" not in {each["reference"] for each in provenance["target"]}
    assert report.diagnostic_report["conclusion"].endswith(
        f" Right eye: the photograph cannot be drawn again; its picture with boxes is {where}."
    )


def test_an_earlier_overlay_stays_for_the_revision_after_the_next() -> None:
    second = later(DRAWN, LATE, made=told_again(DRAWN)).resources

    earlier = earlier_of(DRAWN.media_id, second, later(DRAWN, LATE, an_image(3, None)).resources)

    assert earlier is not None
    assert earlier.media == next(each for each in SAID.resources if is_overlay(each))
    assert stored(earlier) is None


def test_words_say_where_a_picture_is_or_that_there_is_none() -> None:
    earlier = told_again(DRAWN).earlier[DRAWN.id]

    assert WHEN in not_drawn(earlier)
    assert WHEN in shown_instead(earlier)
    assert not_drawn(None) == "the photograph could not be shown with its boxes"


def names(report: Sequence[Json]) -> set[str]:
    return {f"{each['resourceType']}/{each['id']}" for each in report}


def test_every_reference_still_leads_to_a_part_of_the_report() -> None:
    resources = later(DRAWN, LATE, made=told_again(DRAWN)).resources

    linked = {each["link"]["reference"] for each in resources.heads[0]["media"]}
    secured = {each["securityContext"]["reference"] for each in resources if each["resourceType"] == "Binary"}
    assert linked | secured <= names(resources)
