"""How urgent a study is, and in what order what waits is taken.

How this works. What is more urgent goes first, always. Among equals senders take turns: each image that waits has a
place, and the next one that is taken is the one with the lowest. A sender's first image gets the place that is being
served, each further one a place behind the one before; so whoever sends ten thousand queues behind themselves alone.

Source: start-time fair queueing with equal weights; P. Goyal, H. Vin, H. Cheng, SIGCOMM 1996.
"""

from __future__ import annotations

from enum import StrEnum


class Urgency(StrEnum):
    """The names sort as the urgencies do, here and in the database."""

    BACKFILL = "backfill"  # a photograph of the past; nobody waits for it
    ROUTINE = "routine"
    URGENT = "urgent"


WIDTH = 700_000_000
"""Places of one urgency; three times as many fit into the engine's priority of 32 bits."""

_STEPS = {Urgency.BACKFILL: -1, Urgency.ROUTINE: 0, Urgency.URGENT: 1}


def priority(urgency: Urgency, place: int) -> int:
    """What goes first has the higher one; 0 is a routine one whose place nobody knows."""
    return _STEPS[urgency] * WIDTH - min(place, WIDTH - 1)
