"""One batch of questions to the analyser: which of the due images has it finished?

Waits of minutes are rows, not sleeping code: ten thousand waiting images cost one statement a tick and one request
each per interval.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from fundus_relay.domain.errors import RelayError, Unavailable
from fundus_relay.domain.states import ImageState
from fundus_relay.domain.values import Waiting

from .ports import Job, Ports
from .rules import Rules

BATCH = 500
ENDED = frozenset({"COMPLETED", "ERROR"})
HOLD = "HOLD"

ON_HOLD = "analyser-hold"
SILENT = "analyser-silent"

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Round:
    """What one batch found."""

    ended: list[tuple[Waiting, str]] = field(default_factory=list)
    on_hold: list[Waiting] = field(default_factory=list)
    silent: list[Waiting] = field(default_factory=list)
    later: list[Waiting] = field(default_factory=list)
    unanswered: list[Unavailable] = field(default_factory=list)


async def poll(ports: Ports, rules: Rules) -> int:
    """Ask for every due image once; returns how many were asked."""
    asked = 0
    while due := await ports.ledger.due_for_poll(ports.clock.now(), BATCH):
        await _ask(due, ports, rules)
        asked += len(due)
        if len(due) < BATCH:
            break
    return asked


async def _ask(due: Sequence[Waiting], ports: Ports, rules: Rules) -> None:
    found = _Round()
    await asyncio.gather(*(_sort(waiting, found, ports, rules) for waiting in due))
    if found.unanswered:
        log.warning("poll-put-off", extra={"count": len(found.unanswered), "code": found.unanswered[0].code})
    now = ports.clock.now()
    if found.later:
        await ports.ledger.postpone_polls(
            [waiting.image_id for waiting in found.later], [now + rules.until_next_poll() for _ in found.later], None
        )
    if found.ended:
        await ports.ledger.note_ended({waiting.image_id: literal for waiting, literal in found.ended})
        for waiting, _ in found.ended:
            ports.tracer.waited("analysis", waiting.trace, waiting.analysing_since)
    for waiting in found.on_hold:
        await _leave(waiting, ImageState.ANALYSING, ON_HOLD, now + rules.until_next_poll(on_hold=True), ports)
    for waiting in found.silent:
        await _leave(waiting, ImageState.PARKED, SILENT, None, ports)
        ports.tracer.waited("analysis", waiting.trace, waiting.analysing_since, reason=SILENT)


async def _sort(waiting: Waiting, found: _Round, ports: Ports, rules: Rules) -> None:
    """Ask for one image. An analyser out of reach is no silence of the analyser: the image is simply asked again."""
    try:
        literal = (await ports.analyser.status(waiting.job_id, waiting.urgency)).literal
    except Unavailable as why:
        found.later.append(waiting)
        found.unanswered.append(why)
        return
    except RelayError:
        literal = ""  # an answer that nobody understands is as good as none
    if literal in ENDED:
        found.ended.append((waiting, literal))
    elif literal == HOLD:
        found.on_hold.append(waiting)
    elif ports.clock.now() - waiting.analysing_since > rules.give_up_after:
        found.silent.append(waiting)
    else:
        found.later.append(waiting)


async def _leave(waiting: Waiting, state: ImageState, reason: str, due_at: datetime | None, ports: Ports) -> None:
    async with ports.ledger.transaction() as tx:
        image = await tx.image(waiting.image_id)
        if image is None or image.state is not ImageState.ANALYSING or image.job_id != waiting.job_id:
            return
        await tx.move_image(image, state, reason=reason, due_at=due_at)
        if image.reason != reason:
            await tx.enqueue(Job.STUDY, image.study_id)
