"""The Task of each submission, kept equal to the rows it tells of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fundus_relay.domain.states import ImageState
from fundus_relay.domain.values import Acquisition, Image, Study, Submission
from fundus_relay.fhir.task import build_task

from .ports import Transaction
from .withdrawal import REASON, is_withdrawn


async def refresh_tasks(
    tx: Transaction, study: Study, images: Sequence[Image] | None = None, *, is_reported: bool = True
) -> None:
    """Write the Tasks of all the study's submissions anew; one that says the same gets no new version.

    Args:
        is_reported: whether the newest revision tells all that there is; else another one is being made.
    """
    images = await tx.images(study.id) if images is None else images
    deliveries = await tx.deliveries(study.id)
    acquisitions = {each.submission_id: each for each in await tx.acquisitions(study.id)}
    for submission in await tx.submissions(study.id):
        seen = await _as_sent(tx, submission, images)
        acquisition = acquisitions.get(submission.id)
        task = build_task(submission, study, seen, deliveries, acquisition, is_reported=is_reported)
        await tx.resources.put(task)


async def open_task(
    tx: Transaction,
    submission: Submission,
    study: Study,
    asked: Sequence[Image],
    acquisition: Acquisition | None = None,
) -> None:
    """Write the first Task of a submission.

    Args:
        asked: its own images; as long as nothing was done for any of them, no other row has a say in the Task.
        acquisition: what brings its images, when they are still to come.
    """
    is_untouched = all(image.state is ImageState.RECEIVED for image in asked)
    images = asked if is_untouched else await tx.images(study.id)
    deliveries = await tx.deliveries(study.id) if study.revision else []
    await tx.resources.add(build_task(submission, study, images, deliveries, acquisition))


async def _as_sent(tx: Transaction, submission: Submission, images: Sequence[Image]) -> list[Image]:
    """The images as the submission's Media have them: what was taken back stays so, whoever else sent that picture."""
    seen: list[Image] = []
    for image in images:
        media_id = submission.image_media.get(image.id, image.media_id)
        is_gone = media_id != image.media_id and await is_withdrawn(media_id, tx)
        seen.append(replace(image, state=ImageState.CANCELLED, reason=REASON) if is_gone else image)
    return seen
