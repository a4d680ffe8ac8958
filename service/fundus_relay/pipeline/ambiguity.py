"""Uploads that left and whose answer was lost: were they paid?

How this works. Netra knows no idempotency key and no search by name; the account's count of credits is the only
evidence. The mark of an upload is a count that was told before it left, and the number of uploads confirmed by then,
taken when nothing of ours was under way; while uploads overlap they share the mark of the first. So whatever was
confirmed since the mark has also been paid since it, and

    credits gone since the mark - uploads confirmed since the mark = credits that nobody has accounted for.

None unaccounted for: none of the lost uploads was taken, however many there are. Otherwise the deployment's policy
decides for each. What we do not see makes that number larger, never smaller: other users of the account, an upload that
was just taken and is not confirmed yet, a count that was told long ago. Only a top-up makes it smaller; it is mistaken
for nothing as long as it brings more credits than all these have spent between the two counts.

An upload that seems lost is left alone for a moment first: its request may still be on its way, and a process that
holds its answer commits it as soon as it can.
"""

from __future__ import annotations

from datetime import timedelta

from fundus_relay.domain.errors import RelayError, Unavailable, UploadAmbiguous
from fundus_relay.domain.policy import AmbiguousUpload
from fundus_relay.domain.states import ImageState
from fundus_relay.domain.values import CreditMark, Image

from .ports import Job, Ports
from .rules import Rules
from .settle import end

COUNTS = 5
BETWEEN_COUNTS = timedelta(seconds=3)
"""How often to count while other uploads come and go: one that was just taken looks like ours."""


async def settle_upload(image: Image, ports: Ports, rules: Rules) -> bool:
    """sending → sending for a moment → prepared (send again) or parked."""
    policy = rules.ambiguous_upload
    if policy is AmbiguousUpload.HOLD:
        return await end(image, ImageState.PARKED, UploadAmbiguous(), ports)
    if image.due_at is None:  # it has not rested yet
        return await _rest(image, UploadAmbiguous(), rules.settle_lost_after, ports)
    try:
        is_unpaid = await _is_surely_unpaid(image, ports)
    except Unavailable as why:
        return await _rest(image, why, max(rules.settle_lost_after, why.retry_after or timedelta(0)), ports)
    if is_unpaid:
        return await _send_again(image, ports, rules, is_paid_twice=False)
    if policy is AmbiguousUpload.RESEND_ONCE and image.resends == 0:
        return await _send_again(image, ports, rules, is_paid_twice=True)
    return await end(image, ImageState.PARKED, UploadAmbiguous(), ports)


def unaccounted(mark: CreditMark, remaining: int | None, confirmed: int) -> int | None:
    """Credits gone since the mark that no confirmed upload accounts for; None when there is no count to tell.

    Args:
        remaining: credits, counted after `confirmed` was read.
        confirmed: as in the mark, now.
    """
    if mark.remaining is None or remaining is None:
        return None
    return mark.remaining - remaining - (confirmed - mark.confirmed)


async def _is_surely_unpaid(image: Image, ports: Ports) -> bool:
    """Count, and count again as long as uploads are under way that may be in the count without being confirmed."""
    for _ in range(COUNTS):
        async with ports.ledger.transaction() as tx:
            under_way = await tx.account.uploads_under_way()
            confirmed = await tx.account.uploads_confirmed()
        remaining = await ports.analyser.credits()
        if image.credit_mark is not None and unaccounted(image.credit_mark, remaining, confirmed) == 0:
            return True
        if not under_way:
            return False
        await ports.clock.wait(BETWEEN_COUNTS)
    return False


async def _rest(image: Image, why: RelayError, span: timedelta, ports: Ports) -> bool:
    """Come back later. The attempt stays, so that the answer is still taken should somebody have it."""
    async with ports.ledger.transaction() as tx:
        await tx.move_image(image, ImageState.SENDING, reason=why.code, due_at=ports.clock.now() + span)
        await tx.enqueue(Job.STUDY, image.study_id)
    return False


async def _send_again(image: Image, ports: Ports, rules: Rules, *, is_paid_twice: bool) -> bool:
    due_at = ports.clock.now() + rules.wait(image.attempt)
    async with ports.ledger.transaction() as tx:
        moved = await tx.move_image(
            image,
            ImageState.PREPARED,
            reason=UploadAmbiguous.code,
            resends=image.resends + is_paid_twice,
            due_at=due_at,
        )
        if moved is not None and is_paid_twice:
            await tx.account.count_double_spend()
    return False
