"""The journey of a study: when its images have settled, one report, and a new revision whenever that changes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain
from uuid import uuid4

from fundus_relay import tracing
from fundus_relay.domain.analysis import AnalysisFailed
from fundus_relay.domain.errors import PatientMismatch
from fundus_relay.domain.packed import Packed
from fundus_relay.domain.states import IMAGE_SETTLED, AcquisitionState, DeliveryState, ImageState, StudyState
from fundus_relay.domain.values import Acquisition, Delivery, Image, Json, Pages, Study
from fundus_relay.fhir.pages import is_overlay
from fundus_relay.fhir.report import Report, build_report, fingerprint
from fundus_relay.fhir.withdrawn import withdrawn, withdrawn_report

from .kept import make_sure
from .poll import ON_HOLD
from .ports import Job, Ports, Transaction
from .render import render
from .rules import Rules
from .tasks import refresh_tasks
from .withdrawal import cancel_if_withdrawn


@dataclass(frozen=True, slots=True)
class _Draft:
    """A report revision that is decided on and not issued yet.

    Attributes:
        study: with this revision.
        told: the images that it tells of; none of them has an answer when the report is to be withdrawn.
        said: resources of the revision before; none when this is the first.
        report: without the pages that people look at, or None when it is to be withdrawn.
    """

    study: Study
    told: Sequence[Image]
    acquisitions: Sequence[Acquisition]
    media: Mapping[str, Json]
    said: Packed
    issued: datetime
    report: Report | None

    def says_the_same(self, other: _Draft) -> bool:
        """Whether pages that were made for that one are right for this one."""
        is_same_report = self.report is not None and other.report is not None and self.report == other.report
        return is_same_report and self.study.revision == other.study.revision


async def report_study(study_id: str, ports: Ports, rules: Rules) -> None:
    """Bring the study's report, deliveries and Tasks up to date with its images.

    What people look at is drawn between two looks at the study, while nothing of it is locked. The second look issues
    the revision in one commit, if it would still say the same; else what it would say now is drawn, and so on.
    """
    drawn: _Draft | None = None
    pages = Pages()
    while True:
        async with ports.ledger.transaction() as tx:
            draft = await _look(tx, study_id, drawn, ports, rules)
            if draft is None:
                return
            if draft.report is None or (drawn is not None and draft.says_the_same(drawn)):
                with _step("issue report", draft, ports):
                    await _issue(tx, draft, pages, ports, rules)
                return
        with _step("draw report", draft, ports):
            pages, drawn = await render(draft.report, draft.study.revision, draft.said, ports, rules), draft


def _step(name: str, draft: _Draft, ports: Ports) -> AbstractContextManager[None]:
    """A step of all the images that this revision tells of."""
    traces = [image.trace for image in draft.told]
    return ports.tracer.step(name, traces, study=draft.study.id, revision=draft.study.revision)


async def _look(tx: Transaction, study_id: str, drawn: _Draft | None, ports: Ports, rules: Rules) -> _Draft | None:
    """The next revision of the study's report, if one is due. Its Tasks are brought up to date."""
    study = await tx.study(study_id)
    if study is None:
        return None
    images = [await cancel_if_withdrawn(image, tx) or image for image in await tx.images(study_id)]
    told = [image for image in images if image.state is not ImageState.CANCELLED]
    acquisitions = await tx.acquisitions(study_id)
    is_due = is_reportable(told) or (study.revision > 0 and len(told) < len(images))
    if any(holds_back(each, ports, rules) for each in acquisitions):
        is_due = False
    digest = fingerprint(study, told, acquisitions)
    is_new = is_due and digest != study.fingerprint
    if drawn is None or not is_new:  # else `_issue` does, when there is more to tell
        await refresh_tasks(tx, study, images, is_reported=not is_new)
    if not is_new:
        return None
    study = replace(study, state=StudyState.REPORTED, revision=study.revision + 1, fingerprint=digest)
    said = await _said(tx, study)
    issued = _issued(drawn.issued if drawn else ports.clock.now(), said)
    media = await _media(tx, told)
    is_withdrawn = not has_answer(told) and said
    report = None if is_withdrawn else await _told(study, told, media, acquisitions, issued, Pages(), rules)
    return _Draft(study, told, acquisitions, media, said, issued, report)


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


async def _issue(tx: Transaction, draft: _Draft, pages: Pages, ports: Ports, rules: Rules) -> None:
    """Store a report revision and make it due at every destination."""
    study, said = draft.study, draft.said
    drawn = [page for page in (pages.sheet, *pages.overlays.values()) if page is not None]
    await make_sure([page.sha256 for page in drawn], tx, ports.blobs)
    gone: Packed
    if draft.report is not None:
        report = await _told(study, draft.told, draft.media, draft.acquisitions, draft.issued, pages, rules)
        told = report.resources
        gone = _no_longer_said(said, told)
        # the EHR's Observations are withdrawn by whoever writes the report there; nobody does that for the others
        others = gone.mapped(lambda each: each if each["resourceType"] != "Observation" else None)
        resources = Packed((*told, *others)) if others else told
    else:
        issued = draft.issued.isoformat(timespec="milliseconds")
        resources = withdrawn_report(said, revision=study.revision, issued=issued)
        gone = Packed()
    for resource in chain(resources, gone):
        if resource["resourceType"] != "Media" or is_overlay(resource):  # the photograph is the one that was sent
            await tx.resources.put(_for_our_readers(resource, study, rules.public_url))
    await tx.save_study(study)
    for destination in ports.records:
        delivery = Delivery(
            id=str(uuid4()),
            study_id=study.id,
            revision=study.revision,
            destination=destination,
            state=DeliveryState.DUE,
            report_id=resources.heads[0]["id"],
            since=ports.clock.now(),
            traces=tracing.here(),
        )
        await tx.add_delivery(delivery, resources)
        await tx.enqueue(Job.DELIVERY, delivery.id)
    await refresh_tasks(tx, study)


async def _said(tx: Transaction, study: Study) -> Packed:
    """The newest revision that there is."""
    earlier = await tx.deliveries(study.id)
    return await tx.told(earlier[-1].id) if earlier else Packed()


def _issued(now: datetime, said: Packed) -> datetime:
    """When this revision is issued: after every earlier one, whichever process's clock that was told by.

    The EHR tells revisions apart by it; instants in FHIR servers have milliseconds.
    """
    before = [datetime.fromisoformat(each["issued"]) + timedelta(milliseconds=1) for each in said.heads[:1]]
    return max([now.replace(microsecond=now.microsecond // 1000 * 1000), *before])


async def _media(tx: Transaction, images: Sequence[Image]) -> Mapping[str, Json]:
    """The stored Media of these images, by id."""
    media: dict[str, Json] = {}
    for image in images:
        if (resource := await tx.resources.read("Media", image.media_id)) is not None:
            media[image.media_id] = resource
    return media


async def _told(
    study: Study,
    images: Sequence[Image],
    media: Mapping[str, Json],
    acquisitions: Sequence[Acquisition],
    issued: datetime,
    pages: Pages,
    rules: Rules,
) -> Report:
    """The report, put together beside the event loop: crowded photographs have tens of thousands of boxes."""
    return await asyncio.to_thread(
        build_report,
        study,
        images,
        media,
        acquisitions,
        revision=study.revision,
        issued=issued,
        public_url=rules.public_url,
        organization=rules.organization,
        made=pages,
    )


def _no_longer_said(said: Packed, told: Packed) -> Packed:
    """What the revision before had and this one has not, such as the panel of an eye that was corrected."""
    still = {_name_at_ehr(each): each["id"] for each in told.heads if each["resourceType"] in _WITHDRAWN}
    media = {f"Media/{each['id']}": still.get(_name_at_ehr(each)) for each in said.heads if _is_media(each)}
    return said.mapped(
        lambda each: (
            _part_of(withdrawn(each), media)
            if each["resourceType"] in _WITHDRAWN and _name_at_ehr(each) not in still
            else None
        )
    )


def _is_media(resource: Json) -> bool:
    return bool(resource["resourceType"] == "Media")


def _part_of(resource: Json, media: Mapping[str, str | None]) -> Json:
    """A drawing that is part of its photograph by the name that this revision has for that.

    Args:
        media: references of the revision before → id of the same photograph now.
    """
    if "partOf" not in resource:
        return resource
    parts = [
        {**each, "reference": f"Media/{id}"} if (id := media.get(each.get("reference", ""))) else each
        for each in resource["partOf"]
    ]
    return {**resource, "partOf": parts}


_WITHDRAWN = frozenset({"Observation", "Media", "Binary"})


def _name_at_ehr(resource: Json) -> tuple[str, str, str]:
    """What the EHR finds it by: a picture stays the same there, whichever Media of ours brought it."""
    if resource["resourceType"] == "Binary":
        return "Binary", "", resource["id"]
    named = resource["identifier"][0]
    return resource["resourceType"], named["system"], named["value"]


def _for_our_readers(resource: Json, study: Study, public_url: str) -> Json:
    """The resource with its references as our own endpoint knows them; the EHR's form may be a search."""
    ours = {**study.context.get("ours", {}), "subject": study.context.get("subject")}
    told = {**resource, **{name: reference for name, reference in ours.items() if reference and name in resource}}
    if "presentedForm" in told:
        told["presentedForm"] = [_ours(each, public_url) for each in told["presentedForm"]]
    if is_overlay(told):
        told["content"] = _ours(told["content"], public_url)
        told["partOf"] = [told["partOf"][0], *ours.get("imagingStudy", told["partOf"][1:])]
    return told


def _ours(attachment: Json, public_url: str) -> Json:
    """An attachment that leads to our own endpoint, by whichever name a reader calls that."""
    stated = {"url": attachment["url"].removeprefix(f"{public_url}/")} if "url" in attachment else {}
    return {**attachment, **stated}
