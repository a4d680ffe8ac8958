"""ImagingStudies of an accepted request: what an archive has of each is asked for, once, and told of by one Task.

How this works. An ImagingStudy asks for its photographs unless they come along as Media. Its row in `acquisition` is
the wish; `acquire` fulfils it. The same study sent again wakes the same wish, and tells by the same Task; what was
fetched is not fetched again, and what is new makes a further revision of the one report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import uuid4

from fundus_relay.domain.errors import ArchiveNotAllowed, InvalidResource, Issue
from fundus_relay.domain.states import AcquisitionState
from fundus_relay.domain.values import Acquisition, Entry, Json, Submission
from fundus_relay.fhir.imaging_study import VOID, endpoints, retrieval_address, study_uid

from .identity import Known, at_ehr, key_of
from .ownership import check_groups, is_about_another
from .photographs import Photograph, context_of, subject_at_ehr
from .ports import Clock, Job, StudyArchive, Transaction
from .tasks import open_task, refresh_tasks
from .urgency import Sender, urgency_of
from .withdrawal import withdraw_media

_GONE = AcquisitionState.CANCELLED


@dataclass(frozen=True, slots=True)
class AskedStudy:
    """An ImagingStudy of a request, as it is stored now, whether that added a version, and who sent it."""

    entry: Entry
    stored: Json
    is_new: bool
    sender: Sender


@dataclass(frozen=True, slots=True)
class Asked:
    """The Task that tells of an ImagingStudy, and whether more urgency was asked for than its sender may."""

    task_id: str
    is_refused: bool


async def take_studies(
    studies: Sequence[AskedStudy],
    photographs: Sequence[Photograph],
    known: Mapping[str, Known],
    archive: StudyArchive,
    tx: Transaction,
    clock: Clock,
) -> dict[str, Asked]:
    """Ask for what archives have of these studies. Returns ImagingStudy id → what came of it, of those asked for.

    Args:
        photographs: of the same request; a study that they are part of brought its pictures along.
    """
    brought = {ref.get("reference") for each in photographs for ref in each.stored.get("partOf", [])}
    asked: dict[str, Asked] = {}
    for each in studies:
        if each.stored["status"] in VOID:
            await _take_back(each, tx)
        elif f"ImagingStudy/{each.stored['id']}" not in brought:
            address = await _address(each.entry, known, archive, tx)
            if address is not None:
                asked[each.stored["id"]] = await _ask(each, address, known, tx, clock)
    return asked


async def _address(entry: Entry, known: Mapping[str, Known], archive: StudyArchive, tx: Transaction) -> str | None:
    """The archive that the study lies in: the first of its Endpoints that we may ask, or the site's own.

    Returns:
        None when it names no Endpoint and there is no archive: then it only tells of Media that come by themselves.
    """
    named = list(endpoints(entry.resource))
    resolved = [await _endpoint(reference, entry, known, tx) for _, reference in named]
    addresses = [address for each in resolved if each and (address := retrieval_address(each))]
    for address in addresses:
        if archive.knows(address):
            return address
    if named and (addresses or archive.default is None):
        text = (
            "nothing may be fetched from there: ask the operator to list the archive, or send the photographs as Media"
        )
        raise InvalidResource(Issue(f"{entry.element}.{named[0][0]}", "not-supported", text, ArchiveNotAllowed.code))
    return archive.default


async def _endpoint(reference: Json, entry: Entry, known: Mapping[str, Known], tx: Transaction) -> Json | None:
    literal = reference.get("reference", "")
    if literal.startswith("#"):
        beside: list[Json] = entry.resource.get("contained", [])
        return next((each for each in beside if f"#{each.get('id')}" == literal), None)
    if literal in known:
        return known[literal].resource
    kind, _, id = literal.partition("/")
    return await tx.resources.read(kind, id) if kind == "Endpoint" else None


async def _ask(each: AskedStudy, address: str, known: Mapping[str, Known], tx: Transaction, clock: Clock) -> Asked:
    """Open, or wake, the study's acquisition."""
    entry, stored = each.entry, each.stored
    uid = _uid(entry)
    subject = subject_at_ehr(entry, known)
    before = await check_groups(entry, subject, known, tx)
    now = clock.now()
    claim = await urgency_of(entry.resource, before, known, tx, now=now, sender=each.sender)
    await _refuse_another_study(each, uid, tx)
    itself = {"reference": f"ImagingStudy/{stored['id']}", "type": "ImagingStudy"}
    named = at_ehr({"reference": entry.element, "type": "ImagingStudy"}, known) or itself
    context = context_of(
        {**entry.resource, "partOf": [{"reference": entry.element}]}, {**stored, "partOf": [itself]}, known
    )
    study = await tx.open_study(key_of(subject, named["reference"]), subject, context, claim.urgency)
    wanted = Acquisition(
        id=str(uuid4()),
        study_id=study.id,
        submission_id=str(uuid4()),
        imaging_study=stored["id"],
        address=address,
        study_uid=uid,
        state=AcquisitionState.DUE,
        since=now,
        asked_at=now,
        trace=entry.trace,
        urgency=study.urgency,
        tenant=each.sender.tenant,
    )
    acquisition, is_first = await tx.open_acquisition(wanted)
    if is_first:
        submission = Submission(
            wanted.submission_id, study.id, now, {}, (stored["id"],), is_urgency_refused=claim.is_refused
        )
        await tx.add_submission(submission)
        await open_task(tx, submission, study, [], acquisition)
        await tx.enqueue(Job.ACQUISITION, acquisition.id)
    elif each.is_new or acquisition.imaging_study != stored["id"] or acquisition.state is not AcquisitionState.DUE:
        await _join(acquisition, stored["id"], tx)
        await ask_again(acquisition, tx, clock, imaging_study=stored["id"])
        await refresh_tasks(tx, study)  # who is answered now must not read there what came of it before
    return Asked(acquisition.submission_id, claim.is_refused)


async def _join(acquisition: Acquisition, imaging_study: str, tx: Transaction) -> None:
    """Let the Task tell of this ImagingStudy too: its sender follows it by that."""
    everyone = await tx.submissions(acquisition.study_id)
    submission = next(each for each in everyone if each.id == acquisition.submission_id)
    if imaging_study not in submission.imaging_studies:
        joined = (*submission.imaging_studies, imaging_study)
        await tx.save_submission(replace(submission, imaging_studies=joined))


async def ask_again(
    acquisition: Acquisition, tx: Transaction, clock: Clock, *, imaging_study: str | None = None
) -> None:
    """Let an acquisition look at its archive again, now; what it has it keeps."""
    kept = {} if acquisition.state is AcquisitionState.CANCELLED else acquisition.instances
    await tx.move_acquisition(
        acquisition,
        AcquisitionState.DUE,
        imaging_study=imaging_study or acquisition.imaging_study,
        asked_at=clock.now(),
        looked_at=None,
        due_at=None,
        attempt=0,
        instances={name: why for name, why in kept.items() if why is None},
    )
    await tx.enqueue(Job.ACQUISITION, acquisition.id)
    await tx.enqueue(Job.STUDY, acquisition.study_id)


def _uid(entry: Entry) -> str:
    uid = study_uid(entry.resource)
    if uid is None:
        text = "a study that lies in an archive needs its Study Instance UID: system urn:dicom:uid, value urn:oid:…"
        raise InvalidResource(Issue(f"{entry.element}.identifier", "required", text, "study-uid-missing"))
    return uid


async def _refuse_another_study(each: AskedStudy, uid: str, tx: Transaction) -> None:
    """An ImagingStudy names one study of one patient for good: a report stands on it."""
    earlier = [other for other in await tx.acquisitions_for(each.stored["id"]) if other.state is not _GONE]
    if not earlier:
        return
    before = await tx.resources.read("ImagingStudy", each.stored["id"], 1)
    element = each.entry.element
    if any(other.study_uid != uid for other in earlier):
        text = "this ImagingStudy was taken for another study; cancel it and send the other as a new one"
        raise InvalidResource(Issue(f"{element}.identifier", "business-rule", text, "study-changed"))
    if before is not None and is_about_another(before, each.stored):
        text = "this ImagingStudy was taken for another patient; its report has to be corrected at the EHR"
        raise InvalidResource(Issue(f"{element}.subject", "business-rule", text, "patient-changed"))


async def _take_back(each: AskedStudy, tx: Transaction) -> None:
    """Fetch nothing more of a study that its sender takes back, and let what came of it be withdrawn."""
    for found in await tx.acquisitions_for(each.stored["id"]):
        await tx.study(found.study_id)  # first, as everywhere
        acquisition = await tx.acquisition(found.id)
        if acquisition is None or acquisition.state is _GONE:
            continue
        await tx.move_acquisition(acquisition, _GONE, reason="study-withdrawn", due_at=None)
        for submission in await tx.submissions(found.study_id):
            if submission.id == found.submission_id:
                for media_id in submission.image_media.values():
                    await withdraw_media(media_id, tx)
        await tx.enqueue(Job.STUDY, found.study_id)
