"""The last: what all the other tests sent is held against what the EHR has and what was paid."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.cluster.clinic import Clinic
from tests.cluster.kubernetes import address, forwarded, until
from tests.system.faults.audit import audit, unfinished

AT_LEAST = 200


async def test_nothing_is_lost_and_nothing_is_there_or_paid_twice(clinic: Clinic, shown: Callable[[str], None]) -> None:
    await clinic.send(max(0, AT_LEAST - len(clinic.photographs)))
    host = (await address("postgresql")).removeprefix("http://")
    database = f"postgresql://relay:relay@{host}/relay"

    async def is_at_rest() -> bool:
        return not await asyncio.to_thread(unfinished, database)

    rested_s = await until(is_at_rest, 180, "everything is at rest")
    async with forwarded("deployment/standin", 8090) as standin:
        found = await audit(clinic.photographs, clinic.ehr, standin, database)

    assert not found.wrong
    assert len(clinic.photographs) >= AT_LEAST
    patients = len({each.patient for each in clinic.photographs})
    shown(
        f"{len(clinic.photographs)} images of {patients} visits acknowledged, {patients} reports, {found.paid} paid "
        f"({found.counted} counted as possibly double), 0 lost, 0 twice, {len(clinic.failures)} requests sent again; "
        f"at rest after {rested_s:.0f} s"
    )
