"""Photographs of an accepted request: each into its study, once, and a submission for those that are to be analysed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

from fundus_relay.domain.errors import InvalidResource, Issue, PatientMismatch
from fundus_relay.domain.laterality import Laterality
from fundus_relay.domain.states import ImageState
from fundus_relay.domain.urgency import Urgency
from fundus_relay.domain.values import Entry, Image, Json, StoredPicture, Study, Submission
from fundus_relay.fhir.intake.submission import captured, laterality
from fundus_relay.fhir.search_dates import intervals

from .headers import check_patient, instance_of, patient_ids
from .identity import Known, at_ehr, points_to, study_key
from .ownership import is_about_another
from .ports import Clock, Job, Transaction
from .tasks import open_task
from .urgency import ROUTINE, Claim
from .withdrawal import send_anew


@dataclass(frozen=True, slots=True)
class Photograph:
    """A Media with its picture, as stored, the study that it belongs to, how urgent it is, and who sent it."""

    entry: Entry
    picture: StoredPicture
    stored: Json
    subject: Json
    study_key: str
    claim: Claim = ROUTINE
    tenant: str = ""


def photograph_of(entry: Entry, picture: StoredPicture, stored: Json, known: dict[str, Known]) -> Photograph:
    subject = subject_at_ehr(entry, known)
    return Photograph(entry, picture, stored, subject, study_key(entry.resource, picture, subject, known))


def subject_at_ehr(entry: Entry, known: Mapping[str, Known]) -> Json:
    """Whom a resource is about, as the EHR knows them. Raises InvalidResource when it cannot know them."""
    subject = at_ehr(entry.resource["subject"], known)
    if subject is None:
        raise InvalidResource(
            Issue(
                f"{entry.element}.subject",
                "business-rule",
                "the EHR cannot know this Patient: send it with an identifier, or refer to the EHR's own id",
                "patient-unknown-to-ehr",
            )
        )
    return subject


async def take_photographs(
    photographs: Sequence[Photograph], hurried: Sequence[str], known: dict[str, Known], tx: Transaction, clock: Clock
) -> dict[str, str]:
    """Put photographs into their studies. Returns Media id → Task id of those that ask for an analysis.

    Args:
        hurried: keys of studies that have become urgent, whether photographs of them come now or not.
    """
    keys = {*hurried, *(each.study_key for each in photographs)}
    if len(keys) > 1:  # two requests with the same studies in another order must not lock each other out
        await tx.hold([f"study {key}" for key in keys])
    for key in hurried:
        await tx.hurry(key, Urgency.URGENT)
    pictured: list[tuple[str, Study, Image]] = []
    for each in photographs:
        study, image, is_asked = await _take(each, known, tx, clock)
        if is_asked:
            pictured.append((each.stored["id"], study, image))
    refused = {each.stored["id"] for each in photographs if each.claim.is_refused}
    return await _open_submissions(pictured, refused, tx, clock)


async def _take(
    photograph: Photograph, known: dict[str, Known], tx: Transaction, clock: Clock
) -> tuple[Study, Image, bool]:
    """Put one into its study; False when this was a mere correction of its Media, asking for no analysis."""
    entry, picture, stored = photograph.entry, photograph.picture, photograph.stored
    context = context_of(entry.resource, stored, known)
    await _refuse_another_patient(entry, stored, tx)
    study = await tx.open_study(photograph.study_key, photograph.subject, context, photograph.claim.urgency)
    image, is_new = await tx.add_image(
        Image(
            id=str(uuid4()),
            study_id=study.id,
            media_id=stored["id"],
            source=picture,
            laterality=laterality(entry.resource),
            captured=captured(entry.resource),
            instance=instance_of(entry.header) if entry.header else None,
            state=ImageState.RECEIVED,
            since=clock.now(),
            trace=entry.trace,
            urgency=study.urgency,
            tenant=photograph.tenant,
        )
    )
    _refuse_the_future(entry, clock)
    await _refuse_another_media(entry, picture, stored, study, tx)
    await _refuse_another_eye(entry, picture, photograph.subject, study, tx)
    if is_new:
        await tx.enqueue(Job.IMAGE, image.id)
        return study, image, True
    if image.state is ImageState.CANCELLED:
        eye, taken_at = laterality(entry.resource), captured(entry.resource)
        return study, await send_anew(image, stored["id"], eye, taken_at, clock.now(), tx), True
    image = await _correct(entry, image, stored["id"], tx)
    return study, image, image.media_id != stored["id"]


async def _refuse_another_patient(entry: Entry, stored: Json, tx: Transaction) -> None:
    """A DICOM file names its patient too."""
    if entry.header is None:
        return
    try:
        check_patient(entry.header.patient_id, await patient_ids(stored["subject"], tx))
    except PatientMismatch as why:
        raise InvalidResource(Issue(f"{entry.element}.subject", "conflict", str(why), why.code)) from why


async def _refuse_another_media(
    entry: Entry, picture: StoredPicture, stored: Json, study: Study, tx: Transaction
) -> None:
    """A Media names one photograph of one patient and study for good: a report, and its boxes, stand on them."""
    if entry.method == "POST":
        return
    before = await tx.resources.read("Media", stored["id"], 1)
    if before is None:
        return
    changed = {
        "content": before["content"]["url"] != f"Binary/{picture.sha256}",
        "subject": is_about_another(before, stored),
    }
    if not any(changed.values()):
        image = await tx.image_of_media(stored["id"], picture.sha256)
        changed[_group(entry.resource)] = image is not None and image.study_id != study.id
    if issues := [Issue(f"{entry.element}.{name}", *_FOR_GOOD[name]) for name, is_so in changed.items() if is_so]:
        raise InvalidResource(*issues)


_FOR_GOOD = {
    "content": (
        "business-rule",
        "this Media has another picture already; send the new picture as a new Media",
        "picture-changed",
    ),
    "subject": (
        "business-rule",
        "this Media was taken for another patient; its report has to be corrected at the EHR",
        "patient-changed",
    ),
    **dict.fromkeys(
        ("partOf", "basedOn", "encounter"),
        (
            "business-rule",
            "this Media is in the report of another study already; withdraw it and send the photograph as a new Media",
            "study-changed",
        ),
    ),
}


def _group(media: Json) -> str:
    """The element that says to which study a Media belongs."""
    return next((name for name in ("partOf", "basedOn", "encounter") if name in media), "basedOn")


async def _correct(entry: Entry, image: Image, media_id: str, tx: Transaction) -> Image:
    """Take a newly stated eye or date over; refuse a second Media that contradicts the first about the same picture."""
    stated, taken_at = laterality(entry.resource), captured(entry.resource)
    is_own = image.media_id == media_id
    if not is_own:
        stated, taken_at = stated or image.laterality, image.captured or taken_at
    if (stated, taken_at) == (image.laterality, image.captured):
        return image
    if image.laterality not in {None, stated} and not is_own:
        raise _other_eye(entry)
    corrected = await tx.move_image(image, image.state, reason=image.reason, laterality=stated, captured=taken_at)
    await tx.enqueue(Job.STUDY, image.study_id)
    return corrected or image


async def _refuse_another_eye(
    entry: Entry, picture: StoredPicture, subject: Json, study: Study, tx: Transaction
) -> None:
    """One picture is of one eye, whichever studies it is in."""
    stated = laterality(entry.resource)
    if await is_other_eye_elsewhere(picture, stated, subject, study, tx):
        raise _other_eye(entry)


async def is_other_eye_elsewhere(
    picture: StoredPicture, stated: Laterality | None, subject: Json, study: Study, tx: Transaction
) -> bool:
    """Whether the same picture of the same patient stands in another study as the other eye."""
    if stated is None:
        return False
    return any(twin.laterality not in {None, stated} for twin in await tx.twins(picture, subject, but=study))


def _other_eye(entry: Entry) -> InvalidResource:
    text = "the same picture of the same patient was sent as the other eye; withdraw or correct that first"
    return InvalidResource(Issue(f"{entry.element}.bodySite", "conflict", text, "laterality-conflict"))


def _refuse_the_future(entry: Entry, clock: Clock) -> None:
    """A clock may be wrong by some hours; a report of another year would be sorted where nobody looks."""
    taken_at = captured(entry.resource)
    begin = intervals(taken_at)[0].begin if taken_at else None
    if begin is not None and begin > clock.now() + timedelta(days=1):
        element = "createdDateTime" if "createdDateTime" in entry.resource else "createdPeriod"
        issue = Issue(f"{entry.element}.{element}", "value", "the photograph is not taken yet", "date-in-future")
        raise InvalidResource(issue)


def context_of(sent: Json, stored: Json, known: Mapping[str, Known]) -> Json:
    """What the report repeats, as the EHR knows it; `subject` and all in `ours` as our endpoint does."""
    context: Json = {"subject": stored["subject"]}
    ours: Json = {name: stored[name] for name in ("basedOn", "encounter") if name in stored}
    if parts := [ref for ref in stored.get("partOf", []) if points_to(ref, "ImagingStudy", known)]:
        ours["imagingStudy"] = parts
    context |= {"ours": ours} if ours else {}
    orders = [ref for each in sent.get("basedOn", []) if (ref := at_ehr(each, known))]
    studies = [
        ref
        for each in sent.get("partOf", [])
        if points_to(each, "ImagingStudy", known) and (ref := at_ehr(each, known))
    ]
    encounter = at_ehr(sent["encounter"], known) if "encounter" in sent else None
    context |= {"basedOn": orders} if orders else {}
    context |= {"imagingStudy": studies} if studies else {}
    context |= {"encounter": encounter} if encounter else {}
    return context


async def _open_submissions(
    pictured: Sequence[tuple[str, Study, Image]], refused: Set[str], tx: Transaction, clock: Clock
) -> dict[str, str]:
    """One submission, and so one Task, for each study that this request asks about.

    Args:
        refused: ids of Media that may not be as urgent as they were asked for.

    Returns:
        Media id → Task id.
    """
    tasks: dict[str, str] = {}
    for study in {study.id: study for _, study, _ in pictured}.values():
        asked = {image.id: media_id for media_id, of, image in pictured if of.id == study.id}
        is_refused = not refused.isdisjoint(asked.values())
        submission = Submission(str(uuid4()), study.id, clock.now(), asked, is_urgency_refused=is_refused)
        await tx.add_submission(submission)
        await open_task(tx, submission, study, [image for _, of, image in pictured if of.id == study.id])
        tasks |= dict.fromkeys(asked.values(), submission.id)
    return tasks
