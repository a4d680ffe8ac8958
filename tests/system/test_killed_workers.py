"""SIGKILL of the worker just before and just after each outside effect: one paid analysis, one report."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.dicom_files import SERIES, dicom_jpeg
from tests.fakes.archive import DicomwebServer
from tests.fakes.study_archive import FakeStudyArchive
from tests.imaging_studies import an_imaging_study
from tests.serving import served
from tests.system.dying_worker import CROWD, FETCHING, POINTS
from tests.unit.imaging.pictures import a_jpeg

from fundus_relay.adapters.blobs import DirectoryBlobs
from fundus_relay.adapters.clock import SystemClock
from fundus_relay.adapters.database.ledger import PostgresLedger
from fundus_relay.demonstration.ehr import demonstration_ehr
from fundus_relay.domain.values import Accepted, Entry, StoredPicture, Submitted
from fundus_relay.imaging.format import examine
from fundus_relay.pipeline.accept import accept
from fundus_relay.standin.app import standin
from fundus_relay.standin.settings import StandinSettings

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DONE_WITHIN_S = 60


@dataclass
class Outside:
    """The parties outside, and the counts that they keep."""

    environment: Mapping[str, str]
    standin: str
    ehr: str
    ledger: PostgresLedger
    blobs: DirectoryBlobs

    async def paid(self) -> int:
        async with httpx.AsyncClient(trust_env=False) as client:
            counts = (await client.get(f"{self.standin}/admin/counts")).json()
        return int(counts["uploads"])

    async def at_ehr(self, kind: str) -> list[dict[str, Any]]:
        async with httpx.AsyncClient(trust_env=False) as client:
            found = (await client.get(f"{self.ehr}/fhir/{kind}", params={"_count": "100"})).json()
        return [entry["resource"] for entry in found.get("entry", [])]

    async def submit(self, *, noise: int = 0) -> str:
        """A photograph, accepted; returns the id of its Task."""
        picture = a_jpeg(noise=noise)
        sha256 = await self.blobs.put(picture)
        media = {
            "resourceType": "Media",
            "status": "completed",
            "subject": {"reference": "Patient/demo-patient"},
            "content": {"contentType": "image/jpeg"},
        }
        stored = StoredPicture(sha256, "image/jpeg", len(picture), examine(picture).size)
        (taken,) = await accept(
            Submitted((Entry(media, picture=stored, element="Media"),)),
            self.ledger,
            self.blobs,
            FakeStudyArchive(),
            SystemClock(),
        )
        assert isinstance(taken, Accepted) and taken.task_id
        return taken.task_id

    async def ask_for_a_study(self, address: str) -> str:
        """A study that lies in that archive, accepted; returns the id of its Task."""
        (taken,) = await accept(
            Submitted((Entry(an_imaging_study(), element="ImagingStudy"),)),
            self.ledger,
            self.blobs,
            FakeStudyArchive(address),
            SystemClock(),
        )
        assert isinstance(taken, Accepted) and taken.task_id
        return taken.task_id

    async def task(self, task_id: str) -> dict[str, Any]:
        async with self.ledger.transaction() as tx:
            task = await tx.resources.read("Task", task_id)
        assert task is not None
        return task

    async def until_completed(self, task_id: str) -> None:
        """Wait until the Task says so; fails with what it says instead."""
        said = ""
        try:
            async with asyncio.timeout(DONE_WITHIN_S):
                while (task := await self.task(task_id))["status"] != "completed":
                    said = f"{task['status']} {task.get('businessStatus')} {task.get('statusReason')}"
                    await asyncio.sleep(0.1)
        except TimeoutError:
            pytest.fail(f"not completed: {said}")


@pytest.fixture
async def outside(database_url: str, ledger: PostgresLedger, tmp_path: Path) -> AsyncIterator[Outside]:
    analyser = standin(StandinSettings(analyser="instant", state=tmp_path / "standin.sqlite"))
    async with served(analyser) as standin_url, served(demonstration_ehr(None)) as ehr_url:
        yield Outside(
            environment={
                "FUNDUS_RELAY_DATABASE__URL": database_url,
                "FUNDUS_RELAY_DATA_DIR": str(tmp_path),
                "FUNDUS_RELAY_ANALYSER__BASE_URL": f"{standin_url}/v1",
                "FUNDUS_RELAY_ANALYSER__USERNAME": "demo",
                "FUNDUS_RELAY_ANALYSER__PASSWORD": "demo",
                "FUNDUS_RELAY_ANALYSER__POLL_INTERVAL": "0.2",
                "FUNDUS_RELAY_ANALYSER__AMBIGUOUS_UPLOAD": "resend-once",
                "FUNDUS_RELAY_RECORD__BASE_URL": f"{ehr_url}/fhir",
            },
            standin=standin_url,
            ehr=ehr_url,
            ledger=ledger,
            blobs=DirectoryBlobs(tmp_path / "blobs"),
        )


@asynccontextmanager
async def a_worker(outside: Outside, *arguments: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.system.dying_worker", *arguments),
        cwd=ROOT,
        env={**os.environ, **outside.environment},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("point", POINTS)
async def test_a_kill_around_an_effect_costs_one_analysis_and_gives_one_report(
    outside: Outside, point: str, when: str
) -> None:
    task = await outside.submit()

    async with a_worker(outside, point, when) as dying:
        assert await asyncio.wait_for(dying.wait(), DONE_WITHIN_S) == -signal.SIGKILL
    async with a_worker(outside):
        await outside.until_completed(task)

    counted = (await outside.ledger.census()).possibly_double_spent
    assert await outside.paid() == 1 + counted
    assert counted == (1 if (point, when) == ("upload", "after") else 0)
    assert len(await outside.at_ehr("DiagnosticReport")) == 1
    assert len(await outside.at_ehr("Provenance")) == 1
    identifiers = [each["identifier"][0]["value"] for each in await outside.at_ehr("Observation")]
    assert identifiers and len(identifiers) == len(set(identifiers))


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("point", FETCHING)
async def test_a_kill_while_a_study_is_fetched_loses_no_photograph_and_pays_each_once(
    outside: Outside, point: str, when: str
) -> None:
    pacs = DicomwebServer()
    for number, eye in enumerate("RL", start=1):
        pacs.put(dicom_jpeg(a_jpeg(noise=number), instance=f"{SERIES}.{number}", ImageLaterality=eye))
    async with served(pacs.app) as url:
        archives = f'[{{"base_url": "{url}/dicom-web"}}]'
        outside.environment = {**outside.environment, "FUNDUS_RELAY_ACQUISITION__ARCHIVES": archives}
        task = await outside.ask_for_a_study(f"{url}/dicom-web")

        async with a_worker(outside, point, when) as dying:
            assert await asyncio.wait_for(dying.wait(), DONE_WITHIN_S) == -signal.SIGKILL
        async with a_worker(outside):
            await outside.until_completed(task)

    assert await outside.paid() == 2
    (report,) = await outside.at_ehr("DiagnosticReport")
    assert len([each for each in report["media"] if "boxes" not in each["comment"]]) == 2


async def test_a_kill_with_several_uploads_under_way_leaves_none_of_them_to_a_person(outside: Outside) -> None:
    outside.environment = {**outside.environment, "FUNDUS_RELAY_ANALYSER__AMBIGUOUS_UPLOAD": "resend"}
    tasks = [await outside.submit(noise=10 + number) for number in range(CROWD)]

    async with a_worker(outside, "crowd", "before") as dying:
        assert await asyncio.wait_for(dying.wait(), DONE_WITHIN_S) == -signal.SIGKILL
    async with a_worker(outside):
        for task in tasks:
            await outside.until_completed(task)

    assert await outside.paid() == CROWD
    assert (await outside.ledger.census()).possibly_double_spent == 0
