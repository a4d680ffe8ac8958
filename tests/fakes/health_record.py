"""An EHR in memory, with the other side's rules: one resource for one identifier, and reports that people sign."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from copy import deepcopy
from datetime import datetime, timedelta

from fundus_relay.domain.errors import RecordRefused, RecordUnavailable
from fundus_relay.domain.values import Json, Written

UNSIGNED = frozenset({"registered", "partial", "preliminary"})


class FakeHealthRecord:
    """See `ports.HealthRecord`. Ids at this EHR are ours with `ehr-` in front."""

    def __init__(self) -> None:
        self.held: dict[str, Json] = {}
        self.unavailable_for = 0
        self.answers_to_lose = 0
        self.observations_to_drop = 0

    # ------------------------------------------------------------------------------------------------- instructions

    def sign(self) -> None:
        """A person signs every report."""
        for each in self.held.values():
            if each["resourceType"] == "DiagnosticReport":
                each["status"] = "final"

    def counts(self) -> Counter[str]:
        return Counter(each["resourceType"] for each in self.held.values())

    # --------------------------------------------------------------------------------------------------------- port

    async def publish(self, resources: Sequence[Json], *, revision: int) -> Written:
        await asyncio.sleep(0)
        if self.unavailable_for:
            self.unavailable_for -= 1
            raise RecordUnavailable(retry_after=timedelta(seconds=7))
        report = resources[0]
        held = self.held.get(_name(report))
        if held is not None:
            age = _moment(held) - _moment(report)
            if age == timedelta(0) and self._is_whole(resources):
                return Written(_id(report))
            if held["status"] not in UNSIGNED:
                raise RecordRefused("report-signed")
            if age > timedelta(0):
                return Written(_id(report), superseded=True)
        self._write(resources, held)
        if self.answers_to_lose:
            self.answers_to_lose -= 1
            raise RecordUnavailable
        if not self._is_whole(resources):
            raise RecordUnavailable("read-back")
        return Written(_id(report))

    def _write(self, resources: Sequence[Json], before: Json | None) -> None:
        still = {each["reference"] for each in resources[0]["result"]}
        for gone in (each["reference"] for each in (before or {}).get("result", [])):
            if gone not in still and gone in self.held:
                self.held[gone]["status"] = "entered-in-error"
        self.held |= {_name(each): deepcopy(each) for each in resources}
        if self.observations_to_drop:
            self.observations_to_drop -= 1
            del self.held[next(name for name in self.held if name.startswith("Observation/"))]

    def _is_whole(self, resources: Sequence[Json]) -> bool:
        return all(_name(each) in self.held for each in resources)


def _name(resource: Json) -> str:
    return f"{resource['resourceType']}/{resource['id']}"


def _id(resource: Json) -> str:
    return f"ehr-{resource['id']}"


def _moment(report: Json) -> datetime:
    return datetime.fromisoformat(report["issued"])
