"""Five stock clients, none of them changed, do what an EHR's integration does with them."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from typing import Any
from uuid import uuid4

import httpx
import pytest
from tests.clients.conftest import Client, Json, RefusedError
from tests.unit.imaging.pictures import a_jpeg

from fundus_relay.domain.geometry import Size

SYSTEM = "urn:oid:2.16.840.1.113883.19.5"


def only(*names: str) -> Any:  # Any: pytest's decorator
    """For the clients that offer it."""
    return pytest.mark.parametrize("client", names, indirect=True)


@cache
def photograph(number: int = 0) -> bytes:
    """A JPEG of more than a megabyte; another one for each number."""
    jpeg = a_jpeg(Size(1320 + number, 1040), noise=70, quality=92)
    assert len(jpeg) > 1_000_000
    return jpeg


def a_media(number: int = 0, **elements: Any) -> Json:
    return {
        "resourceType": "Media",
        "identifier": [{"system": SYSTEM, "value": f"media-{number}"}],
        "status": "completed",
        "subject": {"reference": "Patient/p1"},
        "content": {"contentType": "image/jpeg", "data": base64.b64encode(photograph(number)).decode()},
        **elements,
    }


def a_patient(value: str = "MRN-1") -> Json:
    return {"resourceType": "Patient", "identifier": [{"system": SYSTEM, "value": value}]}


def an_order(patient: Json) -> Json:
    return {
        "resourceType": "ServiceRequest",
        "identifier": [{"system": SYSTEM, "value": "order-1"}],
        "status": "active",
        "intent": "order",
        "subject": patient,
    }


def a_known_patient() -> Json:
    return {"reference": "Patient/p1"}


def a_known_order() -> Json:
    return {"reference": "ServiceRequest/o1"}


def a_visit() -> Json:
    """A transaction whose entries name each other by urn: patient, order and two photographs."""
    patient, order = {"reference": f"urn:uuid:{uuid4()}"}, {"reference": f"urn:uuid:{uuid4()}"}
    visit = a_visit_of(patient, order, a_patient())
    for entry, name in zip(visit["entry"], (patient, order), strict=False):
        entry["fullUrl"] = name["reference"]
    return visit


def a_visit_of(patient: Json, order: Json, *others: Json) -> Json:
    """A transaction without any fullUrl: an order and two photographs, after others.

    Args:
        patient: reference to whom it is about.
        order: reference of the photographs to their order.
    """
    pictures = [a_media(number, subject=patient, basedOn=[order]) for number in (0, 1)]
    entries = [
        {"resource": each, "request": {"method": "POST", "url": each["resourceType"]}}
        for each in (*others, an_order(patient), *pictures)
    ]
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def kinds_of(answers: Sequence[Json]) -> list[str]:
    return [each["location"].split("/")[0] for each in answers]


async def total(base: str, kind: str) -> int:
    async with httpx.AsyncClient() as http:
        return int((await http.get(f"{base}/{kind}?_summary=count")).json()["total"])


@pytest.mark.parametrize("end", ["", "/"])
async def test_a_photograph_is_created_and_comes_back_without_pixels(client: Client, base: str, end: str) -> None:
    created = await client(base + end, "create", resource=a_media())

    assert created["id"]
    assert created["meta"]["versionId"] == "1"
    assert "data" not in created["content"]
    assert created["content"]["url"] == f"{base}/Binary/{created['id']}"
    assert await total(base, "Task") == 1


async def test_the_bytes_come_back_as_they_were_sent(client: Client, base: str) -> None:
    created = await client(base, "create", resource=a_media())

    fetched = await client(base, "picture", url=created["content"]["url"])

    assert fetched == sha256(photograph()).hexdigest()


@only("fhirpy", "fhir_kit", "medplum")
async def test_a_conditional_create_said_twice_creates_once(client: Client, base: str) -> None:
    criteria = {"identifier": f"{SYSTEM}|media-0"}

    first = await client(base, "create_once", resource=a_media(), criteria=criteria)
    second = await client(base, "create_once", resource=a_media(), criteria=criteria)

    assert second["id"] == first["id"]
    assert (first.get("is_new", True), second.get("is_new", False)) == (True, False)
    assert await total(base, "Media") == 1
    assert await total(base, "Task") == 1


async def test_a_resource_is_read_and_so_is_a_version_of_it(client: Client, base: str) -> None:
    created = await client(base, "create", resource=a_media())

    read = await client(base, "read", kind="Media", id=created["id"])
    version = await client(base, "vread", kind="Media", id=created["id"], version="1")

    assert read["identifier"] == version["identifier"] == a_media()["identifier"]
    assert read["content"] == created["content"]


@only("fhirpy")
async def test_a_refresh_that_finds_nothing_newer_keeps_what_is_there(client: Client, base: str) -> None:
    created = await client(base, "create", resource=a_patient())

    refreshed = await client(base, "refresh", kind="Patient", id=created["id"])

    assert refreshed["meta"]["versionId"] == "1"


@pytest.mark.parametrize("criteria", [{"identifier": f"{SYSTEM}|media-1"}, {"patient": "Patient/p2"}])
async def test_a_search_finds_what_is_meant(client: Client, base: str, criteria: Json) -> None:
    await client(base, "create", resource=a_media(0))
    meant = await client(base, "create", resource=a_media(1, subject={"reference": "Patient/p2"}))

    assert await client(base, "search", kind="Media", parameters=criteria) == [meant["id"]]


@only("fhir_kit")
async def test_a_search_by_form_finds_what_is_meant(client: Client, base: str) -> None:
    created = await client(base, "create", resource=a_patient("MRN-1"))
    await client(base, "create", resource=a_patient("MRN-2"))

    found = await client(base, "search_by_form", kind="Patient", parameters={"identifier": f"{SYSTEM}|MRN-1"})

    assert found == [created["id"]]


@only("fhirpy", "kindling")
async def test_a_count_counts_everything(client: Client, base: str) -> None:
    await client(base, "create", resource=a_patient("MRN-1"))
    await client(base, "create", resource=a_patient("MRN-2"))

    assert await client(base, "count", kind="Patient") == 2


@pytest.mark.parametrize("end", ["", "/"])
async def test_the_pages_of_a_search_hold_everything_once(client: Client, base: str, end: str) -> None:
    patients = [{**a_patient(f"MRN-{number}"), "id": f"p{number}"} for number in range(25)]
    async with httpx.AsyncClient() as http:
        for patient in patients:
            (await http.put(f"{base}/Patient/{patient['id']}", json=patient)).raise_for_status()

    found = await client(base + end, "search", kind="Patient", parameters={"_count": "10"})

    assert len(found) == 25
    assert set(found) == {patient["id"] for patient in patients}


@only("fhirclient", "fhirpy", "fhir_kit", "medplum")
@pytest.mark.parametrize("end", ["", "/"])
async def test_a_transaction_is_answered_entry_by_entry(client: Client, base: str, end: str) -> None:
    answers = await client(base + end, "transaction", bundle=a_visit())

    assert [each["status"] for each in answers] == ["201 Created"] * 4
    assert kinds_of(answers) == ["Patient", "ServiceRequest", "Media", "Media"]
    assert await total(base, "Task") == 1  # two photographs of one order are one study


@only("kindling")
async def test_a_transaction_without_any_full_url_is_answered_entry_by_entry(client: Client, base: str) -> None:
    answers = await client(base, "transaction", bundle=a_visit_of(a_known_patient(), a_known_order()))

    assert kinds_of(answers) == ["ServiceRequest", "Media", "Media"]
    assert await total(base, "Task") == 1


@only("kindling")
async def test_a_transaction_without_any_full_url_may_bring_its_patient(client: Client, base: str) -> None:
    patient, order = {"identifier": a_patient()["identifier"][0]}, {"identifier": an_order({})["identifier"][0]}
    visit = a_visit_of({"type": "Patient", **patient}, {"type": "ServiceRequest", **order}, a_patient())

    answers = await client(base, "transaction", bundle=visit)

    assert kinds_of(answers) == ["Patient", "ServiceRequest", "Media", "Media"]
    assert await total(base, "Task") == 1


async def test_a_patient_that_was_read_is_changed_and_saved(client: Client, base: str) -> None:
    created = await client(base, "create", resource=a_patient())

    await client(base, "change", kind="Patient", id=created["id"], elements={"active": True})

    read = await client(base, "read", kind="Patient", id=created["id"])
    assert read["active"] is True
    assert read["meta"]["versionId"] == "2"
    assert await total(base, "Patient") == 1


async def test_a_media_that_was_read_is_changed_and_saved(client: Client, base: str) -> None:
    created = await client(base, "create", resource=a_media())

    await client(base, "change", kind="Media", id=created["id"], elements={"deviceName": "Camera 2"})

    read = await client(base, "read", kind="Media", id=created["id"])
    assert read["deviceName"] == "Camera 2"
    assert read["meta"]["versionId"] == "2"
    assert await client(base, "picture", url=read["content"]["url"]) == sha256(photograph()).hexdigest()
    assert await total(base, "Task") == 1


async def test_what_is_wrong_reaches_the_caller(client: Client, base: str) -> None:
    with pytest.raises(RefusedError) as refused:
        await client(base, "create", resource=a_media(status="photographed"))

    outcome = json.loads(refused.value.why)
    assert refused.value.status in {None, 422}
    assert outcome["resourceType"] == "OperationOutcome"
    assert outcome["issue"][0]["expression"] == ["Media.status"]
    assert outcome["issue"][0]["diagnostics"]
    assert await total(base, "Media") == 0


async def test_the_capabilities_are_read(client: Client, base: str) -> None:
    kinds = await client(base, "metadata")

    assert {"Media", "DiagnosticReport", "Observation", "Task"} <= set(kinds)
