"""Credits that are short: who may spend one now, and how what waits for them goes on.

How this works. Before an upload leaves, in the commit that makes its image `sending`, the known count is looked at by
one sender at a time over all processes: an image that may not spend a credit stays `prepared` and waits, for more
credits or for more than are kept back. Nothing is tried for it meanwhile. One process of all asks for the count, once a
minute for all that waits, and lets go as many as it allows, the more urgent first and senders in turn; not more at once
than are sent in some seconds, so that a count that rises sets nobody running in vain.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from fundus_relay.domain.credits import Credits, Floors
from fundus_relay.domain.errors import CreditsExhausted, CreditsReserved
from fundus_relay.domain.states import ImageState
from fundus_relay.domain.urgency import Urgency
from fundus_relay.domain.values import Image

from .ports import Job, Ports, Transaction
from .rules import Rules

SPENDING = "credits of the analyser's account"
"""What a sender holds while it looks at the count and takes one."""

COUNT_EVERY = timedelta(minutes=1)
HELD_FOR = timedelta(hours=1)
"""At least; then an image looks for itself, should nobody let it go."""

AT_ONCE = 100
"""Images that are let go and not sent yet."""


def objection(urgency: Urgency, credits: Credits, floors: Floors) -> CreditsExhausted | CreditsReserved | None:
    """Why an image of this urgency may not be uploaded now, or None when it may."""
    room = floors.room(urgency, credits)
    if room is None or room > 0 or credits.remaining is None:
        return None
    return CreditsReserved() if credits.remaining > credits.under_way else CreditsExhausted()


async def hold(
    image: Image, why: CreditsExhausted | CreditsReserved, tx: Transaction, now: datetime, rules: Rules
) -> None:
    """prepared, sending → prepared: it waits until it is let go. The attempt stays, since nothing was tried."""
    due_at = now + HELD_FOR * (1 + rules.chance.random())
    await tx.move_image(image, ImageState.PREPARED, reason=why.code, due_at=due_at)
    if image.reason != why.code:
        await tx.enqueue(Job.STUDY, image.study_id)


class CreditWatch:
    """Looks after what waits for credits; one of all processes does."""

    def __init__(self, ports: Ports, rules: Rules) -> None:
        self._ports = ports
        self._rules = rules
        self._counted_at: datetime | None = None

    async def look(self) -> int:
        """Let go what may be sent now; returns how many.

        Raises: as `Analyser.credits`.
        """
        if not await self._ports.ledger.is_any_held():
            return 0
        now = self._ports.clock.now()
        if self._counted_at is None or now - self._counted_at >= COUNT_EVERY:
            self._counted_at = now
            await self._count()
        async with self._ports.ledger.transaction() as tx:
            return await self._let_go(tx)

    async def _count(self) -> None:
        if await self._ports.analyser.credits() is None:  # who tells no count cannot be asked whether there are some
            async with self._ports.ledger.transaction() as tx:
                await tx.account.forget_credits(told_before=self._ports.clock.now())

    async def _let_go(self, tx: Transaction) -> int:
        credits, on_their_way = await tx.account.credits(), await tx.account.images_let_go()
        gone = 0
        for urgency in sorted(Urgency, reverse=True):
            spoken_for = replace(credits, under_way=credits.under_way + on_their_way + gone)
            room = self._rules.floors.room(urgency, spoken_for)
            most = AT_ONCE - on_their_way - gone
            if (count := most if room is None else min(room, most)) > 0:
                gone += await tx.account.let_go(urgency, count)
        return gone
