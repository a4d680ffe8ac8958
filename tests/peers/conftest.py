"""HAPI FHIR as an EHR, and HL7's validator: each starts once a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from tests.contract.test_health_record import EhrSide
from tests.peers.judgement import Judge
from tests.peers.program import running
from tests.peers.wire import Wire

PATIENTS = (
    {"resourceType": "Patient", "id": "demo-patient"},
    {
        "resourceType": "Patient",
        "id": "second-patient",
        "identifier": [{"system": "urn:fundus-relay:demo", "value": "second-patient"}],
    },
)
"""Whom the demonstration EHR knows too."""

EVERYTHING = {"resourceType": "Parameters", "parameter": [{"name": "expungeEverything", "valueBoolean": True}]}
OURS = ("DiagnosticReport", "Observation", "Media", "Device", "Provenance", "Patient")


class HapiSide(EhrSide):
    """HAPI FHIR behind a socket, written to by the real adapter; faults happen on the way."""

    def __init__(self, url: str, client: httpx.AsyncClient, wire: Wire) -> None:
        super().__init__(url, client)
        self._wire = wire

    async def counts(self) -> Counter[str]:
        """By search at the server; without the patients that it begins with."""
        held = Counter[str]()
        for kind in OURS:
            found = await self.client.get(f"{self.url}/fhir/{kind}", params={"_summary": "count"})
            held[kind] = found.json()["total"]
        return held - Counter(Patient=len(PATIENTS))

    async def fail(self, **faults: Any) -> None:
        self._wire.faults = faults


@pytest.fixture(scope="session")
def hapi_url() -> Iterator[str]:
    """Without the path of its FHIR endpoint."""
    with running("hapi", "peer.Main") as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said.startswith("ready "), "HAPI did not start: its stderr says why"
        yield f"http://127.0.0.1:{said.removeprefix('ready ').strip()}"


@pytest.fixture
async def ehr(hapi_url: str) -> AsyncIterator[HapiSide]:
    """HAPI, empty but for the patients."""
    wire = Wire()
    async with httpx.AsyncClient(transport=wire, base_url=hapi_url, timeout=60) as client:
        (await client.post("/fhir/$expunge", json=EVERYTHING)).raise_for_status()
        side = HapiSide(hapi_url, client, wire)
        for patient in PATIENTS:
            await side.put(patient)
        yield side


@pytest.fixture
def side(ehr: HapiSide) -> HapiSide:
    return ehr


@pytest.fixture(scope="session")
def judge() -> Iterator[Judge]:
    with Judge.in_session() as judge:
        yield judge
