"""Who may spend the analyser's credits when few are left.

A count is known from the moment it is told until a newer one is; there is no way to hear of a change by itself. So
while anything waits for credits the count is asked for again and again (`pipeline.spending`). One that was never told
keeps nothing back.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from .urgency import Urgency


@dataclass(frozen=True, slots=True)
class Credits:
    """What is known of the account now.

    Attributes:
        remaining: as last told; 0 since the analyser said that there are none; None when never told.
        under_way: uploads that left, or are about to, and that the count may not know of.
    """

    remaining: int | None
    under_way: int


@dataclass(frozen=True, slots=True)
class Floors:
    """Credits that are kept back.

    Attributes:
        routine: for urgent images.
        backfill: for these and routine ones.
    """

    routine: int = 0
    backfill: int = 0

    def room(self, urgency: Urgency, credits: Credits) -> int | None:
        """How many more of this urgency may be uploaded now, none when 0 or less; None when there is no count to tell.

        An urgent one goes as long as there is a credit; should uploads under way take the last, the analyser says so.
        """
        if credits.remaining is None:
            return None
        match urgency:
            case Urgency.URGENT:
                return credits.remaining
            case Urgency.ROUTINE:
                return credits.remaining - credits.under_way - self.routine
            case Urgency.BACKFILL:
                return credits.remaining - credits.under_way - max(self.routine, self.backfill)


NO_FLOORS = Floors()


@dataclass(frozen=True, slots=True)
class Spent:
    """Credits that uploads of ours have spent lately; what others spend of the account is not among them."""

    day: int
    week: int

    def lasts(self, remaining: int | None) -> timedelta | None:
        """How long so many credits last at the pace of the day or of the week, whichever is faster; None if unknown."""
        pace = max(self.day, self.week / 7)
        if remaining is None or (remaining and not pace):
            return None
        return timedelta(days=min(remaining / pace, LONGEST_DAYS)) if remaining else timedelta(0)


LONGEST_DAYS = 36_500
"""Beyond that a forecast says nothing, and no date is that far."""
