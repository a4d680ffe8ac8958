"""Purging what is as old as the operator lets it get: pixels by days, the ledger by years.

How this works. A round goes on where the last one stopped, takes some steps of each class, each of them a commit, and
then discards the files. A lap that came to its end begins anew with the next round: what was held, unfinished or too
young when it was passed is looked at again. A new leader begins a lap; nothing of a round has to be remembered.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta

from fundus_relay.domain.policy import Kept

from .collect import discard_condemned
from .ports import Old, Ports

STEPS = 20
"""Of each class in a round."""

AT_ONCE: Mapping[Kept, int] = {Kept.SOURCE: 50, Kept.PREPARED: 50, Kept.PAGES: 5, Kept.LEDGER: 5}
"""Rows that a step looks at; reports and ledgers are large."""

LEFTOVERS = ("ImagingStudy", "ServiceRequest", "Encounter", "Patient")
"""Types that tell of a patient and may be of several studies; what refers to another of them stands before it."""

LEFTOVERS_AT_ONCE = 50

log = logging.getLogger(__name__)


class Purge:
    """Rounds of purging."""

    def __init__(self, ports: Ports, ages: Mapping[Kept, timedelta]) -> None:
        """Purge what is older than that after its study's last change; what is not named is kept for ever."""
        self._ports = ports
        self._ages = ages
        self._places: dict[str, Old] = {}

    async def round(self) -> None:
        """Take some steps of each class, and discard what has to go. Raises StoreUnavailable."""
        now = self._ports.clock.now()
        for kept, age in self._ages.items():
            await self._purge(kept, now - age)
        if Kept.LEDGER in self._ages:
            await self._purge_leftovers(now - self._ages[Kept.LEDGER])
        await discard_condemned(self._ports)

    async def _purge(self, kept: Kept, before: datetime) -> None:
        count = 0
        for _ in range(STEPS):
            found = await self._ports.retention.old(kept, before, self._places.get(kept), AT_ONCE[kept])
            if not found:
                self._places.pop(kept, None)
                break
            studies = list(dict.fromkeys(each.study_id for each in found))
            count += await self._ports.retention.purge(kept, studies, before)
            self._places[kept] = found[-1]
        if count:
            log.info("purged", extra={"kept": kept, "count": count})

    async def _purge_leftovers(self, before: datetime) -> None:
        for kind in LEFTOVERS:
            for _ in range(STEPS):
                found = await self._ports.retention.purge_leftovers(
                    kind, before, self._places.get(kind), LEFTOVERS_AT_ONCE
                )
                if not found:
                    self._places.pop(kind, None)
                    break
                self._places[kind] = found[-1]
