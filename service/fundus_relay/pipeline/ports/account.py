"""The analyser's account, as far as it is known here: what was spent, what is left, and what waits for credits."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from fundus_relay.domain.credits import Credits
from fundus_relay.domain.urgency import Urgency
from fundus_relay.domain.values import CreditMark


class Account(Protocol):
    """Inside a ledger's transaction."""

    async def mark_credits(self) -> CreditMark:
        """The mark for an upload that is about to leave; see `CreditMark`."""
        ...

    async def uploads_confirmed(self) -> int:
        """How many, ever."""
        ...

    async def confirm_upload(self, remaining: int | None) -> None:
        """One more upload that was `sending` until this transaction was confirmed; `remaining` never rises by this.

        A count that is higher than the last is of before it, or of after a top-up: the last one stands, with its time.
        """
        ...

    async def uploads_under_way(self) -> int:
        """How many images are `sending` and not known to be lost; those rest until `due_at`."""
        ...

    async def credits(self) -> Credits:
        """What is known of the account; under way is whatever is `sending`, known to be lost or not."""
        ...

    async def note_exhausted(self) -> None:
        """The analyser said that no credits are left; holds until it tells a count again."""
        ...

    async def forget_credits(self, *, told_before: datetime) -> None:
        """What was told of the account before then is not known any more."""
        ...

    async def images_let_go(self) -> int:
        """How many that waited for credits do not any more, and are not sent yet."""
        ...

    async def let_go(self, urgency: Urgency, most: int) -> int:
        """Let as many images of this urgency as wait for credits go on, the lowest place first; returns how many."""
        ...

    async def count_double_spend(self) -> None:
        """One more credit may have been spent twice."""
        ...
