"""The journey of a study: when its images have settled, one report, and a new revision whenever that changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import uuid4

from fundus_relay.domain.analysis import AnalysisFailed
from fundus_relay.domain.errors import PatientMismatch
from fundus_relay.domain.states import IMAGE_SETTLED, AcquisitionState, DeliveryState, ImageState, StudyState
from fundus_relay.domain.values import Acquisition, Delivery, Image, Json, Study
from fundus_relay.fhir.report import build_report, fingerprint
from fundus_relay.fhir.withdrawn import withdrawn, withdrawn_report

from .poll import ON_HOLD
from .ports import Job, Ports, Transaction
from .rules import Rules
from .tasks import refresh_tasks
from .withdrawal import cancel_if_withdrawn


async def report_study(study_id: str, ports: Ports, rules: Rules) -> None:
    """Bring the study's report, deliveries and Tasks up to date with its images, in one commit."""
    async with ports.ledger.transaction() as tx:
        study = await tx.study(study_id)
        if study is None:
            return
        images = [await cancel_if_withdrawn(image, tx) or image for image in await tx.images(study_id)]
        told = [image for image in images if image.state is not ImageState.CANCELLED]
        acquisitions = await tx.acquisitions(study_id)
        is_due = is_reportable(told) or (study.revision > 0 and len(told) < len(images))
        if any(holds_back(each, ports, rules) for each in acquisitions):
            is_due = False
        if is_due and (digest := fingerprint(study, told, acquisitions)) != study.fingerprint:
            study = replace(study, state=StudyState.REPORTED, revision=study.revision + 1, fingerprint=digest)
            await _issue(tx, study, told, acquisitions, ports, rules)
        await refresh_tasks(tx, study, images)


def is_reportable(images: Sequence[Image]) -> bool:
    """Whether no image is on its way any more and at least one has an answer.

    An image that waits for people (parked, or on hold at the analyser) does not keep the others' results back: the
    report is then `partial` and names it.
    """
    return all(is_settled(image) for image in images) and has_answer(images)


def holds_back(acquisition: Acquisition, ports: Ports, rules: Rules) -> bool:
    """Whether the report waits for photographs that are on their way from an archive, or may be somebody else's.

    What is late does not hold the rest back for long: the report is then `partial`, and amended when the rest comes.
    """
    if acquisition.state is AcquisitionState.PARKED:
        return acquisition.reason == PatientMismatch.code
    patience = rules.wait_for_late if acquisition.looked_at else rules.wait_for_archive
    return acquisition.state is AcquisitionState.DUE and ports.clock.now() < acquisition.asked_at + patience


def has_answer(images: Sequence[Image]) -> bool:
    return any(image.analysis is not None and not isinstance(image.analysis, AnalysisFailed) for image in images)


def is_settled(image: Image) -> bool:
    return image.state in IMAGE_SETTLED or (image.state is ImageState.ANALYSING and image.reason == ON_HOLD)


async def _issue(
    tx: Transaction,
    study: Study,
    images: Sequence[Image],
    acquisitions: Sequence[Acquisition],
    ports: Ports,
    rules: Rules,
) -> None:
    """Store a report revision and make it due at every destination.

    Args:
        images: what the report tells of; when none of them has an answer any more, the report is withdrawn.
    """
    now = ports.clock.now()
    earlier = await tx.deliveries(study.id)
    issued = _issued(now, earlier)
    said = earlier[-1].resources if earlier else ()
    if has_answer(images) or not said:
        told = await _told(tx, study, images, acquisitions, issued, rules)
        gone = _no_longer_said(said, told)
        # the EHR's Observations are withdrawn by whoever writes the report there; a Media is not, so it goes along
        resources = (*told, *(each for each in gone if each["resourceType"] == "Media"))
    else:
        resources = withdrawn_report(said, revision=study.revision, issued=issued.isoformat(timespec="milliseconds"))
        gone = ()
    for resource in (*resources, *gone):
        if resource["resourceType"] != "Media":  # ours is the one that was sent
            await tx.resources.put(_for_our_readers(resource, study))
    await tx.save_study(study)
    for destination in ports.records:
        delivery = Delivery(
            id=str(uuid4()),
            study_id=study.id,
            revision=study.revision,
            destination=destination,
            state=DeliveryState.DUE,
            resources=resources,
            report_id=resources[0]["id"],
            since=now,
        )
        await tx.add_delivery(delivery)
        await tx.enqueue(Job.DELIVERY, delivery.id)


def _issued(now: datetime, earlier: Sequence[Delivery]) -> datetime:
    """When this revision is issued: after every earlier one, whichever process's clock that was told by.

    The EHR tells revisions apart by it; instants in FHIR servers have milliseconds.
    """
    before = [datetime.fromisoformat(each.resources[0]["issued"]) + timedelta(milliseconds=1) for each in earlier]
    return max([now.replace(microsecond=now.microsecond // 1000 * 1000), *before])


async def _told(
    tx: Transaction,
    study: Study,
    images: Sequence[Image],
    acquisitions: Sequence[Acquisition],
    issued: datetime,
    rules: Rules,
) -> tuple[Json, ...]:
    media: dict[str, Json] = {}
    for image in images:
        if (resource := await tx.resources.read("Media", image.media_id)) is not None:
            media[image.media_id] = resource
    report = build_report(
        study,
        images,
        media,
        acquisitions,
        revision=study.revision,
        issued=issued,
        public_url=rules.public_url,
        organization=rules.organization,
    )
    return report.resources


def _no_longer_said(said: Sequence[Json], told: Sequence[Json]) -> tuple[Json, ...]:
    """What the revision before had and this one has not, such as the panel of an eye that was corrected."""
    still = {_name_at_ehr(each) for each in told if "identifier" in each}
    return tuple(
        withdrawn(each)
        for each in said
        if each["resourceType"] in {"Observation", "Media"} and _name_at_ehr(each) not in still
    )


def _name_at_ehr(resource: Json) -> tuple[str, str]:
    """What the EHR finds it by: a picture stays the same there, whichever Media of ours brought it."""
    return resource["resourceType"], resource["identifier"][0]["value"]


def _for_our_readers(resource: Json, study: Study) -> Json:
    """The resource with its references as our own endpoint knows them; the EHR's form may be a search."""
    ours = {**study.context.get("ours", {}), "subject": study.context.get("subject")}
    return {**resource, **{name: reference for name, reference in ours.items() if reference and name in resource}}
