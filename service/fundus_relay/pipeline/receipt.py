"""The analyser's answer to an upload, kept although the database is away just then.

How this works. The answer holds the job's id, it came once, and until it is committed it exists in this process alone.
So the commit is tried again and again for some minutes, and being cancelled (the lane stops when its database is away,
the process when it is told to) waits for it. Each try reads the image anew, because an earlier one may have been
committed although we were not told so, and because somebody may have taken us for dead meanwhile.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from fundus_relay.domain.errors import StoreUnavailable, UploadAmbiguous
from fundus_relay.domain.states import ImageState
from fundus_relay.domain.values import Image, Upload

from .ports import Job, Ports
from .rules import Rules

FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=0.5), timedelta(seconds=4)
"""Short: until the receipt is kept, whoever comes across the image has to take its upload for lost."""


async def keep_receipt(sending: Image, upload: Upload, ports: Ports, rules: Rules) -> None:
    """sending → analysing, with the job's id.

    Raises: StoreUnavailable when the database stayed away for `rules.keep_trying_for`.
    """
    keeping = asyncio.create_task(_keep_trying(sending, upload, ports, rules))
    told: asyncio.CancelledError | None = None
    while not keeping.done():
        try:
            await asyncio.wait([keeping])
        except asyncio.CancelledError as cancelled:
            told = cancelled
    keeping.result()
    if told is not None:
        raise told


async def _keep_trying(sending: Image, upload: Upload, ports: Ports, rules: Rules) -> None:
    until, wait = ports.clock.now() + rules.keep_trying_for, FIRST_WAIT
    while True:
        try:
            return await _keep(sending, upload, ports, rules)
        except StoreUnavailable:
            if ports.clock.now() > until:
                raise
        await ports.clock.wait(wait)
        wait = min(2 * wait, LONGEST_WAIT)


async def _keep(sending: Image, upload: Upload, ports: Ports, rules: Rules) -> None:
    now = ports.clock.now()
    async with ports.ledger.transaction() as tx:
        found = await tx.image(sending.id)
        if found is None or found.job_id == upload.job_id:
            return
        settled = await tx.move_image(
            found if _is_given_up(found) else sending,
            ImageState.ANALYSING,
            job_id=upload.job_id,
            job_status=None,
            is_standin=upload.is_standin,
            analysing_since=now,
            due_at=now + rules.until_next_poll(),
            attempt=0,
        )
        if settled is None:  # somebody took us for dead, and may have sent it again
            await tx.account.count_double_spend()
        elif not _is_given_up(found):  # else marks were made since that take it for settled already
            await tx.account.confirm_upload(upload.remaining)
        await tx.enqueue(Job.STUDY, sending.study_id)


def _is_given_up(image: Image) -> bool:
    """Whether somebody took the upload for lost and left the image to a person, who is not needed now."""
    return image.state is ImageState.PARKED and image.reason == UploadAmbiguous.code
