"""The Task of each submission, kept equal to the rows it tells of."""

from __future__ import annotations

from collections.abc import Sequence

from fundus_relay.domain.values import Image, Study
from fundus_relay.fhir.task import build_task

from .ports import Transaction


async def refresh_tasks(tx: Transaction, study: Study, images: Sequence[Image] | None = None) -> None:
    """Write the Tasks of all the study's submissions anew; one that says the same gets no new version."""
    images = await tx.images(study.id) if images is None else images
    deliveries = await tx.deliveries(study.id)
    for submission in await tx.submissions(study.id):
        await tx.resources.put(build_task(submission, study, images, deliveries))
