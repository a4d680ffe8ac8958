"""HAPI FHIR killed between our write and our reading back, and started again on what its file holds."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from tests.contract.test_health_record import SECOND, expected
from tests.peers.conftest import PATIENTS, PeerSide
from tests.peers.program import address, java
from tests.peers.wire import Wire

from fundus_relay.domain.errors import RecordUnavailable


@pytest.mark.parametrize("server", ["hapi"])
async def test_a_report_written_to_an_ehr_that_then_died_is_there_once(tmp_path: Path, server: str) -> None:
    """Medplum's router keeps what it has in memory alone: of it nothing would be left to be counted."""
    file = f"-Dpeer.jdbc=jdbc:h2:file:{tmp_path / 'ehr'}"
    wire = Wire()
    with java(server, file, "peer.Main") as first:
        url = address(first)

        async def die() -> None:
            first.kill()
            first.wait()

        async with httpx.AsyncClient(transport=wire, base_url=url, timeout=60) as client:
            side = PeerSide(url, client, wire)
            for patient in PATIENTS:
                await side.put(patient)
            wire.after_write = die
            with pytest.raises(RecordUnavailable):
                await side.record.publish(SECOND, revision=2)

    with java(server, file, f"-Dpeer.port={httpx.URL(url).port}", "peer.Main") as again:
        assert address(again) == url
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            side = PeerSide(url, client, wire)
            written = await side.record.publish(SECOND, revision=2)

            assert not written.superseded
            assert await side.counts() == expected(SECOND)
            assert {each["meta"]["versionId"] for each in await side.held("Observation")} == {"1"}
