"""The Task of a submission: how far it is, why it waits, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence

from fundus_relay import guide
from fundus_relay.domain.analysis import AnalysisFailed
from fundus_relay.domain.errors import HELD
from fundus_relay.domain.states import AcquisitionState, DeliveryState, ImageState, TaskState
from fundus_relay.domain.urgency import Urgency
from fundus_relay.domain.values import Acquisition, Delivery, Image, Json, Study, Submission

from . import names
from .narrative import narrative

TASK_CODES = f"{names.CANONICAL}/CodeSystem/task"

NOT_PERMITTED = "urgency-not-permitted"

_ON_HOLD_AT_ANALYSER = "analyser-hold"

WORDS = {code: each["display"] for code, each in guide.terms("task", "business-status").items()}
"""Codes of a business status, and what they say; the README lists them."""

REASONS = {code: each["display"] for code, each in guide.terms("task", "reason").items()}
"""Codes of why a Task waits or has failed, and what they say; the README lists them."""


def build_task(
    submission: Submission,
    study: Study,
    images: Sequence[Image],
    deliveries: Sequence[Delivery],
    acquisition: Acquisition | None = None,
    *,
    is_reported: bool = True,
) -> Json:
    """The Task as the rows have it; equal rows give an equal Task.

    Args:
        images: of the whole study.
        deliveries: of the study, oldest revision first.
        acquisition: what brings this submission's images, when they come from an archive.
        is_reported: whether the newest revision tells all that there is; else another one is being made.
    """
    own = [image for image in images if image.id in submission.image_media]
    newest = {each.destination: each for each in deliveries}
    status, business, reason = _state(own, images, list(newest.values()), acquisition, is_reported)
    moments = [
        submission.accepted_at,
        *(image.since for image in own),
        *(each.since for each in newest.values()),
        *([acquisition.since] if acquisition else []),
    ]
    inputs = _inputs(submission)
    issues = [*_failed_images(own, submission), *_failed_instances(acquisition), *_advice(own, submission)]
    if submission.is_urgency_refused and study.urgency is not Urgency.URGENT:
        issues.append({**_issue(NOT_PERMITTED, inputs[0]["valueReference"]["reference"]), "severity": "warning"})
    return {
        "resourceType": "Task",
        "id": submission.id,
        "meta": {"profile": [names.profile("submission-task")]},
        "text": narrative(_words(business, reason)),
        "status": status.value,
        **({"statusReason": _reason(reason)} if reason else {}),
        "businessStatus": {"coding": [{"system": TASK_CODES, "code": business}], "text": WORDS[business]},
        "intent": "order",
        "code": {"text": "Analyse fundus photographs and report"},
        **({"basedOn": orders} if (orders := _orders(study)) else {}),
        "focus": inputs[0]["valueReference"],
        "for": study.context.get("subject", study.subject),
        "authoredOn": submission.accepted_at.isoformat(timespec="milliseconds"),
        "lastModified": max(moments).isoformat(timespec="milliseconds"),
        "input": inputs,
        **_outputs(study, deliveries, issues),
    }


def _inputs(submission: Submission) -> list[Json]:
    """What the submission is about: ImagingStudies that asked, if any did, and the photographs as far as known."""
    named = [("study", f"ImagingStudy/{id}") for id in submission.imaging_studies]
    named += [("photograph", f"Media/{id}") for id in dict.fromkeys(submission.image_media.values())]
    return [{"type": {"text": what}, "valueReference": {"reference": reference}} for what, reference in named]


def _orders(study: Study) -> list[Json]:
    """As our endpoint knows them: a Task is read there only."""
    return list(study.context.get("ours", study.context).get("basedOn", []))


def _state(
    own: Sequence[Image],
    images: Sequence[Image],
    newest: Sequence[Delivery],
    acquisition: Acquisition | None,
    is_reported: bool,
) -> tuple[TaskState, str, str | None]:
    """Task.status, business status and reason."""
    parked = [each for each in newest if each.state is DeliveryState.PARKED]
    if acquisition is not None and acquisition.state in _TELLING:
        return _of_acquisition(acquisition)
    if not own:  # its study was taken back before anything of it came
        return TaskState.CANCELLED, "cancelled", acquisition.reason if acquisition else None
    if all(image.state is ImageState.CANCELLED for image in own):
        if parked:  # the EHR may still show what was taken back
            return TaskState.ON_HOLD, "on-hold", parked[0].reason
        return TaskState.CANCELLED, "cancelled", own[0].reason
    held = [image for image in own if _is_held(image)]
    moving = [image for image in own if not _is_settled(image) and not _is_held(image)]
    if moving:
        least = min(moving, key=lambda image: _ORDER.index(image.state))
        is_first = all(image.state is ImageState.RECEIVED and image.reason is None for image in own)
        state = TaskState.ACCEPTED if is_first else TaskState.IN_PROGRESS
        return state, "received" if is_first else _stage(least), _waiting(least)
    if held:
        return TaskState.ON_HOLD, "on-hold", held[0].reason
    if all(_failure(image) for image in own):
        return TaskState.FAILED, "failed", _failure(own[0])
    if parked:
        return TaskState.ON_HOLD, "on-hold", parked[0].reason
    if not newest or not is_reported or any(not _is_settled(image) and not _is_held(image) for image in images):
        return TaskState.IN_PROGRESS, "reporting", None
    if all(each.state in {DeliveryState.CONFIRMED, DeliveryState.SUPERSEDED} for each in newest):
        troubles = [*map(_failure, own), *(acquisition.instances.values() if acquisition else ())]
        return TaskState.COMPLETED, "delivered", next(filter(None, troubles), None)
    return TaskState.IN_PROGRESS, "delivering", next((each.reason for each in newest if each.reason), None)


_TELLING = frozenset({AcquisitionState.DUE, AcquisitionState.PARKED, AcquisitionState.REJECTED})
"""States in which the way here has more to tell than what became of the images that came."""


def _of_acquisition(acquisition: Acquisition) -> tuple[TaskState, str, str | None]:
    match acquisition.state:
        case AcquisitionState.PARKED:
            return TaskState.ON_HOLD, "on-hold", acquisition.reason
        case AcquisitionState.REJECTED:
            return TaskState.FAILED, "failed", acquisition.reason
    is_first = acquisition.attempt == 0 and not acquisition.instances
    state = TaskState.ACCEPTED if is_first else TaskState.IN_PROGRESS
    return state, "received" if is_first else "acquiring", acquisition.reason if acquisition.due_at else None


_ORDER = (ImageState.RECEIVED, ImageState.PREPARED, ImageState.SENDING, ImageState.ANALYSING)
_STAGE = dict(zip(_ORDER, ("preparing", "sending", "sending", "analysing"), strict=True))


def _stage(image: Image) -> str:
    return "held-for-credits" if _waiting(image) in HELD else _STAGE[image.state]


def _is_settled(image: Image) -> bool:
    return image.state in {ImageState.ANSWERED, ImageState.REJECTED, ImageState.CANCELLED}


def _is_held(image: Image) -> bool:
    return image.state is ImageState.PARKED or (
        image.state is ImageState.ANALYSING and image.reason == _ON_HOLD_AT_ANALYSER
    )


def _waiting(image: Image) -> str | None:
    return image.reason if image.due_at is not None else None


def _failure(image: Image) -> str | None:
    """Why there will be no result for this image, or None."""
    if image.state is ImageState.REJECTED:
        return image.reason or "picture-damaged"
    return "analysis-failed" if isinstance(image.analysis, AnalysisFailed) else None


def _reason(reason: str) -> Json:
    """Our code and its words; what a person wrote behind the code stays as text."""
    code, _, told = reason.partition(": ")
    words = REASONS.get(code, code)
    return {"coding": [{"system": TASK_CODES, "code": code}], "text": f"{words}: {told}" if told else words}


def _words(business: str, reason: str | None) -> list[str]:
    said = [WORDS[business], *([_reason(reason)["text"]] if reason else [])]
    return [f"{each[0].upper()}{each[1:]}." for each in said]


def _failed_images(own: Sequence[Image], submission: Submission) -> list[Json]:
    return [
        _issue(why, f"Media/{submission.image_media[image.id]}")
        for image in own
        if (why := _failure(image)) is not None
    ]


def _failed_instances(acquisition: Acquisition | None) -> list[Json]:
    found = acquisition.instances.items() if acquisition else ()
    return [_issue(why, f"urn:oid:{uid}") for uid, why in found if why is not None]


def _advice(own: Sequence[Image], submission: Submission) -> list[Json]:
    """What a quick look had against a photograph: no finding, and no failure."""
    return [
        {**_issue(advice, f"Media/{submission.image_media[image.id]}"), "severity": "information"}
        for image in own
        if image.state is not ImageState.CANCELLED
        for advice in image.advice
    ]


def _issue(why: str, which: str) -> Json:
    return {"severity": "error", "code": "processing", "details": _reason(why), "diagnostics": which}


_OUTCOMES = {
    "error": "what went wrong",
    "warning": "what was not done as it was asked for",
    "information": "advice on the photographs",
}
"""What an OperationOutcome is called by the gravest of its issues."""


def _outputs(study: Study, deliveries: Sequence[Delivery], issues: Sequence[Json]) -> Json:
    outputs: list[Json] = []
    if study.revision and deliveries:
        reference = {"reference": f"DiagnosticReport/{deliveries[-1].report_id}"}
        outputs.append({"type": {"text": "report"}, "valueReference": reference})
    if not issues:
        return {"output": outputs} if outputs else {}
    said = {issue["severity"] for issue in issues}
    what = next(text for severity, text in _OUTCOMES.items() if severity in said)
    outputs.append({"type": {"text": what}, "valueReference": {"reference": "#outcome"}})
    return {
        "contained": [{"resourceType": "OperationOutcome", "id": "outcome", "issue": issues}],
        "output": outputs,
    }
