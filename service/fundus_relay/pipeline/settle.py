"""How a step that could not go on leaves its image behind: ended, or waiting with a reason and a time."""

from __future__ import annotations

from datetime import datetime

from fundus_relay.domain.errors import RelayError, Unavailable
from fundus_relay.domain.states import ImageState
from fundus_relay.domain.values import Acquisition, Delivery, Image

from .ports import Job, Ports
from .rules import Rules


def is_waiting(row: Image | Delivery | Acquisition, now: datetime) -> bool:
    """Whether the row has to wait until its `due_at`."""
    return row.due_at is not None and row.due_at > now


async def end(image: Image, state: ImageState, why: RelayError, ports: Ports, *, told: str = "") -> bool:
    """Move to a state in which the image waits for nobody but perhaps a person; its study looks again.

    Args:
        told: what the other side calls the reason; stands behind our code.

    Returns:
        False: no step follows.
    """
    async with ports.ledger.transaction() as tx:
        await tx.move_image(image, state, reason=f"{why.code}: {told}" if told else why.code, due_at=None)
        await tx.enqueue(Job.STUDY, image.study_id)
    return False


async def postpone(image: Image, why: Unavailable, ports: Ports, rules: Rules, *, to: ImageState | None = None) -> bool:
    """Let the image wait, in `to` or where it is, and come back. Returns False, as `end`."""
    attempt = image.attempt + (to is None)  # a step that changed state has counted already
    due_at = ports.clock.now() + rules.wait(attempt, at_least=why.retry_after)
    async with ports.ledger.transaction() as tx:
        moved = await tx.move_image(image, to or image.state, reason=why.code, due_at=due_at, attempt=attempt)
        if moved is not None:
            await tx.enqueue(Job.IMAGE, image.id, at=due_at)
            await tx.enqueue(Job.STUDY, image.study_id)
    return False
