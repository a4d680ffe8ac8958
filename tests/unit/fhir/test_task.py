"""What a Task tells of a submission, state by state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from xml.etree import ElementTree

import pytest
from fhir.resources.R4B.task import Task
from tests.golden.stories import ISSUED, LEFT, RIGHT, a_study, an_image

from fundus_relay.domain.analysis import AnalysisFailed
from fundus_relay.domain.states import DeliveryState, ImageState
from fundus_relay.domain.values import Delivery, Image, Json, Submission
from fundus_relay.fhir.task import build_task

SUBMISSION = Submission("task-1", "study-1", ISSUED, {"image-1": "media-of-this-submission"})
BOTH = Submission("task-1", "study-1", ISSUED, {"image-1": "media-1", "image-2": "media-2"})
REPORTED = a_study(revision=1)


def an_unanswered(state: ImageState, **fields: Any) -> Image:
    return an_image(state=state, analysis=None, **fields)


def a_delivery(state: DeliveryState, **fields: Any) -> Delivery:
    return replace(Delivery("delivery-1", "study-1", 1, "ehr", state, "report-1", ISSUED), **fields)


def told(
    *images: Image, deliveries: Sequence[Delivery] = (), submission: Submission = SUBMISSION, revision: int = 0
) -> Json:
    task = build_task(submission, a_study(revision=revision), images, deliveries)
    Task.model_validate(task)
    return task


def states(task: Json) -> tuple[str, str, str | None]:
    """Status, business status, reason."""
    reason = task.get("statusReason", {}).get("coding", [{}])[0].get("code")
    return task["status"], task["businessStatus"]["coding"][0]["code"], reason


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (an_unanswered(ImageState.RECEIVED), ("accepted", "received", None)),
        (an_unanswered(ImageState.PREPARED), ("in-progress", "sending", None)),
        (an_unanswered(ImageState.SENDING), ("in-progress", "sending", None)),
        (an_unanswered(ImageState.ANALYSING), ("in-progress", "analysing", None)),
        (
            an_unanswered(ImageState.PREPARED, reason="analyser-credits-exhausted", due_at=ISSUED),
            ("in-progress", "held-for-credits", "analyser-credits-exhausted"),
        ),
        (
            an_unanswered(ImageState.PREPARED, reason="analyser-credits-reserved", due_at=ISSUED),
            ("in-progress", "held-for-credits", "analyser-credits-reserved"),
        ),
        (  # let go
            an_unanswered(ImageState.PREPARED, reason="analyser-credits-exhausted", due_at=None),
            ("in-progress", "sending", None),
        ),
        (
            an_unanswered(ImageState.PREPARED, reason="analyser-unavailable", due_at=ISSUED),
            ("in-progress", "sending", "analyser-unavailable"),
        ),
        (an_unanswered(ImageState.ANALYSING, reason="analyser-hold"), ("on-hold", "on-hold", "analyser-hold")),
        (an_unanswered(ImageState.PARKED, reason="upload-ambiguous"), ("on-hold", "on-hold", "upload-ambiguous")),
        (an_unanswered(ImageState.REJECTED, reason="picture-too-small"), ("failed", "failed", "picture-too-small")),
        (an_image(analysis=AnalysisFailed("LC-ERR-0035")), ("failed", "failed", "analysis-failed")),
        (an_unanswered(ImageState.CANCELLED), ("cancelled", "cancelled", None)),
        (an_image(), ("in-progress", "reporting", None)),
    ],
    ids=lambda value: value.state if isinstance(value, Image) else "-".join(filter(None, value)),
)
def test_a_task_says_how_far_its_image_is_and_why_it_waits(image: Image, expected: tuple[str, str, str | None]) -> None:
    assert states(told(image)) == expected


@pytest.mark.parametrize(
    ("delivery", "expected"),
    [
        (a_delivery(DeliveryState.DUE), ("in-progress", "delivering", None)),
        (
            a_delivery(DeliveryState.DUE, reason="record-unavailable"),
            ("in-progress", "delivering", "record-unavailable"),
        ),
        (a_delivery(DeliveryState.WRITING), ("in-progress", "delivering", None)),
        (a_delivery(DeliveryState.CONFIRMED), ("completed", "delivered", None)),
        (
            a_delivery(DeliveryState.PARKED, reason="record-refused: the EHR answers 422"),
            ("on-hold", "on-hold", "record-refused"),
        ),
    ],
    ids=lambda value: value.state if isinstance(value, Delivery) else value[1],
)
def test_a_task_follows_its_report_to_the_ehr(delivery: Delivery, expected: tuple[str, str, str | None]) -> None:
    assert states(told(an_image(), deliveries=[delivery], revision=1)) == expected


def test_a_task_is_completed_only_when_the_newest_revision_is_at_the_ehr() -> None:
    deliveries = [
        a_delivery(DeliveryState.CONFIRMED),
        a_delivery(DeliveryState.DUE, id="delivery-2", revision=2),
    ]

    assert states(told(an_image(), deliveries=deliveries, revision=2))[0] == "in-progress"


def test_a_task_is_not_completed_while_another_revision_is_being_made() -> None:
    confirmed = [a_delivery(DeliveryState.CONFIRMED)]

    task = build_task(SUBMISSION, REPORTED, [an_image()], confirmed, is_reported=False)

    assert states(task) == ("in-progress", "reporting", None)


def test_the_words_behind_a_code_stay_readable() -> None:
    parked = a_delivery(DeliveryState.PARKED, reason="record-refused: report-signed: DiagnosticReport/7")

    text = told(an_image(), deliveries=[parked], revision=1)["statusReason"]["text"]

    assert text == "the EHR refuses the report: report-signed: DiagnosticReport/7"


def test_a_tasks_words_say_how_far_it_is_and_why_and_hold_no_markup_of_others() -> None:
    parked = a_delivery(DeliveryState.PARKED, reason="record-refused: <script>alert(1)</script>")

    div = ElementTree.fromstring(told(an_image(), deliveries=[parked], revision=1)["text"]["div"])  # noqa: S314 - our own

    assert [each.text for each in div] == [
        "Waits for a person.",
        "The EHR refuses the report: <script>alert(1)</script>.",
    ]


def test_one_eye_that_fails_leaves_the_other_its_report_and_is_named() -> None:
    failed = an_image(2, LEFT, analysis=AnalysisFailed("LC-ERR-0035"))

    task = told(
        an_image(1, RIGHT),
        failed,
        deliveries=[a_delivery(DeliveryState.CONFIRMED)],
        submission=BOTH,
        revision=1,
    )

    assert states(task) == ("completed", "delivered", "analysis-failed")
    assert [issue["diagnostics"] for issue in task["contained"][0]["issue"]] == ["Media/media-2"]
    assert [output["type"]["text"] for output in task["output"]] == ["report", "what went wrong"]


def test_a_failure_carries_its_outcome() -> None:
    task = told(an_unanswered(ImageState.REJECTED, reason="picture-damaged"))

    (outcome,) = task["contained"]
    assert outcome["issue"][0]["details"]["coding"][0]["code"] == "picture-damaged"
    assert task["output"][0]["valueReference"] == {"reference": "#outcome"}


def test_a_task_names_its_photographs_its_patient_and_its_report() -> None:
    task = told(an_image(), deliveries=[a_delivery(DeliveryState.CONFIRMED)], revision=1)

    assert task["focus"] == {"reference": "Media/media-of-this-submission"}
    assert [each["valueReference"] for each in task["input"]] == [task["focus"]]
    assert task["for"] == {"reference": "Patient/demo-patient"}
    assert task["output"][0]["valueReference"] == {"reference": "DiagnosticReport/report-1"}


def test_a_task_names_the_patient_and_the_order_as_the_sender_did() -> None:
    context = {"subject": {"reference": "Patient/ours"}, "basedOn": [{"reference": "ServiceRequest/7"}]}

    task = build_task(SUBMISSION, a_study(context=context), [an_image()], [])

    assert (task["for"], task["basedOn"]) == ({"reference": "Patient/ours"}, [{"reference": "ServiceRequest/7"}])


def test_equal_rows_give_an_equal_task_and_its_time_is_that_of_the_last_change() -> None:
    late = an_unanswered(ImageState.ANALYSING, since=ISSUED + timedelta(minutes=2))

    assert told(late) == told(late)
    assert told(late)["lastModified"] == "2026-11-23T09:32:15.250+00:00"
    assert told(late)["authoredOn"] == "2026-11-23T09:30:15.250+00:00"
