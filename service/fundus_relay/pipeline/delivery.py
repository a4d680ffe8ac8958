"""The journey of a report revision: due → writing → confirmed.

Exactly once is won at the EHR: `HealthRecord.publish` searches before it writes and reads back before it returns. So
`writing` may be repeated after a crash, a lost answer or a lost race.
"""

from __future__ import annotations

from datetime import datetime

from fundus_relay.domain.errors import DestinationUnknown, RecordRefused, Unavailable, Unexplained
from fundus_relay.domain.packed import Packed
from fundus_relay.domain.states import DeliveryState
from fundus_relay.domain.values import Delivery, Written

from .ports import Job, Ports, Transaction
from .rules import Rules
from .settle import is_waiting
from .tasks import refresh_tasks

OPEN = frozenset({DeliveryState.DUE, DeliveryState.WRITING})

NEWER = "report-newer: the EHR holds a later revision of this report that is not of this database"
HORIZON_PASSED = "delivery-horizon-passed"


async def deliver(delivery_id: str, ports: Ports, rules: Rules) -> None:
    """Bring one report revision to its destination, or leave it waiting or parked with the reason."""
    if (begun := await _begin(delivery_id, ports)) is None:
        return
    delivery, told = begun
    with ports.tracer.step(
        "deliver report",
        delivery.traces,
        row=delivery.id,
        delivery=delivery.id,
        destination=delivery.destination,
        revision=delivery.revision,
        attempt=delivery.attempt,
    ):
        await _bring(delivery, told, ports, rules)


async def _bring(delivery: Delivery, told: Packed, ports: Ports, rules: Rules) -> None:
    record = ports.records.get(delivery.destination)
    if record is None:
        await _settle(delivery, DeliveryState.PARKED, ports, reason=DestinationUnknown.code)
        return
    try:
        written = await record.publish(told, revision=delivery.revision)
    except Unavailable as why:
        await _postpone(delivery, why, ports, rules)
    except Unexplained as why:
        await _settle(delivery, DeliveryState.PARKED, ports, reason=f"{why.code}: {why}")
    else:
        await _confirm(delivery, written, ports)


async def _begin(delivery_id: str, ports: Ports) -> tuple[Delivery, Packed] | None:
    """Commit that we are about to write, and what; None when there is nothing to do."""
    now = ports.clock.now()
    async with ports.ledger.transaction() as tx:
        delivery = await tx.delivery(delivery_id)
        if delivery is None or delivery.state not in OPEN or is_waiting(delivery, now):
            return None
        if await _is_superseded(delivery, tx):
            await tx.move_delivery(delivery, DeliveryState.SUPERSEDED)
            return None
        begun = await tx.move_delivery(
            delivery,
            DeliveryState.WRITING,
            reason=delivery.reason,  # until we know better: who waits on for the same reason is told of once
            attempt=delivery.attempt + 1,
            first_tried_at=delivery.first_tried_at or now,
            due_at=None,
        )
        return (begun, await tx.told(begun.id)) if begun else None


async def _is_superseded(delivery: Delivery, tx: Transaction) -> bool:
    return any(
        other.destination == delivery.destination and other.revision > delivery.revision
        for other in await tx.deliveries(delivery.study_id)
    )


async def _confirm(delivery: Delivery, written: Written, ports: Ports) -> None:
    state = DeliveryState.SUPERSEDED if written.superseded else DeliveryState.CONFIRMED
    if written.superseded:
        async with ports.ledger.transaction() as tx:
            is_ours = await _is_superseded(delivery, tx)
        if not is_ours:  # who else writes this report? A person has to find out which of the two is right
            await _settle(delivery, DeliveryState.PARKED, ports, reason=f"{RecordRefused.code}: {NEWER}")
            return
    await _settle(delivery, state, ports, remote_id=written.remote_id)


async def _postpone(delivery: Delivery, why: Unavailable, ports: Ports, rules: Rules) -> None:
    """Back to `due`, until the horizon of this destination has passed."""
    now = ports.clock.now()
    tried_since = delivery.first_tried_at or now
    if now - tried_since > rules.retry_horizon[delivery.destination]:
        await _settle(delivery, DeliveryState.PARKED, ports, reason=f"{HORIZON_PASSED}: {why.code}")
        return
    due_at = now + rules.wait(delivery.attempt, at_least=why.retry_after)
    await _settle(delivery, DeliveryState.DUE, ports, reason=why.code, due_at=due_at)


async def _settle(
    delivery: Delivery,
    state: DeliveryState,
    ports: Ports,
    *,
    reason: str | None = None,
    due_at: datetime | None = None,
    remote_id: str | None = None,
) -> None:
    """Record the outcome, and tell it in the Tasks, in one commit."""
    async with ports.ledger.transaction() as tx:
        study = await tx.study(delivery.study_id)
        moved = await tx.move_delivery(delivery, state, reason=reason, due_at=due_at, remote_id=remote_id)
        if moved is None or study is None:
            return
        if state is DeliveryState.DUE:
            await tx.enqueue(Job.DELIVERY, delivery.id, at=due_at)
        await refresh_tasks(tx, study)
