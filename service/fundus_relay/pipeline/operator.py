"""What a person may do with what waits for one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from fundus_relay.domain.errors import HELD, AnswerNotUnderstood, PictureLost, Rejected, UploadAmbiguous
from fundus_relay.domain.states import IMAGE_SETTLED, AcquisitionState, DeliveryState, ImageState
from fundus_relay.domain.values import Delivery, Image

from .imaging_studies import ask_again
from .ports import Clock, Holds, Job, Ledger, Transaction
from .settle import is_waiting


class NotParked(Rejected):
    """Nothing that waits has this id."""

    code = "not-parked"


class MayBePaidTwice(Rejected):
    """The upload may have been paid; sending it again has to be asked for in so many words."""

    code = "may-be-paid-twice"


class NothingOfThatName(Rejected):
    """There is nothing of this id, or not any more."""

    code = "nothing-of-that-name"


@dataclass(frozen=True, slots=True)
class Released:
    """What became of many: how many go on, and how many may have been paid and were left."""

    count: int
    left: int


@dataclass(frozen=True, slots=True)
class Held:
    """Studies that a name leads to, how many holds of them were placed, or ended, just now, and how many are held."""

    studies: Sequence[str]
    count: int
    held: int


async def hold(name: str, holds: Holds, *, who: str, why: str, reference: str = "") -> Held:
    """Keep everything of the studies that something is of until `unhold`, by the same reference.

    Raises:
        NothingOfThatName: there is none, or all of them were purged in this very moment.
    """
    studies = await studies_of(name, holds)
    changed = await holds.hold(studies, who, why, reference)
    if not changed.held:
        raise NothingOfThatName("nothing is left to hold: all of it was purged in this very moment")
    return Held(studies, changed.count, changed.held)


async def unhold(name: str, holds: Holds, *, who: str, reference: str = "") -> Held:
    """End that; what is held by other references stays so. Raises NothingOfThatName."""
    studies = await studies_of(name, holds)
    changed = await holds.end(studies, who, reference)
    return Held(studies, changed.count, changed.held)


async def studies_of(name: str, holds: Holds) -> Sequence[str]:
    """Ids of the studies that something is of; see `ports.Holds`. Raises NothingOfThatName."""
    if studies := await holds.studies_of(name):
        return studies
    raise NothingOfThatName("there is nothing of this id, or not any more")


async def release_all(ledger: Ledger, clock: Clock, *, reason: str | None = None, pay_again: bool = False) -> Released:
    """Let everything go on that is parked, or that is parked or waits for this reason; each in a commit of its own.

    Args:
        reason: its code, without what stands behind a colon.
    """
    count = left = 0
    began = clock.now()
    for id in await ledger.held(reason, began):
        try:
            await release(id, ledger, clock, pay_again=pay_again, asked_at=began)
            count += 1
        except MayBePaidTwice:
            left += 1
        except NotParked:  # it went on by itself meanwhile
            pass
    return Released(count, left)


async def release(
    id: str, ledger: Ledger, clock: Clock, *, pay_again: bool = False, asked_at: datetime | None = None
) -> None:
    """Let an image, delivery or acquisition that is parked go on where it stopped, and one that waits go on now.

    An image that the analyser never answered is asked for again; one whose answer was not understood is fetched again
    (after an update of this program, say); neither costs a credit. One whose upload was ambiguous is sent again, and
    may be paid twice. One that waits for credits looks at a count that is told from now on, or from `asked_at`.

    Raises: NotParked, MayBePaidTwice.
    """
    now = clock.now()
    async with ledger.transaction() as tx:
        image, delivery, acquisition = await tx.image(id), await tx.delivery(id), await tx.acquisition(id)
        if image is not None and image.state is ImageState.PARKED:
            await _release_image(image, tx, clock, pay_again=pay_again)
        elif image is not None and image.state not in IMAGE_SETTLED and is_waiting(image, now):
            if image.reason in HELD:
                # somebody bought some, and we have not heard of it: the first one asks, and the others know by then
                await tx.account.forget_credits(told_before=asked_at or now)
            await tx.move_image(image, image.state, reason=image.reason, attempt=0, due_at=now)
            await tx.enqueue(Job.IMAGE, image.id)
        elif delivery is not None and delivery.state is DeliveryState.PARKED:
            await _release_delivery(delivery, tx)
        elif delivery is not None and delivery.state is DeliveryState.DUE and is_waiting(delivery, now):
            await tx.move_delivery(delivery, delivery.state, reason=delivery.reason, attempt=0, due_at=now)
            await tx.enqueue(Job.DELIVERY, delivery.id)
        elif acquisition is not None and (
            acquisition.state is AcquisitionState.PARKED
            or (acquisition.state is AcquisitionState.DUE and is_waiting(acquisition, now))
        ):
            await ask_again(acquisition, tx, clock)
        else:
            raise NotParked(f"nothing that waits has the id {id}")


async def _release_image(image: Image, tx: Transaction, clock: Clock, *, pay_again: bool) -> None:
    now = clock.now()
    if image.reason == UploadAmbiguous.code:
        if not pay_again:
            raise MayBePaidTwice(f"image {image.id} may have been paid; say --pay-again to send it anew")
        await tx.move_image(image, ImageState.PREPARED, attempt=0, due_at=None)
        await tx.account.count_double_spend()
    elif image.reason == PictureLost.code:  # the upload's form is made anew, should the original be back
        await tx.move_image(image, ImageState.RECEIVED, attempt=0, due_at=None)
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
