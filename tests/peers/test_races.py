"""What goes wrong beside us at an EHR that nobody here wrote, and what the next step is then."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from tests.contract.test_health_record import FIRST, SECOND, expected, until_written
from tests.flow.world import World, a_photograph, a_world
from tests.peers.conftest import PATIENTS, PeerSide
from tests.unit.imaging.pictures import a_jpeg

from fundus_relay.adapters.database.pool import Pool
from fundus_relay.adapters.health_record.transaction import FhirTransactionRecord
from fundus_relay.domain.errors import RecordRefused, RecordUnavailable
from fundus_relay.domain.values import Json
from fundus_relay.pipeline.identity import criterion
from fundus_relay.pipeline.poll import poll
from fundus_relay.pipeline.ports import Job
from fundus_relay.settings import Destination

EYE = a_jpeg(noise=11)
ODD = ("a b+c&d", "Müller, Änne", "1|2", "50%$", "back\\slash", "x=y?z#")


@pytest.fixture
def world(pool: Pool, tmp_path: Path, ehr: PeerSide) -> World:
    return a_world(pool, tmp_path, ehr.client)


def another_writer(ehr: PeerSide) -> FhirTransactionRecord:
    """A second process of ours; nothing goes wrong on its way."""
    return FhirTransactionRecord(Destination(base_url=f"{ehr.url}/fhir"), httpx.AsyncClient(timeout=60), ehr.blobs)


async def test_a_report_signed_between_our_look_and_our_write_stays_signed(ehr: PeerSide) -> None:
    await ehr.record.publish(FIRST, revision=1)
    ehr.wire.before_write = ehr.sign

    with pytest.raises(RecordUnavailable):
        await ehr.record.publish(SECOND, revision=2)

    with pytest.raises(RecordRefused, match="report-signed"):
        await ehr.record.publish(SECOND, revision=2)
    (report,) = await ehr.held("DiagnosticReport")
    assert report["status"] == "final"
    assert await ehr.counts() == expected(FIRST)


async def test_a_create_that_found_what_another_wrote_first_is_not_taken_for_ours(ehr: PeerSide) -> None:
    async def first_revision() -> None:
        await another_writer(ehr).publish(FIRST, revision=1)

    ehr.wire.before_write = first_revision
    await until_written(ehr.record, SECOND, revision=2)

    assert await ehr.counts() == expected(FIRST, SECOND)
    (report,) = await ehr.held("DiagnosticReport")
    assert len(report["result"]) == len(SECOND[0]["result"])


async def test_eight_photographs_of_one_patient_are_eight_reports(world: World, ehr: PeerSide) -> None:
    taken = [await world.accept(await a_photograph(world, a_jpeg(noise=number))) for number in range(8)]
    due = await until_delivery(world)

    await asyncio.gather(*(world.run(Job.DELIVERY, id) for id in due))
    await world.finish()

    assert len(due) == len(taken) == 8
    counts = await ehr.counts()
    assert (counts["DiagnosticReport"], counts["Provenance"], counts["Device"]) == (8, 8, 2)
    assert {(await world.task(each.task_id))["status"] for (each,) in taken} == {"completed"}


async def test_two_devices_under_one_identifier_park_the_delivery_with_the_reason(world: World, ehr: PeerSide) -> None:
    (*_, device) = [each for each in FIRST if each["resourceType"] == "Device"]
    for id in ("one", "other"):
        await ehr.put({**device, "id": id})
    (taken,) = await world.accept(await a_photograph(world, EYE))

    await world.finish()

    task = await world.task(taken.task_id)
    assert task["status"] == "on-hold"
    assert "duplicate-at-ehr: two Device have the identifier" in task["statusReason"]["text"]
    assert (await ehr.counts())["DiagnosticReport"] == 0


async def test_two_patients_under_one_identifier_park_the_delivery_with_the_reason(world: World, ehr: PeerSide) -> None:
    await ehr.put({**PATIENTS[1], "id": "third-patient"})
    (taken,) = await world.accept(await a_photograph(world, EYE, subject=by_identifier(PATIENTS[1])))

    await world.finish()

    task = await world.task(taken.task_id)
    assert task["status"] == "on-hold"
    assert "HAPI-2207 (a search reference finds more than one)" in task["statusReason"]["text"]
    assert (await ehr.counts())["DiagnosticReport"] == 0


@pytest.mark.parametrize("value", ODD)
async def test_a_patient_is_found_by_an_odd_identifier(world: World, ehr: PeerSide, value: str) -> None:
    patient = {"resourceType": "Patient", "id": "odd", "identifier": [{"system": "urn:odd|one, two", "value": value}]}
    await ehr.put(patient)
    await world.accept(await a_photograph(world, EYE, subject=by_identifier(patient)))

    await world.finish()

    assert (await world.report())["subject"]["reference"] == "Patient/odd"


async def test_an_odd_identifier_of_ours_is_created_once(ehr: PeerSide) -> None:
    odd = [
        {**each, "identifier": [{"system": each["identifier"][0]["system"], "value": f"{ODD} {number}"}]}
        if "identifier" in each
        else each
        for number, each in enumerate(FIRST)
    ]

    await ehr.record.publish(odd, revision=1)
    await ehr.record.publish(odd, revision=1)

    assert await ehr.counts() == expected(FIRST)


def by_identifier(patient: Json) -> Json:
    return {"reference": f"Patient?identifier={criterion(patient['identifier'][0])}"}


async def until_delivery(world: World) -> set[str]:
    """Carry everything so far that only deliveries are left, and name them."""
    due: set[str] = set()
    for _ in range(4):
        while world.queue:
            job, id = world.queue.popleft()
            if job is Job.DELIVERY:
                due.add(id)
            else:
                await world.run(job, id)
        world.clock.advance(timedelta(minutes=3))
        await poll(world.ports, world.rules)
        await world.reconcile()
    world.queue.clear()
    return due
