"""Acquiring: what an archive has of a study is fetched, instance by instance, and each photograph starts its journey.

How this works. The archive lists the study; `choose` says which of its instances are photographs that are meant. Each
is streamed to the blob store, looked at, and kept together with its Media, its image and the job that follows, in one
commit that also notes the instance as fetched: a crash repeats a download, never an image. An instance that can not be
used is noted with its reason and the others go on. What waiting may cure is tried again, later and later; what it can
not cure, or did not within `acquisition_horizon`, waits for a person.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import uuid4

from fundus_relay import tracing
from fundus_relay.domain.dicom import DicomFacts, ListedInstance
from fundus_relay.domain.errors import (
    ArchiveCredentialsRefused,
    ArchiveNotAllowed,
    ArchiveRefused,
    ArchiveUnavailable,
    BurnedInAnnotation,
    ImagesMissing,
    InstanceMismatch,
    InstanceNotThere,
    LateralityConflict,
    PatientMismatch,
    Rejected,
    StoreUnavailable,
    Unavailable,
    Unexplained,
    UnsupportedFormat,
)
from fundus_relay.domain.laterality import Laterality
from fundus_relay.domain.states import AcquisitionState, ImageState
from fundus_relay.domain.values import Acquisition, Image, Json, StoredPicture, Study
from fundus_relay.fhir.imaging_study import eyes_of_series, listed_series, photograph, stated_instances
from fundus_relay.imaging.dicom import read_dicom
from fundus_relay.imaging.format import PictureFacts, examine_dicom

from .eyes import eye_of
from .headers import check_patient, check_pixels_name_nobody, patient_ids
from .identity import OURS
from .kept import make_sure
from .photographs import is_other_eye_elsewhere
from .ports import Job, Ports, Transaction
from .rules import Rules
from .settle import is_waiting
from .withdrawal import send_anew

NOTHING_TO_ANALYSE = "no-photograph-in-study"
FOR_A_PERSON = frozenset(
    {PatientMismatch.code, InstanceMismatch.code, LateralityConflict.code, BurnedInAnnotation.code, ArchiveRefused.code}
)
"""Why an instance is not used although its picture may be good: somebody has to correct something."""

WHY_PARKED = FOR_A_PERSON | {
    ArchiveNotAllowed.code,
    *(late.code for late in (ArchiveUnavailable, ArchiveCredentialsRefused, ImagesMissing, StoreUnavailable)),
}
"""Every reason for which an acquisition can wait for a person; the README says what to do about each."""

_ENOUGH_TROUBLES = 3  # in a row; then the archive itself is in trouble


@dataclass(frozen=True, slots=True)
class Meant:
    """What the sender said of a study.

    Attributes:
        study: the ImagingStudy as stored.
        patient_ids: values by which the patient may be called in the archive; none when nothing is known.
    """

    study: Json
    patient_ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class Fetched:
    """An instance that is durable, and what it is."""

    dicom: DicomFacts
    picture: PictureFacts
    sha256: str
    byte_count: int


async def acquire(acquisition_id: str, ports: Ports, rules: Rules) -> None:
    """Fetch what a study has and we have not; returns when all is here, or when it waits, or needs a person."""
    async with ports.ledger.transaction() as tx:
        acquisition = await tx.acquisition(acquisition_id)
        if acquisition is None or acquisition.state is not AcquisitionState.DUE:
            return
        if is_waiting(acquisition, ports.clock.now()):
            return
        meant = await _meant(acquisition, tx)
    with ports.tracer.step(
        "acquire study",
        [acquisition.trace],
        row=acquisition.id,
        acquisition=acquisition.id,
        attempt=acquisition.attempt + 1,
    ):
        await _look_there(acquisition, meant, ports, rules)


async def _look_there(acquisition: Acquisition, meant: Meant, ports: Ports, rules: Rules) -> None:
    try:
        listed = await ports.archive.instances(acquisition.address, acquisition.study_uid)
        if not listed:
            raise ImagesMissing
        chosen = choose(listed, meant.study, rules)
        for each in chosen:  # before anything of it is analysed, and paid
            check_patient(each.patient_id, meant.patient_ids)
        wanted = [each for each in chosen if each.name.instance not in acquisition.instances]
        trouble = await _fetch_all(wanted, acquisition, meant, ports, rules)
        if trouble is None and is_short(listed, meant.study, rules):
            trouble = ImagesMissing()
    except Unavailable as why:
        await _postpone(acquisition, why, ports, rules, looked_at=acquisition.looked_at)
    except (Rejected, Unexplained) as why:
        await _end(acquisition, ports, parked=why.code)
    else:
        if trouble is not None:
            await _postpone(acquisition, trouble, ports, rules, looked_at=ports.clock.now())
        else:
            await _end(acquisition, ports)


def choose(listed: Sequence[ListedInstance], study: Json, rules: Rules) -> list[ListedInstance]:
    """The instances that are photographs, and that the ImagingStudy means if it names any.

    Ophthalmic photographs are enough when there are some; other modalities stand in for them only when there are none.
    """
    series = listed_series(study)
    meant = [
        each
        for each in listed
        if (not series or each.name.series in series)
        and (
            (stated := stated_instances(series.get(each.name.series, {}))) == frozenset()
            or each.name.instance in stated
        )
        and (not each.sop_class or each.sop_class in rules.sop_classes)
    ]
    told = {
        each.name: each.modality or series.get(each.name.series, {}).get("modality", {}).get("code") for each in meant
    }
    for modalities in (rules.modalities, rules.other_modalities):
        if found := [each for each in meant if told[each.name] in modalities]:
            return found
    return [each for each in meant if not told[each.name]]  # its own header will tell


def is_short(listed: Sequence[ListedInstance], study: Json, rules: Rules) -> bool:
    """Whether the archive has less of the study than its sender says there is."""
    there = {each.name.instance for each in listed}
    named = {
        uid
        for series in study.get("series", [])
        if series["modality"].get("code") in {*rules.modalities, *rules.other_modalities}
        for uid in stated_instances(series)
    }
    return bool(named - there) or len(there) < study.get("numberOfInstances", 0)


async def _meant(acquisition: Acquisition, tx: Transaction) -> Meant:
    study = await tx.resources.read("ImagingStudy", acquisition.imaging_study)
    assert study is not None  # noqa: S101 - it asked
    return Meant(study, await patient_ids(study["subject"], tx))


async def _fetch_all(
    wanted: Sequence[ListedInstance], acquisition: Acquisition, meant: Meant, ports: Ports, rules: Rules
) -> Unavailable | None:
    """Fetch each; returns the first trouble once all were tried, or raises it when the archive itself is in trouble.

    Every attempt begins at another one: a few that the archive cannot give do not keep the others back for ever.
    """
    troubles: list[Unavailable] = []
    in_a_row = 0
    first = acquisition.attempt * _ENOUGH_TROUBLES % max(1, len(wanted))
    for instance in (*wanted[first:], *wanted[:first]):
        try:
            with tracing.span("fetch instance"):
                is_wanted = await _fetch_one(instance, acquisition, meant, ports, rules)
            if not is_wanted:
                return None  # the study was taken back
            in_a_row = 0
        except PatientMismatch as why:  # whose the others are, nobody knows now
            await _note(acquisition, instance, why.code, ports)
            raise
        except InstanceNotThere:  # it was listed a moment ago
            troubles.append(ImagesMissing())
        except (Rejected, Unexplained) as why:
            await _note(acquisition, instance, why.code, ports)
        except Unavailable as why:
            troubles.append(why)
            in_a_row += 1
            if in_a_row == _ENOUGH_TROUBLES or isinstance(why, ArchiveCredentialsRefused):
                raise troubles[0] from why
    return troubles[0] if troubles else None


async def _fetch_one(
    instance: ListedInstance, acquisition: Acquisition, meant: Meant, ports: Ports, rules: Rules
) -> bool:
    """Fetch it and begin its journeys; False when nobody wants it any more."""
    draft = ports.blobs.draft()
    try:
        await ports.archive.fetch(acquisition.address, instance.name, draft, limit=rules.max_instance_bytes)
        async with ports.decoding, draft.view() as data:
            dicom, picture = await asyncio.to_thread(_look_at, data, instance, meant, rules)
        eye = eye_of(dicom, eyes_of_series(listed_series(meant.study).get(dicom.name.series, {})))
        byte_count = draft.byte_count
        fetched = Fetched(dicom, picture, await draft.keep(), byte_count)
    finally:
        await draft.drop()
    return await _begin_journeys(fetched, eye, acquisition, meant.study, ports)


def _look_at(data: memoryview, instance: ListedInstance, meant: Meant, rules: Rules) -> tuple[DicomFacts, PictureFacts]:
    """What the file is, once it is known to be what was asked for and whose it is."""
    dicom = read_dicom(data, max_pixels=rules.max_pixels)
    if dicom.name != instance.name:
        raise InstanceMismatch
    check_patient(dicom.patient_id, meant.patient_ids)
    if not is_photograph(dicom, rules):
        raise UnsupportedFormat("the instance is of a modality or SOP class that is no photograph")
    check_pixels_name_nobody(dicom)
    return dicom, examine_dicom(dicom, max_pixels=rules.max_pixels)


def is_photograph(dicom: DicomFacts, rules: Rules) -> bool:
    """Whether an instance is what `choose` looks for, by its own header; lists may leave it out, or be wrong."""
    modalities = {*rules.modalities, *rules.other_modalities}
    return dicom.sop_class in rules.sop_classes and (not dicom.modality or dicom.modality in modalities)


async def _begin_journeys(
    fetched: Fetched, eye: Laterality | None, acquisition: Acquisition, asking: Json, ports: Ports
) -> bool:
    """Every frame becomes a Media and an image, once; all in the commit that notes the instance as fetched."""
    async with ports.ledger.transaction() as tx:
        await make_sure([fetched.sha256], tx, ports.blobs)
        study = await tx.study(acquisition.study_id)
        now = await _still_due(acquisition, tx)
        if study is None or now is None:
            return False
        submission = next(each for each in await tx.submissions(study.id) if each.id == now.submission_id)
        media = dict(submission.image_media)
        for frame in range(1, fetched.picture.frames + 1):
            image = await _add_frame(frame, fetched, eye, study, asking, now.tenant, tx, ports)
            media[image.id] = image.media_id
        await tx.save_submission(replace(submission, image_media=media))
        await _record(now, fetched.dicom.name.instance, None, tx)
        await tx.enqueue(Job.STUDY, study.id)
    return True


async def _add_frame(
    frame: int,
    fetched: Fetched,
    eye: Laterality | None,
    study: Study,
    asking: Json,
    tenant: str,
    tx: Transaction,
    ports: Ports,
) -> Image:
    facts = fetched.picture
    source = StoredPicture(fetched.sha256, facts.media_type, fetched.byte_count, facts.size, frame)
    if await is_other_eye_elsewhere(source, eye, study.subject, study, tx):
        raise LateralityConflict("the same picture of the same patient is in another study as the other eye")
    captured = fetched.dicom.captured or asking.get("started")
    media_id = f"{OURS}{uuid4()}"
    image, is_new = await tx.add_image(
        Image(
            id=str(uuid4()),
            study_id=study.id,
            media_id=media_id,
            source=source,
            laterality=eye,
            captured=captured,
            instance=fetched.dicom.name,
            state=ImageState.RECEIVED,
            since=ports.clock.now(),
            trace=tracing.own(),
            urgency=study.urgency,
            tenant=tenant,
        )
    )
    if not is_new and image.state is not ImageState.CANCELLED:  # it is here already, perhaps under another name
        return image
    media = photograph(asking, fetched.dicom, source, eye, captured)
    await tx.resources.add({**{name: value for name, value in media.items() if value is not None}, "id": media_id})
    if not is_new:
        return await send_anew(image, media_id, eye, captured, ports.clock.now(), tx)
    await tx.enqueue(Job.IMAGE, image.id)
    return image


async def _still_due(acquisition: Acquisition, tx: Transaction) -> Acquisition | None:
    """The acquisition as it is now, locked; None when it was taken back or has ended meanwhile."""
    now = await tx.acquisition(acquisition.id)
    return now if now is not None and now.state is AcquisitionState.DUE else None


async def _note(acquisition: Acquisition, instance: ListedInstance, why: str, ports: Ports) -> None:
    async with ports.ledger.transaction() as tx:
        if (now := await _still_due(acquisition, tx)) is not None:
            await _record(now, instance.name.instance, why, tx)


async def _record(acquisition: Acquisition, instance: str, why: str | None, tx: Transaction) -> None:
    instances = {**acquisition.instances, instance: why}
    await tx.move_acquisition(acquisition, acquisition.state, reason=acquisition.reason, instances=instances)


async def _postpone(
    acquisition: Acquisition, why: Unavailable, ports: Ports, rules: Rules, *, looked_at: datetime | None
) -> None:
    """Look again later, or leave it to a person when that was tried for long enough.

    Args:
        looked_at: when everything that the archive listed had been tried, or None.
    """
    moment = ports.clock.now()
    if moment >= acquisition.asked_at + rules.acquisition_horizon:
        await _end(acquisition, ports, parked=why.code)
        return
    last = acquisition.asked_at + rules.acquisition_horizon  # whatever Retry-After says: then it is left to a person
    due_at = max(moment, min(last, moment + rules.wait(acquisition.attempt + 1, at_least=why.retry_after)))
    async with ports.ledger.transaction() as tx:
        now = await _still_due(acquisition, tx)
        if now is None or _is_asked_again(now, acquisition):
            return
        await tx.move_acquisition(
            now, now.state, reason=why.code, due_at=due_at, attempt=now.attempt + 1, looked_at=looked_at
        )
        await tx.enqueue(Job.ACQUISITION, now.id, at=due_at)
        await tx.enqueue(Job.STUDY, now.study_id)


async def _end(acquisition: Acquisition, ports: Ports, *, parked: str | None = None) -> None:
    """Let it wait for nobody but perhaps a person.

    Args:
        parked: why a person is needed; without it everything was tried, and what came of that tells.
    """
    async with ports.ledger.transaction() as tx:
        now = await _still_due(acquisition, tx)
        if now is None or _is_asked_again(now, acquisition):
            return
        state, reason = (AcquisitionState.PARKED, parked) if parked else _outcome(now)
        await tx.move_acquisition(now, state, reason=reason, due_at=None, looked_at=ports.clock.now())
        await tx.enqueue(Job.STUDY, now.study_id)


def _outcome(acquisition: Acquisition) -> tuple[AcquisitionState, str | None]:
    """Where an acquisition ends, and why."""
    troubles = [why for why in acquisition.instances.values() if why is not None]
    if for_a_person := [why for why in troubles if why in FOR_A_PERSON]:
        return AcquisitionState.PARKED, for_a_person[0]
    if len(troubles) == len(acquisition.instances):
        return AcquisitionState.REJECTED, troubles[0] if troubles else NOTHING_TO_ANALYSE
    return AcquisitionState.COMPLETE, None


def _is_asked_again(now: Acquisition, before: Acquisition) -> bool:
    """Whether it is due at once, whatever came of the look before."""
    return now.asked_at != before.asked_at
