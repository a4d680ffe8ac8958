"""Taking a photograph back: its sender says that its Media was entered in error.

How this works. The stored Media is the mark. An image whose Media are all withdrawn is cancelled, and its study looks
again: the report is revised, or withdrawn when nothing is left of it. Only an image that is `sending` is left alone:
its upload is evidence of what was paid. It is cancelled as soon as that is settled, before anything else is done for
it. `Image.media_id` names a Media that stands as long as there is one, so that one look at it is enough.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fundus_relay.domain.errors import InvalidResource, Issue, UploadAmbiguous
from fundus_relay.domain.laterality import Laterality
from fundus_relay.domain.states import ImageState
from fundus_relay.domain.values import Accepted, Entry, Image, Json
from fundus_relay.fhir.intake.rules import DRAWN
from fundus_relay.fhir.pages import is_overlay
from fundus_relay.fhir.withdrawn import ENTERED_IN_ERROR

from .ports import Job, Transaction

REASON = "media-withdrawn"


async def take_back(entry: Entry, tx: Transaction) -> Accepted | None:
    """Withdraw the Media that this entry says was entered in error; None when the entry says nothing of that kind.

    What was stored stays, but for its status; whatever else the entry holds is not looked at. Twice is once.

    Raises:
        InvalidResource: we do not know this Media, or it was withdrawn and is to stand again, or we drew it.
    """
    if entry.resource["resourceType"] != "Media":
        return None
    before = await tx.resources.read("Media", entry.resource["id"]) if entry.method == "PUT" else None
    if before is not None and is_overlay(before):
        raise InvalidResource(Issue(entry.element, "business-rule", DRAWN, "media-drawn"))
    is_known_wrong = before is not None and before["status"] == ENTERED_IN_ERROR
    if entry.resource["status"] != ENTERED_IN_ERROR:
        if is_known_wrong:
            text = "this Media was withdrawn for good; send the photograph as a new Media"
            raise InvalidResource(Issue(f"{entry.element}.status", "business-rule", text, "media-withdrawn"))
        return None
    if before is None:
        text = "entered-in-error: no Media of this id is known; nothing is analysed"
        raise InvalidResource(Issue(f"{entry.element}.status", "business-rule", text, "media-not-completed"))
    return await _withdraw(before, tx)


async def withdraw_media(media_id: str, tx: Transaction) -> None:
    """Withdraw a Media that we made ourselves; twice is once."""
    media = await tx.resources.read("Media", media_id)
    if media is not None:
        await _withdraw(media, tx)


async def _withdraw(media: Json, tx: Transaction) -> Accepted:
    stored, is_new = await tx.resources.put({**media, "status": ENTERED_IN_ERROR})
    if is_new:
        await _withdraw_image(stored, tx)
    return Accepted(stored, is_new)


async def cancel_if_withdrawn(image: Image, tx: Transaction) -> Image | None:
    """Cancel an image that nobody stands for any more, unless its upload is under way.

    Returns:
        The image as it now is, or None when it was not cancelled here.
    """
    if image.state in {ImageState.CANCELLED, ImageState.SENDING}:
        return None
    if not await is_withdrawn(image.media_id, tx):
        return None
    await tx.enqueue(Job.STUDY, image.study_id)
    is_in_doubt = image.state is ImageState.PARKED and image.reason == UploadAmbiguous.code
    mark = image.credit_mark if is_in_doubt else None
    return await tx.move_image(image, ImageState.CANCELLED, reason=REASON, credit_mark=mark, due_at=None)


async def is_withdrawn(media_id: str, tx: Transaction) -> bool:
    media = await tx.resources.read("Media", media_id)
    return media is not None and media["status"] == ENTERED_IN_ERROR


async def send_anew(
    image: Image, media_id: str, eye: Laterality | None, captured: str | None, now: datetime, tx: Transaction
) -> Image:
    """Let a cancelled image go on where it was, for a new Media of its picture; what was paid is not paid again."""
    state, reason, changes = _where_it_was(image, now)
    moved = await tx.move_image(
        image, state, reason=reason, media_id=media_id, laterality=eye, captured=captured, attempt=0, **changes
    )
    await tx.enqueue(Job.IMAGE, image.id)
    await tx.enqueue(Job.STUDY, image.study_id)
    return moved or image


def _where_it_was(image: Image, now: datetime) -> tuple[ImageState, str | None, dict[str, Any]]:  # Any: Image's fields
    if image.analysis is not None:
        return ImageState.ANSWERED, None, {}
    if image.job_id is not None:
        return ImageState.ANALYSING, None, {"job_status": None, "analysing_since": now, "due_at": now}
    if image.credit_mark is not None:  # it left once, and we never heard what became of it
        return ImageState.PARKED, UploadAmbiguous.code, {}
    return ImageState.RECEIVED, None, {}


async def _withdraw_image(media: Json, tx: Transaction) -> None:
    found = await tx.image_of_media(media["id"], media["content"]["url"].removeprefix("Binary/"))
    if found is None:
        return
    await tx.study(found.study_id)  # first, as everywhere
    image = await tx.image(found.id)
    if image is None:
        return
    if (standing := await _standing(image, tx)) is not None:
        image = await tx.move_image(image, image.state, reason=image.reason, media_id=standing) or image
    await cancel_if_withdrawn(image, tx)
    await tx.enqueue(Job.STUDY, image.study_id)


async def _standing(image: Image, tx: Transaction) -> str | None:
    """A Media that brought the same picture and was not withdrawn."""
    for submission in await tx.submissions(image.study_id):
        media_id = submission.image_media.get(image.id)
        if media_id is not None and not await is_withdrawn(media_id, tx):
            return media_id
    return None
