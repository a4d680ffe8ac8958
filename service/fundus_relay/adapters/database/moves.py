"""What a committed transaction moved, in the log: a row that begins to wait is a warning, the rest is the journey."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from fundus_relay import metrics
from fundus_relay.domain.values import Acquisition, Delivery, Image

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Move:
    """One settled row.

    Attributes:
        subject: `image`, `delivery` or `acquisition`.
        is_put_off: it has a time to wait for.
    """

    subject: str
    before: Image | Delivery | Acquisition
    to_state: str
    reason: str | None
    is_put_off: bool


def tell(moves: Sequence[Move]) -> None:
    """Log each move. Waiting on for the same reason is told once, not at every try."""
    for move in moves:
        if move.to_state != move.before.state:
            metrics.moves.labels(move.subject, move.to_state).inc()
        begins_to_wait = move.is_put_off and move.reason not in {None, move.before.reason}
        event = "parked" if move.to_state == "parked" else "waits" if begins_to_wait else "moved"
        log.log(
            logging.INFO if event == "moved" else logging.WARNING,
            event,
            extra={
                "subject": move.subject,
                move.subject: move.before.id,
                "study": move.before.study_id,
                "from_state": str(move.before.state),
                "to_state": str(move.to_state),
                "reason": move.reason,
            },
        )
