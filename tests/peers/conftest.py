"""HAPI FHIR and Medplum's router as EHRs, and HL7's validator: each starts once a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from tests.contract.test_health_record import EhrSide
from tests.peers.cases import Cases
from tests.peers.judgement import Judge
from tests.peers.program import address, java, node
from tests.peers.wire import Wire
from xdist.scheduler import LoadFileScheduling

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


ROUTER_LACKS = {
    "test_a_patient_that_the_ehr_does_not_know_is_refused_without_saying_who": "takes references to nothing",
    "test_a_patient_that_hapi_does_not_know_parks_the_delivery_with_the_reason": "takes references to nothing",
    "test_a_patient_known_by_identifier_is_found_and_none_is_made": "does not resolve a reference by search",
    "test_two_patients_under_one_identifier_park_the_delivery_with_the_reason": "does not resolve such a reference",
    "test_a_patient_is_found_by_an_odd_identifier": "does not resolve a reference by search",
    "test_an_odd_identifier_of_ours_is_created_once": "does not find an identifier that has a | in it",
    "test_a_report_signed_between_our_look_and_our_write_stays_signed": "keeps the rest of a transaction",
    "test_a_search_is_read_to_its_last_page": "gives the first page and no link to the next",
}
"""What the router cannot be asked, and why."""


JUDGED = ("test_judge.py", "test_planted_defects.py")
"""Files whose tests ask the judge."""

CASES = Cases()


class OneJudge(LoadFileScheduling):
    """A file's tests stay together, and so do all files that ask the judge: it takes a minute to start and to warm."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "judged" if file.endswith(JUDGED) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneJudge:  # Any: xdist's own type has no name
    return OneJudge(config, log)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    CASES.note(report)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in CASES.table():
        terminalreporter.write_line(line)


class PeerSide(EhrSide):
    """A server of others behind a socket, written to by the real adapter; faults happen on the way."""

    def __init__(self, url: str, client: httpx.AsyncClient, wire: Wire) -> None:
        super().__init__(url, client)
        self.wire = wire

    async def counts(self) -> Counter[str]:
        """By search at the server; without the patients that it begins with."""
        held = Counter[str]()
        for kind in OURS:
            found = await self.client.get(f"{self.url}/fhir/{kind}", params={"_summary": "count"})
            held[kind] = found.json()["total"]
        return held - Counter(Patient=len(PATIENTS))

    async def fail(self, **faults: Any) -> None:
        self.wire.faults = faults


@pytest.fixture(scope="module")
def hapi() -> Iterator[str]:
    """URL of HAPI FHIR JPA 8.8.0, without the path of its FHIR endpoint."""
    with java("hapi", "peer.Main") as process:
        yield address(process)


@pytest.fixture(scope="module")
def router() -> Iterator[str]:
    """URL of Medplum's FHIR router 4.5.2, as above."""
    with node("router") as process:
        yield address(process)


@pytest.fixture(params=["hapi", "router"])
async def ehr(request: pytest.FixtureRequest) -> AsyncIterator[PeerSide]:
    """Each of them, empty but for the patients."""
    if request.param == "router" and (reason := ROUTER_LACKS.get(request.function.__name__)):
        pytest.skip(reason)
    url = request.getfixturevalue(request.param)
    wire = Wire()
    async with httpx.AsyncClient(transport=wire, base_url=url, timeout=60) as client:
        (await client.post("/fhir/$expunge", json=EVERYTHING)).raise_for_status()
        side = PeerSide(url, client, wire)
        for patient in PATIENTS:
            await side.put(patient)
        yield side


@pytest.fixture
def side(ehr: PeerSide) -> PeerSide:
    return ehr


@pytest.fixture(scope="session")
def judge() -> Iterator[Judge]:
    with Judge.in_session() as judge:
        yield judge
