"""What a person may do with what waits for one."""

from __future__ import annotations

from fundus_relay.domain.errors import AnswerNotUnderstood, Rejected, UploadAmbiguous
from fundus_relay.domain.states import DeliveryState, ImageState
from fundus_relay.domain.values import Delivery, Image

from .ports import Clock, Job, Ledger, Transaction


class NotParked(Rejected):
    """Nothing that waits for a person has this id."""

    code = "not-parked"


class MayBePaidTwice(Rejected):
    """The upload may have been paid; sending it again has to be asked for in so many words."""

    code = "may-be-paid-twice"


async def release(parked_id: str, ledger: Ledger, clock: Clock, *, pay_again: bool = False) -> None:
    """Let a parked image or delivery go on where it stopped.

    An image that the analyser never answered is asked for again; one whose answer was not understood is fetched again
    (after an update of this program, say); neither costs a credit. One whose upload was ambiguous is sent again, and
    may be paid twice.

    Raises: NotParked, MayBePaidTwice.
    """
    async with ledger.transaction() as tx:
        image = await tx.image(parked_id)
        if image is not None and image.state is ImageState.PARKED:
            await _release_image(image, tx, clock, pay_again=pay_again)
            return
        delivery = await tx.delivery(parked_id)
        if delivery is None or delivery.state is not DeliveryState.PARKED:
            raise NotParked(f"nothing parked has the id {parked_id}")
        await _release_delivery(delivery, tx)


async def _release_image(image: Image, tx: Transaction, clock: Clock, *, pay_again: bool) -> None:
    now = clock.now()
    if image.reason == UploadAmbiguous.code:
        if not pay_again:
            raise MayBePaidTwice(f"image {image.id} may have been paid; say --pay-again to send it anew")
        await tx.move_image(image, ImageState.PREPARED, attempt=0, due_at=None)
        await tx.count_double_spend()
    elif image.job_id is None:  # the analyser took nothing
        await tx.move_image(image, ImageState.PREPARED, attempt=0, due_at=None)
    elif image.reason == AnswerNotUnderstood.code:
        await tx.move_image(image, ImageState.ANALYSING, attempt=0, due_at=None)
    else:
        await tx.move_image(image, ImageState.ANALYSING, job_status=None, analysing_since=now, attempt=0, due_at=now)
    await tx.enqueue(Job.IMAGE, image.id)
    await tx.enqueue(Job.STUDY, image.study_id)


async def _release_delivery(delivery: Delivery, tx: Transaction) -> None:
    await tx.move_delivery(delivery, DeliveryState.DUE, attempt=0, first_tried_at=None, due_at=None)
    await tx.enqueue(Job.DELIVERY, delivery.id)
