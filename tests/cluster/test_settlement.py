"""The last: what all the other tests sent is held against what the EHR has and what was paid."""

from __future__ import annotations

from collections.abc import Callable

from tests.cluster.clinic import Clinic
from tests.cluster.settlement import settled

AT_LEAST = 200


async def test_nothing_is_lost_and_nothing_is_there_or_paid_twice(clinic: Clinic, shown: Callable[[str], None]) -> None:
    await clinic.send(max(0, AT_LEAST - len(clinic.photographs)))
    found, rested_s = await settled(clinic)

    assert not found.wrong
    assert len(clinic.photographs) >= AT_LEAST
    patients = len({each.patient for each in clinic.photographs})
    shown(
        f"{len(clinic.photographs)} images of {patients} visits acknowledged, {patients} reports, {found.paid} paid "
        f"({found.counted} counted as possibly double), 0 lost, 0 twice, {len(clinic.failures)} requests sent again; "
        f"at rest after {rested_s:.0f} s"
    )
