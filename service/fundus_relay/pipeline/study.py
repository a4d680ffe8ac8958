"""The journey of a study: when its images have settled, one report, and a new revision whenever that changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import uuid4

from fundus_relay.domain.analysis import AnalysisFailed
from fundus_relay.domain.states import IMAGE_SETTLED, DeliveryState, ImageState, StudyState
from fundus_relay.domain.values import Delivery, Image, Json, Study
from fundus_relay.fhir.report import build_report, fingerprint

from .poll import ON_HOLD
from .ports import Job, Ports, Transaction
from .rules import Rules
from .tasks import refresh_tasks


async def report_study(study_id: str, ports: Ports, rules: Rules) -> None:
    """Bring the study's report, deliveries and Tasks up to date with its images, in one commit."""
    async with ports.ledger.transaction() as tx:
        study = await tx.study(study_id)
        if study is None:
            return
        images = await tx.images(study_id)
        if is_reportable(images) and (digest := fingerprint(study, images)) != study.fingerprint:
            study = replace(study, state=StudyState.REPORTED, revision=study.revision + 1, fingerprint=digest)
            await _issue(tx, study, images, ports, rules)
        await refresh_tasks(tx, study, images)


def is_reportable(images: Sequence[Image]) -> bool:
    """Whether no image is on its way any more and at least one has an answer.

    An image that waits for people (parked, or on hold at the analyser) does not keep the others' results back: the
    report is then `partial` and names it.
    """
    return all(is_settled(image) for image in images) and any(
        image.analysis is not None and not isinstance(image.analysis, AnalysisFailed) for image in images
    )


def is_settled(image: Image) -> bool:
    return image.state in IMAGE_SETTLED or (image.state is ImageState.ANALYSING and image.reason == ON_HOLD)


async def _issue(tx: Transaction, study: Study, images: Sequence[Image], ports: Ports, rules: Rules) -> None:
    """Store a report revision and make it due at every destination."""
    now = ports.clock.now()
    media: dict[str, Json] = {}
    for image in images:
        if (resource := await tx.resources.read("Media", image.media_id)) is not None:
            media[image.media_id] = resource
    report = build_report(
        study,
        images,
        media,
        revision=study.revision,
        issued=now.replace(microsecond=now.microsecond // 1000 * 1000),  # an instant in FHIR servers has milliseconds
        public_url=rules.public_url,
        organization=rules.organization,
    )
    for resource in report.resources:
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
            resources=report.resources,
            report_id=report.diagnostic_report["id"],
            since=now,
        )
        await tx.add_delivery(delivery)
        await tx.enqueue(Job.DELIVERY, delivery.id)


def _for_our_readers(resource: Json, study: Study) -> Json:
    """The resource with the Patient as our own endpoint knows it; the EHR's form may be a search."""
    subject = study.context.get("subject")
    return {**resource, "subject": subject} if subject and "subject" in resource else resource
