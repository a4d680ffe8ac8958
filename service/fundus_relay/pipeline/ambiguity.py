"""An upload left and no answer came: was it paid?

Netra knows no idempotency key and no search by name; the account's count of credits is the only evidence. It speaks
only when no other upload of ours is under way: then what is missing from it, less the uploads confirmed since our
mark, was taken by this one. What the count cannot tell is settled by the deployment's policy.
"""

from __future__ import annotations

from enum import Enum, auto

from fundus_relay.domain.errors import UploadAmbiguous
from fundus_relay.domain.policy import AmbiguousUpload
from fundus_relay.domain.states import ImageState
from fundus_relay.domain.values import CreditMark, Image

from .ports import Job, Ports
from .rules import Rules
from .settle import end


class Evidence(Enum):
    """What the count of credits says of one upload."""

    NOT_TAKEN = auto()
    MAY_BE_TAKEN = auto()


async def settle_upload(image: Image, ports: Ports, rules: Rules) -> bool:
    """sending → prepared (send again) or parked. Raises AnalyserUnavailable when the count cannot be asked."""
    policy = rules.ambiguous_upload
    if policy is AmbiguousUpload.HOLD:
        return await end(image, ImageState.PARKED, UploadAmbiguous(), ports)
    if await evidence(image, ports) is Evidence.NOT_TAKEN:
        return await _send_again(image, ports, is_paid_twice=False)
    if policy is AmbiguousUpload.RESEND_ONCE and image.resends == 0:
        return await _send_again(image, ports, is_paid_twice=True)
    return await end(image, ImageState.PARKED, UploadAmbiguous(), ports)


async def evidence(image: Image, ports: Ports) -> Evidence:
    """Compare the count now with the mark that was made when the upload left."""
    before, others_before = await _mark(ports)
    remaining = await ports.analyser.credits()
    after, others_after = await _mark(ports)
    mark = image.credit_mark
    is_clear = (
        mark is not None
        and mark.remaining is not None
        and remaining is not None
        and before.confirmed == after.confirmed
        and others_before == others_after == 0
    )
    if not is_clear:
        return Evidence.MAY_BE_TAKEN
    assert mark is not None and mark.remaining is not None and remaining is not None  # noqa: S101 - is_clear
    taken = mark.remaining - remaining - (after.confirmed - mark.confirmed)
    return Evidence.NOT_TAKEN if taken == 0 else Evidence.MAY_BE_TAKEN


async def _mark(ports: Ports) -> tuple[CreditMark, int]:
    """The account's mark, and how many uploads but this one are under way."""
    async with ports.ledger.transaction() as tx:
        return await tx.mark_credits(), await tx.uploads_under_way() - 1


async def _send_again(image: Image, ports: Ports, *, is_paid_twice: bool) -> bool:
    async with ports.ledger.transaction() as tx:
        moved = await tx.move_image(
            image,
            ImageState.PREPARED,
            reason=UploadAmbiguous.code,
            resends=image.resends + is_paid_twice,
            attempt=image.attempt,
            due_at=None,
        )
        if moved is None:
            return False
        if is_paid_twice:
            await tx.count_double_spend()
        await tx.enqueue(Job.IMAGE, image.id)
    return True
