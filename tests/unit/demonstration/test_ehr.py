"""The demonstration EHR does what a real one was seen to do, and says that it is none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fundus_relay.demonstration.ehr import demonstration_ehr

Json = dict[str, Any]  # a FHIR resource

PATIENT = {"reference": "Patient/demo-patient"}


@pytest.fixture
async def ehr() -> AsyncIterator[httpx.AsyncClient]:
    async with a_client() as client:
        yield client


def a_client(state: Path | None = None) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=demonstration_ehr(state)), base_url="http://ehr.test")


def an_observation(value: str = "1", **fields: Any) -> Json:
    return {
        "resourceType": "Observation",
        "identifier": [{"system": "urn:test", "value": value}],
        "status": "preliminary",
        "code": {"text": "x"},
        "subject": PATIENT,
        **fields,
    }


def created(resource: Json, url: str = "urn:uuid:1", **request: str) -> Json:
    """An entry that creates."""
    return {
        "fullUrl": url,
        "resource": resource,
        "request": {"method": "POST", "url": resource["resourceType"], **request},
    }


async def transact(ehr: httpx.AsyncClient, *entries: Json) -> httpx.Response:
    return await ehr.post("/fhir", json={"resourceType": "Bundle", "type": "transaction", "entry": list(entries)})


async def found(ehr: httpx.AsyncClient, kind: str, **query: str) -> list[Json]:
    answer = (await ehr.get(f"/fhir/{kind}", params=query)).json()
    return [entry["resource"] for entry in answer.get("entry", [])]


async def test_it_says_everywhere_that_it_is_only_for_demonstration(ehr: httpx.AsyncClient) -> None:
    metadata = (await ehr.get("/fhir/metadata")).json()
    page = await ehr.get("/")

    for text in (metadata["implementation"]["description"], page.text):
        assert "demonstration and tests only" in text
    assert "demonstration and tests only" in (await ehr.get("/fhir/Patient")).headers["x-demonstration"]


async def test_a_transaction_rewrites_its_placeholders(ehr: httpx.AsyncClient) -> None:
    report = {
        "resourceType": "DiagnosticReport",
        "status": "final",
        "code": {},
        "result": [{"reference": "urn:uuid:1"}],
    }

    answer = await transact(ehr, created(an_observation()), created(report, "urn:uuid:2"))

    assert [entry["response"]["status"] for entry in answer.json()["entry"]] == ["201 Created"] * 2
    ((observation,), (stored,)) = (await found(ehr, "Observation"), await found(ehr, "DiagnosticReport"))
    assert stored["result"] == [{"reference": f"Observation/{observation['id']}"}]


@pytest.mark.parametrize(
    ("bad", "status", "number"),
    [
        (created(an_observation(subject={"reference": "Patient/nobody"}), "urn:uuid:2"), 400, "HAPI-1094"),
        (created(an_observation(subject={"reference": "urn:uuid:9"}), "urn:uuid:2"), 400, "HAPI-0541"),
        (created(an_observation(subject={"reference": "Patient?identifier=a%7Cb"}), "urn:uuid:2"), 404, "HAPI-1091"),
        (created(an_observation()), 400, "HAPI-0534"),
        ({"resource": an_observation()}, 400, "HAPI-0529"),
    ],
    ids=["unknown-reference", "unknown-placeholder", "unknown-patient", "one-full-url-twice", "no-request"],
)
async def test_a_transaction_is_all_or_nothing(ehr: httpx.AsyncClient, bad: Json, status: int, number: str) -> None:
    answer = await transact(ehr, created(an_observation()), bad)

    assert answer.status_code == status
    assert number in answer.json()["issue"][0]["diagnostics"]
    assert await found(ehr, "Observation") == []


async def test_a_patient_may_be_named_by_identifier(ehr: httpx.AsyncClient) -> None:
    subject = {"reference": "Patient?identifier=urn%3Afundus-relay%3Ademo%7Cdemo-patient"}

    await transact(ehr, created(an_observation(subject=subject)))

    assert (await found(ehr, "Observation"))[0]["subject"] == PATIENT


async def test_a_conditional_create_finds_one_and_stops_at_two(ehr: httpx.AsyncClient) -> None:
    condition = {"ifNoneExist": "identifier=urn%3Atest%7C1"}

    statuses = [(await transact(ehr, created(an_observation(), **condition))).json()["entry"] for _ in range(2)]
    assert [entries[0]["response"]["status"] for entries in statuses] == ["201 Created", "200 OK"]
    await transact(ehr, created(an_observation()))
    assert (await transact(ehr, created(an_observation(), **condition))).status_code == 412
    assert len(await found(ehr, "Observation")) == 2


async def test_two_creates_on_one_condition_are_one_and_get_one_answer(ehr: httpx.AsyncClient) -> None:
    condition = {"ifNoneExist": "identifier=urn%3Atest%7C1"}

    answer = await transact(
        ehr, created(an_observation(), **condition), created(an_observation(), "urn:uuid:2", **condition)
    )

    assert len(answer.json()["entry"]) == len(await found(ehr, "Observation")) == 1


async def test_without_a_condition_an_identifier_is_not_unique(ehr: httpx.AsyncClient) -> None:
    for _ in range(2):
        await ehr.post("/fhir/Observation", json=an_observation())

    assert len(await found(ehr, "Observation", identifier="urn:test|1")) == 2


async def test_an_update_of_a_version_that_is_gone_loses(ehr: httpx.AsyncClient) -> None:
    observation = {**an_observation(), "id": "mine"}
    await ehr.put("/fhir/Observation/mine", json=observation)
    await ehr.put("/fhir/Observation/mine", json={**observation, "status": "final"})

    stale = await ehr.put("/fhir/Observation/mine", json=observation, headers={"If-Match": 'W/"1"'})

    assert (stale.status_code, "HAPI-0989" in stale.text) == (409, True)


async def test_equal_content_makes_no_version_and_every_version_can_be_read(ehr: httpx.AsyncClient) -> None:
    observation = {**an_observation(), "id": "mine"}
    for each in (observation, observation, {**observation, "status": "final"}):
        await ehr.put("/fhir/Observation/mine", json=each)

    assert (await ehr.get("/fhir/Observation/mine/_history/1")).json()["status"] == "preliminary"
    assert (await ehr.get("/fhir/Observation/mine")).json()["meta"]["versionId"] == "2"
    assert (await ehr.get("/fhir/Observation/mine/_history/3")).status_code == 404


async def test_searches_find_by_what_reports_are_looked_for(ehr: httpx.AsyncClient) -> None:
    for value in ("1", "2", "odd|, value"):
        await ehr.post("/fhir/Observation", json=an_observation(value))

    assert len(await found(ehr, "Observation", identifier="urn:test|1,urn:test|2")) == 2
    assert len(await found(ehr, "Observation", identifier=r"urn:test|odd\|\, value")) == 1
    assert len(await found(ehr, "Observation", patient="demo-patient")) == 3
    assert await found(ehr, "Observation", patient="second-patient") == []
    form = await ehr.post("/fhir/Observation/_search", data={"subject": "Patient/demo-patient"})
    assert form.json()["total"] == 3


async def test_an_unknown_parameter_is_refused_even_where_nothing_is_stored(ehr: httpx.AsyncClient) -> None:
    assert (await ehr.get("/fhir/Observation", params={"colour": "red"})).status_code == 400


async def test_pages_lead_to_each_resource_once(ehr: httpx.AsyncClient) -> None:
    for value in range(5):
        await ehr.post("/fhir/Observation", json=an_observation(str(value)))

    pages, following = [], "/fhir/Observation?_count=2"
    while following:
        page = (await ehr.get(following)).json()
        pages.append([entry["resource"]["identifier"][0]["value"] for entry in page["entry"]])
        following = next((link["url"] for link in page.get("link", []) if link["relation"] == "next"), "")

    assert pages == [["0", "1"], ["2", "3"], ["4"]]


async def test_a_report_brings_its_observations_along(ehr: httpx.AsyncClient) -> None:
    report = {
        "resourceType": "DiagnosticReport",
        "status": "final",
        "code": {},
        "result": [{"reference": "urn:uuid:1"}],
    }
    await transact(ehr, created(an_observation()), created(report, "urn:uuid:2"))

    kinds = [each["resourceType"] for each in await found(ehr, "DiagnosticReport", _include="DiagnosticReport:result")]

    assert kinds == ["DiagnosticReport", "Observation"]


async def test_a_file_keeps_everything_over_a_restart(tmp_path: Path) -> None:
    async with a_client(tmp_path / "ehr.sqlite") as before:
        await transact(before, created(an_observation()))
        held = await found(before, "Observation")

    async with a_client(tmp_path / "ehr.sqlite") as after:
        assert await found(after, "Observation") == held
        assert (await after.get("/admin/counts")).json() == {"Patient": 2, "Observation": 1}


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b'{"resourceType": 7}'])
async def test_what_is_no_resource_is_refused(ehr: httpx.AsyncClient, body: bytes) -> None:
    for url in ("/fhir", "/fhir/Observation"):
        assert (await ehr.post(url, content=body)).status_code == 400


async def test_the_page_shows_reports_and_runs_nothing_that_was_sent(ehr: httpx.AsyncClient) -> None:
    attack = "<script>alert(1)</script><img/onerror=alert(1) src=x>"
    report = {
        "resourceType": "DiagnosticReport",
        "status": attack,
        "code": {"text": attack},
        "subject": PATIENT,
        "conclusion": f"Right eye: fine. {attack}",
        "text": {"status": "generated", "div": attack},
        "result": [{"reference": "urn:uuid:1"}],
    }
    shown = an_observation(
        bodySite={"text": attack}, code={"text": "Diabetic retinopathy"}, dataAbsentReason={"text": attack}
    )
    await transact(ehr, created(shown), created(report, "urn:uuid:2"))

    page = (await ehr.get("/")).text

    assert "Right eye: fine." in page
    assert "Diabetic retinopathy" in page
    assert "<script" not in page
    assert "<img" not in page
