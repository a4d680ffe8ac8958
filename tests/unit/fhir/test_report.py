"""What a report says, story by story; and what it never says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from importlib import import_module
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.golden.stories import (
    HALVED,
    ISSUED,
    LEFT,
    LESIONS,
    NORMAL,
    REFERABLE,
    RIGHT,
    SOURCE,
    STORIES,
    UNGRADABLE,
    Story,
    a_study,
    an_image,
    golden,
    parked,
)

from fundus_relay.domain.analysis import AnalysisFailed, Graded, Lesion, NotFundus
from fundus_relay.domain.errors import Unexplained
from fundus_relay.domain.geometry import Affine, Box, Size
from fundus_relay.domain.laterality import Laterality
from fundus_relay.domain.states import ImageState
from fundus_relay.domain.values import Image, Json, PreparedPicture
from fundus_relay.fhir import codes
from fundus_relay.fhir.report import Report, fingerprint
from fundus_relay.fhir.withdrawn import withdrawn_report

STATUSES = {
    "DiagnosticReport": {"partial", "preliminary"},
    "Observation": {"preliminary"},
    "Media": {"completed"},
    "Device": {"active"},
}
NEGATIVE = {"260415000", "dr-not-detected", "ND", "373067005"}
UNSEEN = re.compile(r"No photograph of the (\w+) eye is in this report; no statement about it\.")
EVERY_STORY = pytest.mark.parametrize("name", STORIES)

TURNS = (
    Affine(1, 0, 0, 0, 1, 0),
    Affine(-1, 0, 4288, 0, 1, 0),
    Affine(-1, 0, 4288, 0, -1, 2848),
    Affine(1, 0, 0, 0, -1, 2848),
    Affine(0, 1, 0, 1, 0, 0),
    Affine(0, 1, 0, -1, 0, 2848),
    Affine(0, -1, 4288, -1, 0, 2848),
    Affine(0, -1, 4288, 1, 0, 0),
)
"""From an upright picture to the 4288 x 2848 source, by EXIF orientation."""


def told(*images: Image) -> Report:
    return Story(a_study(), images).told()


def observations(report: Report, code: str) -> list[Json]:
    """With this code of ours."""
    return [
        each
        for each in report.resources
        if each["resourceType"] == "Observation" and code in [coding["code"] for coding in each["code"]["coding"]]
    ]


def codes_in(part: Any) -> Iterator[str]:
    """Every code anywhere in it."""
    if isinstance(part, list):
        for item in part:
            yield from codes_in(item)
    elif isinstance(part, dict):
        for key, value in part.items():
            if key == "code" and isinstance(value, str):
                yield value
            yield from codes_in(value)


def references_in(part: Any) -> Iterator[str]:
    if isinstance(part, list):
        for item in part:
            yield from references_in(item)
    elif isinstance(part, dict):
        for key, value in part.items():
            if key == "reference" and isinstance(value, str):
                yield value
            yield from references_in(value)


def parts(component: Json) -> Json:
    """The bounding-box extension's parts by name."""
    return {
        part["url"]: next(value for key, value in part.items() if key.startswith("value"))
        for part in component["extension"][0]["extension"]
    }


# ------------------------------------------------------------------------------------------------------------ stories


@EVERY_STORY
def test_a_story_is_told_as_its_golden_file_has_it(name: str) -> None:
    assert json.loads(json.dumps(STORIES[name].linked())) == json.loads(golden(name).read_text())


@EVERY_STORY
def test_every_resource_is_fhir(name: str) -> None:
    for resource in STORIES[name].linked():
        kind = resource["resourceType"]
        model = getattr(import_module(f"fhir.resources.R4B.{kind.lower()}"), kind)
        again = json.loads(model.model_validate(resource).model_dump_json())
        assert again.keys() == resource.keys()


@EVERY_STORY
def test_what_the_library_does_not_check_holds_too(name: str) -> None:
    for resource in STORIES[name].linked():
        kind = resource["resourceType"]
        assert resource.get("status") in STATUSES.get(kind, {None})
        assert re.fullmatch(r"[A-Za-z0-9.-]{1,64}", resource["id"])
        assert not ({"dataAbsentReason", "valueCodeableConcept"} <= resource.keys()), "obs-6"
        if "text" in resource:
            ElementTree.fromstring(resource["text"]["div"])  # noqa: S314 - our own


@EVERY_STORY
def test_every_statement_says_who_when_and_that_a_machine_made_it(name: str) -> None:
    report = STORIES[name].told()
    for each in report.resources:
        if each["resourceType"] in {"Observation", "DiagnosticReport"}:
            assert "AIAST" in codes_in(each["meta"])
            assert each["issued"] == STORIES[name].issued.isoformat(timespec="milliseconds")
            assert each["performer"] == [{"display": "Screening service <North>"}]
            assert "Screening service <North>" not in each["text"]["div"]
            assert each["subject"] == STORIES[name].study.subject
    assert "AI-generated, unreviewed, not a diagnosis." in report.diagnostic_report["conclusion"]
    assert "ancillary tool" in report.diagnostic_report["conclusion"]


@EVERY_STORY
def test_every_reference_leads_to_a_part_of_the_report_or_to_what_the_ehr_has(name: str) -> None:
    story = STORIES[name]
    inside = {f"{each['resourceType']}/{each['id']}" for each in story.linked()}
    outside = set(references_in([story.study.subject, story.study.context]))
    # a parked image shows no picture in the report but its Observation names it, as the sender's own Media
    own = {f"Media/{image.media_id}" for image in story.images}
    assert set(references_in(list(story.linked()))) <= inside | outside | own


@EVERY_STORY
def test_no_pixels_and_no_identity_that_two_things_share(name: str) -> None:
    resources = STORIES[name].linked()
    assert not any("data" in each.get("content", {}) for each in resources)
    assert len({each["id"] for each in resources}) == len(resources)
    stated = [(each["identifier"][0]["system"], each["identifier"][0]["value"]) for each in resources[:-1]]
    assert len(set(stated)) == len(stated)


# --------------------------------------------------------------------------------------------------------- situations


def test_of_an_eye_that_was_not_photographed_nothing_else_is_said() -> None:
    resources = list(STORIES["one-eye-missing"].linked())

    assert codes.EYES[RIGHT]["coding"][0]["code"] not in set(codes_in(resources))
    assert "right eye" not in UNSEEN.sub("", json.dumps(resources)).lower()
    assert not NEGATIVE & set(codes_in(resources))


def test_a_photograph_that_cannot_be_judged_never_reads_as_not_detected() -> None:
    for story in (told(an_image(analysis=UNGRADABLE)), told(an_image(analysis=NotFundus()))):
        assert not NEGATIVE & set(codes_in(list(story.resources)))
        assert "not detected" not in json.dumps(list(story.resources)).lower()


@given(
    st.lists(
        st.sampled_from(
            [
                (ImageState.ANSWERED, UNGRADABLE, None),
                (ImageState.ANSWERED, NotFundus(), None),
                (ImageState.ANSWERED, AnalysisFailed("LC-ERR-0035"), None),
                (ImageState.ANSWERED, REFERABLE, None),
                (ImageState.PARKED, None, "answer-not-understood"),
                (ImageState.PARKED, None, "upload-ambiguous"),
                (ImageState.REJECTED, None, "picture-damaged"),
                (ImageState.ANALYSING, None, "analyser-hold"),
                (ImageState.CANCELLED, None, None),
            ]
        ),
        min_size=1,
        max_size=6,
    )
)
def test_whatever_happened_nothing_negative_is_said_without_a_negative_answer(
    happened: Sequence[tuple[ImageState, Any, str | None]],
) -> None:
    images = [
        an_image(number, state=state, analysis=analysis, reason=reason)
        for number, (state, analysis, reason) in enumerate(happened, start=1)
    ]
    report = told(an_image(7), *images)
    about_others = [
        each
        for each in report.resources
        if each["resourceType"] == "Observation" and {"reference": "Media/media-7"} not in each.get("derivedFrom", [])
    ]
    assert not NEGATIVE & set(codes_in(about_others))


@pytest.mark.parametrize(
    ("state", "reason"),
    [(ImageState.PARKED, "upload-ambiguous"), (ImageState.ANALYSING, "analyser-hold")],
)
def test_an_image_without_an_answer_gives_no_observation_and_a_partial_report(state: ImageState, reason: str) -> None:
    report = told(an_image(), an_image(2, LEFT, state=state, analysis=None, reason=reason))

    assert report.diagnostic_report["status"] == "partial"
    assert "Left eye: no result yet" in report.diagnostic_report["conclusion"]
    assert len(observations(report, "eye-panel")) == 1


@pytest.mark.parametrize(
    "fields",
    [{"state": ImageState.REJECTED, "analysis": None}, {"analysis": AnalysisFailed("LC-ERR-0035")}],
    ids=["rejected", "failed"],
)
def test_an_image_that_will_have_no_answer_is_named_and_holds_nothing_up(fields: dict[str, Any]) -> None:
    report = told(an_image(), an_image(2, LEFT, **fields))

    assert report.diagnostic_report["status"] == "preliminary"
    assert re.search(r"Left eye: [^.]*no statement about retinopathy", report.diagnostic_report["conclusion"])
    assert len(observations(report, "dr-presence")) == 1


def test_an_answer_that_nobody_understands_has_no_value_and_the_reason_error() -> None:
    report = told(an_image(), parked(an_image(2, LEFT)))

    absent = [each["dataAbsentReason"] for each in observations(report, "dr-presence") if "dataAbsentReason" in each]
    assert [list(codes_in(each)) for each in absent] == [["error", "answer-not-understood"]]
    assert report.diagnostic_report["status"] == "partial"


def test_a_cancelled_image_is_not_mentioned() -> None:
    report = told(an_image(), an_image(2, LEFT, state=ImageState.CANCELLED, analysis=None))

    assert "Left eye" not in json.dumps(list(report.resources))


def test_an_eye_that_nobody_stated_is_no_eye_that_somebody_guessed() -> None:
    for each in told(an_image(1, None)).resources:
        if each["resourceType"] == "Observation":
            assert list(codes_in(each["bodySite"])) == ["81745001"]
            assert each["bodySite"]["text"] == "Eye, side not coded"


def test_a_stand_in_is_called_one_wherever_its_answers_stand() -> None:
    report = told(an_image(is_standin=True))

    assert "STAND-IN" in report.diagnostic_report["conclusion"]
    assert "no medical device" in report.diagnostic_report["text"]["div"]
    assert all("stand-in" in each["method"]["text"] for each in observations(report, "dr-presence"))
    names = [each["deviceName"][0]["name"] for each in report.resources if each["resourceType"] == "Device"]
    assert "Netra.AI" not in names


def test_what_netra_said_is_no_work_of_the_stand_in() -> None:
    assert "stand-in" not in json.dumps(list(told(an_image()).resources)).lower()


def test_two_analysers_in_one_report_are_two_devices() -> None:
    report = told(an_image(), an_image(2, LEFT, is_standin=True))

    assert len({each["device"]["reference"] for each in observations(report, "dr-presence")}) == 2
    assert len(report.resources[-1]["agent"]) == 3


def test_the_analysers_own_words_stay_beside_our_codes() -> None:
    (presence,) = observations(told(an_image(analysis=replace(REFERABLE, lesions=()))), "dr-presence")
    (referable,) = observations(told(an_image(analysis=REFERABLE)), "referable-dr")

    assert presence["valueCodeableConcept"]["text"] == "Detected"
    assert referable["valueCodeableConcept"]["text"] == "YES"


# ------------------------------------------------------------------------------------------------------------- words

OUTSIDE = "<script>alert('&')</script><b"


def in_words(resource: Json) -> str:
    """What a person reads of the narrative."""
    return " ".join(ElementTree.fromstring(resource["text"]["div"]).itertext())  # noqa: S314 - our own


def results_of(report: Report) -> list[Json]:
    return [each for each in report.resources if each["resourceType"] in {"DiagnosticReport", "Observation"}]


@EVERY_STORY
def test_the_words_of_every_result_say_that_a_machine_made_it_and_which(name: str) -> None:
    for each in results_of(STORIES[name].told()):
        assert "AI-generated, unreviewed, not a diagnosis." in in_words(each)
        assert "Netra.AI" in in_words(each)


@EVERY_STORY
def test_every_resource_has_words_that_name_what_it_is_about(name: str) -> None:
    about = {"Device": "by ", "Media": ": photograph", "Provenance": "Revision ", "Observation": " eye|Eye, side"}
    for each in STORIES[name].linked():
        assert re.search(about.get(each["resourceType"], " eye|Eye, side"), in_words(each))


def test_the_words_of_what_is_taken_back_make_no_statement_any_more() -> None:
    said = STORIES["right-referable-left-ungradable"].linked()
    for each in withdrawn_report(said, revision=2, issued="2026-11-26T09:30:15.250+00:00"):
        if each["resourceType"] != "Device":
            assert "ithdrawn" in in_words(each)
            assert not re.search("detected|graded|Author", in_words(each))
            assert "in error" not in in_words(each), "a study may have been cancelled, and not been wrong"


def test_no_words_of_a_stand_ins_result_could_be_taken_for_care() -> None:
    for each in results_of(told(an_image(is_standin=True, analysis=REFERABLE))):
        assert "nothing here may be used for care" in in_words(each)


@pytest.mark.parametrize(
    ("eyes", "unseen"),
    [((RIGHT,), ["left"]), ((LEFT, LEFT), ["right"]), ((RIGHT, LEFT), []), ((None,), []), ((RIGHT, None), [])],
)
def test_an_eye_that_was_not_photographed_is_named_and_never_guessed(
    eyes: Sequence[Laterality | None], unseen: list[str]
) -> None:
    report = told(*(an_image(number, eye) for number, eye in enumerate(eyes, 1))).diagnostic_report

    assert UNSEEN.findall(report["conclusion"]) == UNSEEN.findall(report["text"]["div"]) == unseen


def test_a_photograph_that_was_taken_back_does_not_stand_for_its_eye() -> None:
    report = told(an_image(), an_image(2, LEFT, state=ImageState.CANCELLED)).diagnostic_report

    assert UNSEEN.findall(report["conclusion"]) == ["left"]


def test_the_words_of_two_images_of_one_eye_tell_which_is_meant() -> None:
    of_presence = observations(told(an_image(), an_image(2, analysis=UNGRADABLE)), "dr-presence")

    assert [in_words(each).partition(": ")[0] for each in of_presence] == [
        "Right eye, image 1 of 2",
        "Right eye, image 2 of 2",
    ]


def test_the_words_of_a_lesion_map_name_its_signs() -> None:
    (lesions,) = observations(
        told(an_image(analysis=replace(REFERABLE, lesions=(*LESIONS, LESIONS[0])))), "lesion-regions"
    )

    assert "4 marked: Deep Hemorrhage (2), Hard Exudate (1), Something New (1)" in in_words(lesions)


def test_what_came_from_outside_stands_in_the_words_as_it_came_and_never_as_markup() -> None:
    lesion = replace(LESIONS[0], literal=OUTSIDE, source=OUTSIDE)
    literals = dict.fromkeys(("imageQuality", "drYes", "referrableDR"), OUTSIDE)
    images = [
        an_image(1, analysis=Graded(True, True, (lesion,), literals)),
        an_image(2, LEFT, analysis=replace(UNGRADABLE, literals=literals)),
    ]
    study = a_study(subject={"reference": "Patient/1", "display": OUTSIDE}, context={"encounter": {"display": OUTSIDE}})
    report = Story(study, images).told()

    shown = [each for each in results_of(report) if OUTSIDE in in_words(each)]
    assert {codes_of(each) for each in shown} == {"image-gradability", "dr-presence", "referable-dr", "lesion-regions"}
    for each in (each for each in report.resources if "text" in each):
        marks = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(each["text"]["div"]).iter()}  # noqa: S314 - our own
        assert marks <= {"div", "p", "table", "tbody", "tr", "th", "td"}


def codes_of(resource: Json) -> str:
    return str(resource["code"]["coding"][-1]["code"])


# ------------------------------------------------------------------------------------------------------------- boxes


def test_a_box_is_told_in_pixels_of_the_source_with_both_frames_on_record() -> None:
    (lesions,) = observations(told(an_image(analysis=REFERABLE, prepared=HALVED)), "lesion-regions")

    first = parts(lesions["component"][0])
    assert [first[name] for name in ("xMin", "yMin", "xMax", "yMax")] == [959, 729, 1042, 812]
    assert (first["columns"], first["rows"], first["frame"]) == (4288, 2848, "source-image")
    assert first["transform"].startswith("submitted 2144 x 1424 (metadata stripped; scaled to 2144 x 1424;")
    assert first["image"] == {"reference": "Media/media-1"}
    assert first["imageSha256"] == "1" * 64
    assert first["source"] == "[479.5,364.5,521,406]"


def test_a_lesion_whose_word_we_do_not_know_is_kept_and_not_guessed() -> None:
    (lesions,) = observations(told(an_image(analysis=REFERABLE, prepared=HALVED)), "lesion-regions")

    unknown = lesions["component"][2]["code"]
    assert (unknown["text"], list(codes_in(unknown))) == ("Something New", ["other"])


@pytest.mark.parametrize("lost", [Affine(4, 0, 0, 0, 4, 0), Affine(1, 0, -4000, 0, 1, 0)], ids=["beyond", "before"])
def test_a_box_that_leaves_the_source_is_not_published(lost: Affine) -> None:
    with pytest.raises(Unexplained):
        told(an_image(analysis=REFERABLE, prepared=replace(HALVED, to_source=lost)))


CORNERS = st.tuples(st.integers(0, 4288), st.integers(0, 2848), st.integers(0, 4288), st.integers(0, 2848)).filter(
    lambda box: box[0] < box[2] and box[1] < box[3]
)


@given(CORNERS, st.sampled_from(TURNS), st.integers(1000, 5000))
def test_a_box_lies_on_the_pixels_it_was_found_on_however_the_picture_was_turned_and_scaled(
    found: tuple[int, int, int, int], turn: Affine, columns: int
) -> None:
    upright = Size(4288, 2848) if turn.b == 0 else Size(2848, 4288)
    sent = Size(columns, max(1, round(columns * upright.rows / upright.columns)))
    scaled = Affine(upright.columns / sent.columns, 0, 0, 0, upright.rows / sent.rows, 0)
    to_source = turn.after(scaled)
    prepared = PreparedPicture("e" * 64, "image/jpeg", sent, to_source)
    seen = to_source.inverse().box(Box(*found))

    report = told(an_image(analysis=Graded(True, True, (Lesion("Microaneurysm", seen, "[]"),)), prepared=prepared))

    (lesions,) = observations(report, "lesion-regions")
    box = parts(lesions["component"][0])
    assert [box[name] for name in ("xMin", "yMin", "xMax", "yMax")] == pytest.approx(list(found), abs=0.01)
    assert box["xMax"] <= SOURCE.columns
    assert box["yMax"] <= SOURCE.rows


# ---------------------------------------------------------------------------------------------------------- identity


def test_telling_it_again_says_the_same_under_the_same_ids() -> None:
    story = STORIES["right-referable-left-ungradable"]

    assert story.told() == story.told()


def test_a_later_revision_has_the_same_ids_and_a_provenance_of_its_own() -> None:
    story = STORIES["right-referable-left-ungradable"]
    first, second = story.told(), story.told(revision=2, issued=ISSUED + timedelta(minutes=5))

    assert [each["id"] for each in first.resources[:-1]] == [each["id"] for each in second.resources[:-1]]
    assert first.resources[-1]["id"] != second.resources[-1]["id"]


def test_equal_pixels_of_two_studies_are_two_results() -> None:
    one, other = (Story(a_study(key=key), [an_image()]).told() for key in ("one", "other"))

    ids = [
        {each["id"] for each in report.resources if each["resourceType"] == "Observation"} for report in (one, other)
    ]
    assert not ids[0] & ids[1]


@pytest.mark.parametrize(
    "change",
    [
        {"analysis": UNGRADABLE},
        {"laterality": LEFT},
        {"is_standin": True},
        {"captured": None},
        {"state": ImageState.PARKED, "analysis": None, "reason": "upload-ambiguous"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_changes_the_report_changes_its_fingerprint(change: dict[str, Any]) -> None:
    assert fingerprint(a_study(), [an_image()]) != fingerprint(a_study(), [replace(an_image(), **change)])


@pytest.mark.parametrize(
    "change",
    [{"attempt": 3}, {"since": ISSUED + timedelta(days=1)}, {"reason": "analyser-unavailable"}, {"job_id": "j"}],
    ids=lambda change: next(iter(change)),
)
def test_what_no_reader_sees_changes_nothing(change: dict[str, Any]) -> None:
    assert fingerprint(a_study(), [an_image()]) == fingerprint(a_study(), [replace(an_image(), **change)])


def test_a_cancelled_image_leaves_the_fingerprint_alone() -> None:
    cancelled = an_image(2, RIGHT, state=ImageState.CANCELLED, analysis=None)

    assert fingerprint(a_study(), [an_image()]) == fingerprint(a_study(), [an_image(), cancelled])


def test_the_normal_eye_is_the_only_one_that_reads_not_detected() -> None:
    (presence,) = observations(told(an_image(analysis=NORMAL)), "dr-presence")

    assert NEGATIVE >= {"260415000", "dr-not-detected"} <= set(codes_in(presence))
    assert "ND" in codes_in(presence["interpretation"])


@pytest.mark.parametrize("name", STORIES)
def test_every_analysed_image_says_which_raster_it_is_and_what_the_analyser_was_given(name: str) -> None:
    story = STORIES[name]
    by_media = {f"Media/{image.media_id}": image for image in story.images}
    gradability = [each for each in story.linked() if "image-gradability" in json.dumps(each.get("code", {}))]

    assert gradability
    for each in gradability:
        image = by_media[each["derivedFrom"][0]["reference"]]
        (frame,) = each["extension"]
        parts = {part["url"]: next(value for key, value in part.items() if key != "url") for part in frame["extension"]}
        assert (parts["columns"], parts["rows"]) == (image.source.size.columns, image.source.size.rows)
        assert parts["imageSha256"] == image.source.sha256
        assert image.prepared is not None
        assert f"submitted {image.prepared.size.columns} x {image.prepared.size.rows}" in parts["transform"]
