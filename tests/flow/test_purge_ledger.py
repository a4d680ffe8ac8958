"""After years everything of a study goes; what several studies have goes with the last; what comes then is new."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.dicom_files import dicom_jpeg, listed
from tests.flow.aging import come_to_the_present, files_of, grow_older
from tests.flow.archived import ask_for_the_study
from tests.flow.world import LEFT, RIGHT, World, a_photograph
from tests.unit.imaging.pictures import a_jpeg

from fundus_relay.adapters.database.pool import connected
from fundus_relay.domain.errors import StoreUnavailable
from fundus_relay.domain.policy import Kept
from fundus_relay.domain.values import Accepted, Entry
from fundus_relay.pipeline.purge import Purge

EYE, OTHER_EYE = a_jpeg(noise=31), a_jpeg(noise=32)
YEAR = timedelta(days=366)
Json = dict[str, Any]


@pytest.fixture(autouse=True)
def present(world: World) -> None:
    come_to_the_present(world)


async def purge(world: World) -> None:
    purging = Purge(world.ports, {Kept.LEDGER: YEAR})
    for _ in range(2):
        await purging.round()


async def rows(world: World) -> Mapping[str, int]:
    """How many rows each table has that may tell of a patient; of resources those that do."""
    tables = [
        "study",
        "image",
        "submission",
        "delivery",
        "acquisition",
        "study_look",
        "transition",
        "legal_hold",
    ]
    counted = [f"select '{table}', count(*) from {table}" for table in tables]  # noqa: S608 - of constants
    counted.append("select 'job', count(*) from engine.procrastinate_jobs")
    for table in ("resource", "resource_index"):
        counted.append(f"select '{table}', count(*) from {table} where kind <> 'Device'")  # noqa: S608 - as above
    async with connected(world.pool) as connection:
        found = await connection.execute(" union all ".join(counted).encode())
        return {row[0]: row[1] for row in await found.fetchall() if row[1]}


def a_bundle(*pictures: tuple[bytes, Json], patient: str = "MRN-1", order: str = "77") -> Json:
    """Photographs of one order and one ImagingStudy of a patient, and all of these."""
    subject = {"reference": "urn:uuid:00000000-0000-4000-8000-000000000001"}
    identified = {"identifier": [{"system": "urn:orders", "value": order}], "subject": subject}
    resources: list[Json] = [
        {"resourceType": "Patient", "identifier": [{"system": "urn:mrn", "value": patient}]},
        {"resourceType": "ServiceRequest", "status": "active", "intent": "order", **identified},
        {"resourceType": "ImagingStudy", "status": "available", **identified},
    ]
    for picture, eye in pictures:
        resources.append(
            {
                "resourceType": "Media",
                "status": "completed",
                "subject": subject,
                "bodySite": eye,
                "basedOn": [{"reference": "urn:uuid:00000000-0000-4000-8000-000000000002"}],
                "partOf": [{"reference": "urn:uuid:00000000-0000-4000-8000-000000000003"}],
                "content": {"contentType": "image/jpeg", "data": base64.b64encode(picture).decode()},
            }
        )
    entries = [
        {
            "fullUrl": f"urn:uuid:00000000-0000-4000-8000-{number:012}",
            "resource": resource,
            "request": {"method": "POST", "url": resource["resourceType"]},
        }
        for number, resource in enumerate(resources, 1)
    ]
    entries[0]["request"]["ifNoneExist"] = f"identifier=urn:mrn|{patient}"
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


async def send(relay: httpx.AsyncClient, bundle: Json) -> None:
    taken = await relay.post("", content=json.dumps(bundle))
    assert taken.status_code == 200, taken.text


async def know_the_patient(world: World) -> None:
    """The EHR has what the bundles refer to by identifier."""
    subject = {"reference": "Patient/1"}
    for resource in (
        {"resourceType": "Patient", "id": "1", "identifier": [{"system": "urn:mrn", "value": "MRN-1"}]},
        {
            "resourceType": "ServiceRequest",
            "id": "77",
            "status": "active",
            "intent": "order",
            "subject": subject,
            "identifier": [{"system": "urn:orders", "value": "77"}],
        },
    ):
        await world.ehr.put(f"/fhir/{resource['resourceType']}/{resource['id']}", json=resource)


async def test_a_study_goes_wholly_and_the_same_photographs_are_new_then(
    world: World, relay: httpx.AsyncClient, tmp_path: Path
) -> None:
    await know_the_patient(world)
    await send(relay, a_bundle((EYE, RIGHT), (OTHER_EYE, LEFT)))
    await world.finish()
    await relay.put("Media/m1", content="{}")  # nothing of a refused request is kept
    report = await world.report()
    assert (await rows(world)).keys() >= {"study", "image", "delivery", "submission", "transition", "resource"}

    await grow_older(world, tmp_path, YEAR + timedelta(days=1))
    await purge(world)

    assert await rows(world) == {}
    assert files_of(tmp_path) == []
    assert await world.report() == report
    assert (await relay.get("Media")).json()["total"] == 0

    await send(relay, a_bundle((EYE, RIGHT), (OTHER_EYE, LEFT)))
    await world.finish()
    assert world.analyser.times_paid == 4
    assert (await rows(world))["image"] == 2


async def test_what_came_from_an_archive_goes_with_its_wish(world: World, tmp_path: Path) -> None:
    world.archive.address = "http://pacs.test/dicom-web"
    world.archive.put(listed("1.2.3.1"), dicom_jpeg(EYE, instance="1.2.3.1"))
    await ask_for_the_study(world)
    await world.finish()
    assert (await rows(world))["acquisition"] == 1

    await grow_older(world, tmp_path, YEAR + timedelta(days=1))
    await purge(world)

    assert await rows(world) == {}
    assert files_of(tmp_path) == []


async def test_a_patient_with_a_younger_study_stays_until_that_is_old(
    world: World, relay: httpx.AsyncClient, tmp_path: Path
) -> None:
    await know_the_patient(world)
    await send(relay, a_bundle((EYE, RIGHT)))
    await world.finish()
    await grow_older(world, tmp_path, YEAR + timedelta(days=1))
    await send(relay, a_bundle((OTHER_EYE, LEFT), order="78"))
    await world.finish()

    await purge(world)

    assert [(await relay.get(kind)).json()["total"] for kind in ("Patient", "ServiceRequest", "Media")] == [1, 1, 2]
    assert (await rows(world))["study"] == 1

    await grow_older(world, tmp_path, YEAR + timedelta(days=1))
    await purge(world)
    assert await rows(world) == {}


async def test_an_imaging_study_that_a_younger_photograph_is_part_of_stays(
    world: World, relay: httpx.AsyncClient, tmp_path: Path
) -> None:
    await know_the_patient(world)
    await send(relay, a_bundle((EYE, RIGHT)))
    await world.finish()
    (stored,) = (await relay.get("ImagingStudy")).json()["entry"]
    await grow_older(world, tmp_path, YEAR + timedelta(days=1))
    part = {"reference": f"ImagingStudy/{stored['resource']['id']}"}
    bundle = a_bundle((OTHER_EYE, LEFT), order="79")
    del bundle["entry"][2]
    bundle["entry"][2]["resource"]["partOf"] = [part]
    del bundle["entry"][2]["resource"]["basedOn"]
    await send(relay, bundle)
    await world.finish()
    await purge(world)

    assert (await relay.get(f"ImagingStudy/{stored['resource']['id']}")).status_code == 200


async def test_a_media_that_is_being_corrected_is_passed_over_with_its_study(world: World, tmp_path: Path) -> None:
    photograph = await a_photograph(world, EYE, method="PUT", id="m1")
    await world.accept(photograph)
    await world.finish()
    await grow_older(world, tmp_path, YEAR + timedelta(days=1))
    before = await rows(world)

    async with world.ports.ledger.transaction() as tx:
        media = await tx.resources.read("Media", "m1")
        assert media is not None
        await tx.resources.put(media)  # as `accept` does, before it comes to the study
        await purge(world)
        assert await rows(world) == before

    await purge(world)
    assert await rows(world) == {}


async def test_whoever_refers_to_a_patient_in_the_moment_of_its_purge_is_waited_for(
    world: World, relay: httpx.AsyncClient, tmp_path: Path
) -> None:
    await send(relay, {**a_bundle(), "entry": a_bundle()["entry"][:1]})
    (patient,) = (await relay.get("Patient")).json()["entry"]
    id = patient["resource"]["id"]
    await grow_older(world, tmp_path, YEAR + timedelta(days=1))

    async with world.ports.ledger.transaction() as tx:
        assert await tx.resources.lean_on("Patient", id) is not None
        await purge(world)
        assert (await relay.get(f"Patient/{id}")).status_code == 200

    await purge(world)
    assert (await relay.get(f"Patient/{id}")).status_code == 404


async def test_photographs_that_come_while_their_study_is_forgotten_are_all_there(world: World, tmp_path: Path) -> None:
    """The same photographs again and again, and rounds of purging beside them: what was accepted is whole."""
    entries = [
        await a_photograph(world, picture, method="PUT", id=f"m{number}")
        for number, picture in enumerate((EYE, OTHER_EYE))
    ]
    purging = Purge(world.ports, {Kept.LEDGER: YEAR})
    for _ in range(3):
        await world.finish(rounds=2)
        come_to_the_present(world)
        await grow_older(world, tmp_path, YEAR + timedelta(days=1))

        async def accept(entry: Entry) -> list[Accepted]:
            assert entry.picture is not None
            await world.ports.blobs.put(EYE if entry is entries[0] else OTHER_EYE)
            return await world.accept(entry)

        outcomes = await asyncio.gather(
            purging.round(), *map(accept, entries), purging.round(), *map(accept, entries), return_exceptions=True
        )

        assert {type(each) for each in outcomes} <= {list, type(None), StoreUnavailable}
        async with connected(world.pool) as connection:
            found = await connection.execute(
                "select count(*), count(media.id), count(told.id) from image"
                " left join resource as media on media.kind = 'Media' and media.id = image.media_id and media.is_newest"
                " left join submission as told using (study_id)"
            )
            assert len(set((await found.fetchall())[0])) == 1
