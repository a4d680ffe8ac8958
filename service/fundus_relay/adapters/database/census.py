"""What waits in the database, as gauges. Cheap whatever lies there already: only rows that are unfinished are read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from prometheus_client.core import GaugeMetricFamily
from psycopg.rows import DictRow

from fundus_relay import metrics
from fundus_relay.domain.credits import Spent
from fundus_relay.domain.errors import CreditsReserved, RelayError
from fundus_relay.domain.states import AcquisitionState, DeliveryState, ImageState

from .account import ACCOUNT
from .migrate import missing
from .pool import Pool, connected, rows_of

LOOK_WITHIN_S = 3.0
"""For a connection, which may be waited for, and an answer."""

TOO_OLD = "the database is for newer versions than this one"

UNFINISHED = {
    "image": (
        *(ImageState.RECEIVED, ImageState.PREPARED, ImageState.SENDING, ImageState.ANALYSING),
        ImageState.PARKED,
    ),
    "delivery": (DeliveryState.DUE, DeliveryState.WRITING, DeliveryState.PARKED),
    "acquisition": (AcquisitionState.DUE, AcquisitionState.PARKED),
}

MAY_REST = {CreditsReserved.code}
"""Reasons for which a row may lie for weeks as it was meant to: its age would hide that of one that should move."""

_WAITING = """
    select subject, state, reason, count(*) as count, extract(epoch from now() - min(since))::float as age from (
        select 'image' as subject, state, split_part(coalesce(reason, ''), ':', 1) as reason, since from image
         where state in ('received', 'prepared', 'sending', 'analysing', 'parked')
        union all
        select 'delivery', state, split_part(coalesce(reason, ''), ':', 1), since from delivery
         where state in ('due', 'writing', 'parked')
        union all
        select 'acquisition', state, split_part(coalesce(reason, ''), ':', 1), since from acquisition
         where state in ('due', 'parked')
    ) as waiting group by 1, 2, 3
"""


async def look(pool: Pool) -> str:
    """Whether the database answers and has the tables that this version needs: empty, or what is wrong."""
    try:
        async with asyncio.timeout(LOOK_WITHIN_S), connected(pool) as connection:
            lacking = await missing(connection)
    except (RelayError, TimeoutError):
        return TOO_OLD if pool.is_refused else "the database does not answer"
    return f"the database is not migrated: {lacking}" if lacking else ""


async def count(pool: Pool) -> None:
    """Take a new census. Raises StoreUnavailable."""
    async with connected(pool) as connection:
        waiting = await rows_of(connection, _WAITING)
        account = await rows_of(connection, ACCOUNT)
    metrics.snapshot.replace([*_of_rows(waiting), *_of_account(account[0] if account else None)])


def _of_rows(rows: Sequence[DictRow]) -> list[GaugeMetricFamily]:
    counts, ages = (
        _family("rows", "Unfinished rows by state"),
        _family("oldest_waiting_seconds", "How long the oldest row of a state has been in it"),
    )
    for subject, states in UNFINISHED.items():
        for state in states:
            of_state = [row for row in rows if (row["subject"], row["state"]) == (subject, state)]
            counts.add_metric([subject, state], sum(row["count"] for row in of_state))
            ages.add_metric(
                [subject, state], max((row["age"] for row in of_state if row["reason"] not in MAY_REST), default=0)
            )
    waits = _family("waiting", "Rows that wait by themselves, by reason", "reason")
    parked = _family("parked", "Rows that wait for a person, by reason", "reason")
    for (subject, is_parked, reason), number in sorted(_by_reason(rows).items()):
        (parked if is_parked else waits).add_metric([subject, reason], number)
    return [counts, ages, waits, parked]


def _by_reason(rows: Sequence[DictRow]) -> dict[tuple[str, bool, str], int]:
    found: dict[tuple[str, bool, str], int] = {}
    for row in rows:
        if row["reason"]:
            key = (row["subject"], row["state"] == "parked", row["reason"])
            found[key] = found.get(key, 0) + row["count"]
    return found


def _of_account(account: DictRow | None) -> list[GaugeMetricFamily]:
    told = {"census_timestamp_seconds": ("When this was last looked at", time.time())}
    if account is not None:
        told["credits_possibly_double_spent"] = (
            "Credits that may have been paid twice, ever",
            account["possibly_double_spent"],
        )
        if account["remaining"] is not None:
            told["credits_remaining"] = ("Credits as the analyser last told", account["remaining"])
        if account["remaining_at"] is not None:
            told["credits_timestamp_seconds"] = ("When it told so", account["remaining_at"].timestamp())
        spent = Spent(account["spent_in_a_day"], account["spent_in_a_week"])
        if (left := spent.lasts(account["remaining"])) is not None:
            told["credits_exhausted_in_seconds"] = ("At our own pace; the faster of both windows", left.total_seconds())
    gauges = [GaugeMetricFamily(f"fundus_relay_{name}", text, value) for name, (text, value) in told.items()]
    return [*gauges, *_of_spent(account)]


def _of_spent(account: DictRow | None) -> list[GaugeMetricFamily]:
    if account is None:
        return []
    spent = GaugeMetricFamily("fundus_relay_credits_spent", "By uploads of ours that were confirmed", labels=["window"])
    spent.add_metric(["1d"], account["spent_in_a_day"])
    spent.add_metric(["7d"], account["spent_in_a_week"])
    return [spent]


def _family(name: str, text: str, by: str = "state") -> GaugeMetricFamily:
    return GaugeMetricFamily(f"fundus_relay_{name}", text, labels=["subject", by])


def measure(pool: Pool) -> None:
    """How busy this process's connections are; asks nobody."""
    stats = pool.get_stats()
    idle = stats.get("pool_available", 0)
    metrics.pool_connections.labels("open").set(stats.get("pool_size", 0))
    metrics.pool_connections.labels("idle").set(idle)
    metrics.pool_waiting.set(stats.get("requests_waiting", 0))
