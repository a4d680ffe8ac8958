"""The FHIR endpoint as its callers meet it: the real application on a real PostgreSQL and real blobs."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from fhir.resources.R4B import get_fhir_model_class
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.serving import an_application
from tests.unit.imaging.pictures import a_jpeg

from fundus_relay.adapters.clock import SystemClock
from fundus_relay.adapters.database.ledger import PostgresLedger
from fundus_relay.adapters.database.pool import open_pool
from fundus_relay.fhir.search_parameters import EVERYWHERE, MANNERS, PARAMETERS

Json = dict[str, Any]
POST_MEDIA = {"method": "POST", "url": "Media"}
BASE = "http://relay.test/fhir"
EHR = "http://ehr.test/r4"
FHIR = "application/fhir+json"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def picture() -> bytes:
    return a_jpeg()


@pytest.fixture
async def client(ledger: PostgresLedger, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    app = an_application(ledger, tmp_path, max_body_bytes=10_000_000, ehr_urls=(EHR,))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url=BASE, headers={"Content-Type": FHIR}
    ) as client:
        yield client


def a_media(picture: bytes, **elements: Any) -> Json:
    return {
        "resourceType": "Media",
        "status": "completed",
        "subject": {"reference": "Patient/p1"},
        "content": {"contentType": "image/jpeg", "data": base64.b64encode(picture).decode()},
        **elements,
    }


def a_patient(id: str = "p1", **elements: Any) -> Json:
    return {
        "resourceType": "Patient",
        "id": id,
        "identifier": [{"system": "urn:mrn", "value": id}],
        **elements,
    }


async def put(client: httpx.AsyncClient, resource: Json, **headers: str) -> httpx.Response:
    return await client.put(
        f"/{resource['resourceType']}/{resource['id']}", content=json.dumps(resource), headers=headers
    )


async def post(client: httpx.AsyncClient, resource: Json, path: str | None = None, **headers: str) -> httpx.Response:
    return await client.post(
        path or f"/{resource['resourceType']}",
        content=json.dumps(resource),
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def ids(bundle: Json, mode: str = "match") -> list[str]:
    return [entry["resource"]["id"] for entry in bundle.get("entry", []) if entry["search"]["mode"] == mode]


def assert_is_fhir(resource: Json) -> None:
    get_fhir_model_class(resource["resourceType"]).model_validate(resource)


def assert_refused(response: httpx.Response, status: int, code: str) -> None:
    assert response.status_code == status, response.text
    body = response.json()
    assert_is_fhir(body)
    assert response.headers["content-type"].startswith(FHIR)
    assert body["issue"][0]["details"]["coding"][0]["code"] == code


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("content_type", [FHIR, "application/json", "application/fhir+json; charset=UTF-8"])
async def test_a_media_is_created_with_all_that_callers_need(
    client: httpx.AsyncClient, picture: bytes, slash: str, content_type: str
) -> None:
    created = await post(client, a_media(picture), f"/Media{slash}", content_type=content_type)

    body = created.json()
    assert created.status_code == 201
    assert created.headers["location"] == f"{BASE}/Media/{body['id']}/_history/1"
    assert created.headers["etag"] == 'W/"1"'
    assert "last-modified" in created.headers
    assert "data" not in body["content"]
    assert body["content"]["url"] == f"{BASE}/Binary/{body['id']}"
    assert_is_fhir(body)


async def test_the_photograph_is_read_back_byte_by_byte(client: httpx.AsyncClient, picture: bytes) -> None:
    media = (await post(client, a_media(picture))).json()

    raw = await client.get(media["content"]["url"])
    wrapped = await client.get(media["content"]["url"], headers={"Accept": FHIR})
    again = await client.get(media["content"]["url"], headers={"If-None-Match": raw.headers["etag"]})

    assert raw.headers["content-type"] == "image/jpeg"
    assert raw.content == picture
    assert base64.b64decode(wrapped.json()["data"]) == picture
    assert_is_fhir(wrapped.json())
    assert again.status_code == 304


async def test_a_photograph_of_one_patient_in_several_spellings_is_one_image(
    client: httpx.AsyncClient, ledger: PostgresLedger, picture: bytes
) -> None:
    spellings = ["Patient/p1", "Patient/p1/_history/1", f"{EHR}/Patient/p1", f"{BASE}/Patient/p1"]

    for spelling in spellings:
        created = await post(client, a_media(picture, subject={"reference": spelling}))
        assert created.json()["subject"]["reference"] == "Patient/p1"

    assert (await ledger.census()).images == {"received": 1}


@pytest.mark.parametrize("subject", ["Patient/relay-nobody", f"{BASE}/Patient/relay-nobody/_history/1"])
async def test_an_id_of_ours_that_we_never_gave_is_refused(
    client: httpx.AsyncClient, picture: bytes, subject: str
) -> None:
    refused = await post(client, a_media(picture, subject={"reference": subject}))

    assert_refused(refused, 422, "reference-unresolved")
    assert refused.json()["issue"][0]["expression"] == ["Media.subject.reference"]


async def test_two_transactions_with_the_same_studies_in_another_order_both_succeed(
    client: httpx.AsyncClient, picture: bytes
) -> None:
    visits = [
        {"resource": a_media(picture, encounter={"reference": f"Encounter/{n}"}), "request": POST_MEDIA}
        for n in range(6)
    ]
    bundles = [{"resourceType": "Bundle", "type": "transaction", "entry": entry} for entry in (visits, visits[::-1])]

    answers = await asyncio.gather(*(post(client, bundle, "/") for bundle in bundles * 3))

    assert {answer.status_code for answer in answers} == {200}


async def test_a_task_tells_of_the_submission(client: httpx.AsyncClient, picture: bytes) -> None:
    media = (await post(client, a_media(picture))).json()

    tasks = (await client.get("/Task", params={"focus": f"{BASE}/Media/{media['id']}"})).json()

    assert len(ids(tasks)) == 1


@pytest.mark.parametrize(
    ("preference", "status", "kind"),
    [
        ("return=minimal", 201, None),
        ("return=representation", 201, "Media"),
        ("return=OperationOutcome", 201, "OperationOutcome"),
        ("respond-async", 202, "OperationOutcome"),
    ],
)
async def test_preferences_are_honoured(
    client: httpx.AsyncClient, picture: bytes, preference: str, status: int, kind: str | None
) -> None:
    created = await post(client, a_media(picture), prefer=preference)

    assert created.status_code == status
    assert (created.json()["resourceType"] if created.content else None) == kind


async def test_an_asynchronous_answer_leads_to_the_task(client: httpx.AsyncClient, picture: bytes) -> None:
    created = await post(client, a_media(picture), prefer="respond-async")

    task = await client.get(created.headers["content-location"])

    assert task.json()["resourceType"] == "Task"


async def test_an_asynchronous_batch_still_says_what_was_refused(client: httpx.AsyncClient, picture: bytes) -> None:
    for id in ("d1", "d2"):
        await put(client, {"resourceType": "Device", "id": id, "status": "active"})
    one_of_two = {"method": "POST", "url": "Device", "ifNoneExist": "status=active"}
    good = {"resource": a_media(picture), "request": {"method": "POST", "url": "Media"}}
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": [good]}
    mixed = {**bundle, "entry": [good, {"resource": {"resourceType": "Device"}, "request": one_of_two}]}

    taken = await post(client, bundle, "/", prefer="respond-async")
    refused = await post(client, mixed, "/", prefer="respond-async")

    assert taken.status_code == 202
    assert refused.status_code == 200
    assert refused.json()["entry"][1]["response"]["status"].startswith("412")


@pytest.mark.parametrize(
    ("criteria", "code"),
    [
        (["identifier=urn:d|1", "?identifier=urn:d%7C1"], "entry-twice"),
        (["_format=json"], "search-parameter"),
        (["colour=red"], "search-parameter"),
    ],
)
async def test_conditions_in_a_transaction_must_each_select_something_else(
    client: httpx.AsyncClient, criteria: list[str], code: str
) -> None:
    entries = [
        {"resource": {"resourceType": "Device"}, "request": {"method": "POST", "url": "Device", "ifNoneExist": each}}
        for each in criteria
    ]

    refused = await post(client, {"resourceType": "Bundle", "type": "transaction", "entry": entries}, "/")

    assert_refused(refused, 422, code)
    assert refused.json()["issue"][0]["expression"][0].endswith(".request.ifNoneExist")
    assert (await client.get("/Device?_summary=count")).json()["total"] == 0


async def test_put_of_what_must_be_new_creates_once(client: httpx.AsyncClient) -> None:
    created = await put(client, a_patient(), **{"If-None-Match": "*"})
    again = await put(client, a_patient(gender="male"), **{"If-None-Match": "*"})

    assert created.status_code == 201
    assert_refused(again, 412, "version-conflict")
    assert (await client.get("/Patient/p1")).headers["etag"] == 'W/"1"'


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/Patient/p1", [("If-None-Match", 'W/"1"')]),
        ("/Patient/p1", [("If-None-Match", "*"), ("If-Match", 'W/"1"')]),
        ("/Patient/p1", [("If-Match", 'W/"0"')]),
        ("/Patient/p1", [("If-Match", 'W/"1"'), ("If-Match", 'W/"2"')]),
        ("/Patient/p1", [("If-Match", "*")]),
        ("/Patient/p1", [("If-Unmodified-Since", "Mon, 01 Jan 2024 00:00:00 GMT")]),
        ("/Patient/p1", [("If-None-Exist", "identifier=urn:mrn|p1")]),
        ("/Patient", [("If-Match", 'W/"1"')]),
        ("/Patient", [("If-None-Match", "*")]),
        ("/Patient", [("If-Modified-Since", "Mon, 01 Jan 2024 00:00:00 GMT")]),
        ("/Patient", [("If-None-Exist", "identifier=urn:mrn|p1"), ("If-None-Exist", "identifier=urn:mrn|p2")]),
        ("/Patient?identifier=urn:mrn|p2", [("If-None-Exist", "identifier=urn:mrn|p1")]),
        ("/", [("If-None-Exist", "identifier=urn:mrn|p1")]),
        ("/", [("If-Match", 'W/"1"')]),
    ],
)
async def test_a_condition_that_cannot_be_honoured_is_refused(
    client: httpx.AsyncClient, path: str, headers: list[tuple[str, str]]
) -> None:
    method = "PUT" if path == "/Patient/p1" else "POST"
    body = a_patient() if path != "/" else {"resourceType": "Bundle", "type": "batch"}

    refused = await client.request(
        method, path, content=json.dumps(body), headers=[*headers, ("Content-Type", "application/json")]
    )

    assert_refused(refused, 400, "request-malformed")
    assert refused.json()["issue"][0]["expression"][0].startswith("http.If-")
    assert (await client.get("/Patient?_summary=count")).json()["total"] == 0


async def test_put_creates_then_updates_and_guards_versions(client: httpx.AsyncClient) -> None:
    created = await put(client, a_patient())
    updated = await put(client, a_patient(gender="female"), **{"If-Match": 'W/"1"'})
    late = await put(client, a_patient(gender="male"), **{"If-Match": 'W/"1"'})
    odd = await put(client, a_patient(gender="male"), **{"If-Match": "yesterday"})
    same = await put(client, a_patient(gender="female"))

    assert created.status_code == 201
    assert updated.status_code == 200
    assert updated.headers["etag"] == 'W/"2"'
    assert_refused(late, 412, "version-conflict")
    assert_refused(odd, 400, "request-malformed")
    assert same.headers["etag"] == 'W/"2"'


async def test_a_media_that_was_read_can_be_changed_and_saved(client: httpx.AsyncClient, picture: bytes) -> None:
    read = (await client.post("/Media", content=json.dumps(a_media(picture)))).json()
    changed = {**read, "note": [{"text": "second look"}]}

    saved = await client.put(f"/Media/{read['id']}", content=json.dumps(changed))

    assert saved.status_code == 200, saved.text
    assert saved.json()["meta"]["versionId"] == "2"
    assert (await client.get(f"/Binary/{read['id']}")).content == picture
    assert (await client.get("/Task", params={"_summary": "count"})).json()["total"] == 1


async def test_put_under_another_id_is_refused(client: httpx.AsyncClient) -> None:
    response = await client.put("/Patient/p2", content=json.dumps(a_patient("p1")))

    assert_refused(response, 422, "id-mismatch")


async def test_versions_are_read_and_known_ones_are_not_sent_again(client: httpx.AsyncClient) -> None:
    await put(client, a_patient())
    await put(client, a_patient(gender="female"))

    first = await client.get("/Patient/p1/_history/1")
    newest = await client.get("/Patient/p1/")
    known = await client.get("/Patient/p1", headers={"If-None-Match": newest.headers["etag"]})
    unknown = await client.get("/Patient/p1", headers={"If-None-Match": 'W/"1"'})

    assert "gender" not in first.json()
    assert first.headers["etag"] == 'W/"1"'
    assert newest.json()["meta"]["versionId"] == "2"
    assert known.status_code == 304
    assert unknown.status_code == 200
    assert_refused(await client.get("/Patient/p1/_history/3"), 404, "not-found")
    assert_refused(await client.get("/Patient/p1/_history/x"), 404, "not-found")
    assert_refused(await client.get("/Patient/nobody"), 404, "not-found")


@pytest.mark.parametrize("dialect", ["header", "query"])
async def test_eight_conditional_creates_at_once_make_one(
    client: httpx.AsyncClient, picture: bytes, dialect: str
) -> None:
    media = a_media(picture, identifier=[{"system": "urn:s", "value": "1"}])
    path = "/Media?identifier=urn:s%7C1" if dialect == "query" else "/Media"
    headers = {"if_none_exist": "identifier=urn:s|1"} if dialect == "header" else {}

    answers = await asyncio.gather(*(post(client, media, path, **headers) for _ in range(8)))

    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert (await client.get("/Media?_summary=count")).json()["total"] == 1


async def test_both_dialects_of_conditional_create_race_as_one(client: httpx.AsyncClient, picture: bytes) -> None:
    media = a_media(picture, identifier=[{"system": "urn:s", "value": "1"}])

    answers = await asyncio.gather(
        *(post(client, media, "/Media?identifier=urn:s%7C1") for _ in range(4)),
        *(post(client, media, if_none_exist="?identifier=urn:s|1") for _ in range(4)),
    )

    assert len({answer.json()["id"] for answer in answers}) == 1


async def test_every_photograph_of_a_bundle_leads_to_its_task(client: httpx.AsyncClient, picture: bytes) -> None:
    order = {"basedOn": [{"reference": "ServiceRequest/9"}]}
    entries = [
        {"resource": a_media(each, **order), "request": {"method": "POST", "url": "Media"}}
        for each in (picture, a_jpeg(noise=3), a_jpeg(noise=4))
    ]
    answer = await post(client, {"resourceType": "Bundle", "type": "transaction", "entry": entries}, "/")
    media = [entry["response"]["location"].split("/_history")[0] for entry in answer.json()["entry"]]

    tasks = [ids((await client.get("/Task", params={"focus": each})).json()) for each in media]
    task = (await client.get(f"/Task/{tasks[0][0]}")).json()

    assert len(tasks[0]) == 1
    assert tasks == [tasks[0]] * 3
    assert [task["focus"]["reference"], *(each["valueReference"]["reference"] for each in task["input"])] == [
        media[0].partition("/fhir/")[2] or media[0],
        *(each.partition("/fhir/")[2] or each for each in media),
    ]


ONCE = "identifier=urn:s|1"
NAMED = [{"system": "urn:s", "value": "1"}]


async def test_a_condition_that_finds_another_photograph_is_no_success(
    client: httpx.AsyncClient, picture: bytes
) -> None:
    media = a_media(picture, identifier=NAMED)
    await post(client, media, if_none_exist=ONCE)

    of_another = await post(client, {**media, "subject": {"reference": "Patient/p2"}}, if_none_exist=ONCE)
    another = await post(client, a_media(a_jpeg(noise=3), identifier=NAMED), if_none_exist=ONCE)
    again = await post(client, media, if_none_exist=ONCE)

    assert_refused(of_another, 422, "match-differs")
    assert_refused(another, 422, "match-differs")
    assert again.status_code == 200
    assert (await client.get("/Media?_summary=count")).json()["total"] == 1


async def test_a_condition_finds_a_patient_that_came_in_two_bundles(client: httpx.AsyncClient, picture: bytes) -> None:
    media = a_media(picture, identifier=NAMED, subject={"reference": "urn:uuid:p"})
    patient = {name: value for name, value in a_patient().items() if name != "id"}
    entries = [
        {"fullUrl": "urn:uuid:p", "resource": patient, "request": {"method": "POST", "url": "Patient"}},
        {"resource": media, "request": {"method": "POST", "url": "Media", "ifNoneExist": ONCE}},
    ]
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}

    answers = [(await post(client, bundle, "/")).json()["entry"][1]["response"]["status"] for _ in range(2)]

    assert [answer[:3] for answer in answers] == ["201", "200"]


async def test_a_condition_does_not_find_what_was_withdrawn(client: httpx.AsyncClient, picture: bytes) -> None:
    media = a_media(picture, identifier=NAMED)
    first = (await post(client, media, if_none_exist=ONCE)).json()
    await put(client, {**first, "status": "entered-in-error"})

    again = await post(client, media, if_none_exist=ONCE)

    assert again.status_code == 201
    assert again.json()["id"] != first["id"]


@pytest.mark.parametrize("is_put", [True, False], ids=["put", "posted"])
async def test_a_stored_order_of_somebody_else_is_not_taken_for_a_photograph(
    client: httpx.AsyncClient, picture: bytes, is_put: bool
) -> None:
    order = {
        "resourceType": "ServiceRequest",
        "id": "so4",
        "status": "active",
        "intent": "order",
        "subject": {"reference": "Patient/p1"},
    }
    stored = (await (put(client, order) if is_put else post(client, order))).json()
    named = {"basedOn": [{"reference": f"ServiceRequest/{stored['id']}"}]}

    theirs = await post(client, a_media(picture, subject={"reference": "Patient/p2"}, **named))
    own = await post(client, a_media(picture, **named))

    assert_refused(theirs, 422, "patient-mismatch")
    assert own.status_code == 201


async def test_a_condition_that_several_match_is_refused(client: httpx.AsyncClient) -> None:
    await put(client, a_patient("p1", gender="female"))
    await put(client, a_patient("p2", gender="female"))

    refused = await post(client, a_patient("p3"), if_none_exist="gender=female")

    assert_refused(refused, 412, "criteria-not-selective")


@pytest.mark.parametrize("criteria", ["_sort=_lastUpdated", "colour=red", "identifier=", "", "_count=1"])
async def test_a_condition_that_selects_nothing_is_refused(client: httpx.AsyncClient, criteria: str) -> None:
    assert_refused(await post(client, a_patient(), if_none_exist=criteria), 400, "search-parameter")


async def test_gzip_is_taken_off(client: httpx.AsyncClient, picture: bytes) -> None:
    zipped = gzip.compress(json.dumps(a_media(picture)).encode())

    created = await client.post("/Media", content=zipped, headers={"Content-Encoding": "gzip"})

    assert created.status_code == 201


@pytest.mark.parametrize(
    ("headers", "body", "status", "code"),
    [
        ({"Content-Type": "application/fhir+xml"}, b"<Media/>", 415, "body-type"),
        ({"Content-Type": "application/json; charset=latin-1"}, b"{}", 415, "body-type"),
        ({"Content-Type": "application/fhir+json; fhirVersion=5.0"}, b"{}", 415, "body-type"),
        ({"Content-Type": ""}, b"{}", 415, "body-type"),
        ({"Content-Encoding": "br"}, b"{}", 415, "body-type"),
        ({"Content-Encoding": "gzip"}, b"not gzip", 400, "request-malformed"),
        ({"Content-Encoding": "gzip"}, gzip.compress(b'{"a": 1}' * 1000, mtime=0)[:-12], 400, "request-malformed"),
        ({"Content-Encoding": "gzip"}, gzip.compress(b" " * 9_000_000, mtime=0), 413, "body-too-large"),
        ({}, b" " * 10_000_001, 413, "body-too-large"),
        ({"Accept": "application/fhir+xml"}, b"{}", 406, "json-only"),
        ({"Accept": "application/fhir+json;q=0"}, b"{}", 406, "json-only"),
    ],
)
async def test_bodies_and_wishes_that_are_not_json_are_refused(
    client: httpx.AsyncClient, headers: dict[str, str], body: bytes, status: int, code: str
) -> None:
    assert_refused(await client.post("/Media", content=body, headers=headers), status, code)


@pytest.mark.parametrize(
    ("query", "accept", "status"),
    [
        ("_format=xml", FHIR, 406),
        ("_format=json", "application/xml", 200),
        ("_format=application/fhir%2Bjson", "application/xml", 200),
        ("_format=application/fhir+json", "*/*", 200),
        ("", "text/html,application/xml;q=0.9,*/*;q=0.8", 200),
    ],
)
async def test_format_in_the_url_counts_more_than_accept(
    client: httpx.AsyncClient, query: str, accept: str, status: int
) -> None:
    response = await client.get(f"/metadata?{query}", headers={"Accept": accept})

    assert response.status_code == status


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("DELETE", "/Media/x", 405, "GET, PUT"),
        ("PATCH", "/Media/x/", 405, "GET, PUT"),
        ("POST", "/DiagnosticReport", 405, "GET"),
        ("PUT", "/Task/x", 405, "GET"),
        ("GET", "", 405, "POST"),
        ("DELETE", "/Media", 405, "GET, POST"),
        ("OPTIONS", "/Patient", 405, "GET, POST"),
        ("GET", "/Banana", 404, None),
        ("POST", "/Banana", 404, None),
        ("GET", "/Media/x/y/z", 404, None),
    ],
)
async def test_what_cannot_be_done_is_refused_in_words(
    client: httpx.AsyncClient, method: str, path: str, status: int, allow: str | None
) -> None:
    response = await client.request(method, path)

    assert response.status_code == status
    assert response.headers.get("allow") == allow
    assert_is_fhir(response.json())


@pytest.mark.parametrize(
    "path", ["", "/", "/Patient", "/Patient/", "/Patient/p1", "/Patient/p1/", "http://relay.test/livez/"]
)
async def test_nothing_is_ever_redirected(client: httpx.AsyncClient, path: str) -> None:
    for method in ("GET", "POST", "PUT"):
        response = await client.request(method, path, content=b"{}")

        assert not response.is_redirect


async def test_the_capability_statement_is_fhir_and_keeps_its_promises(client: httpx.AsyncClient) -> None:
    statement = (await client.get("/metadata")).json()

    assert_is_fhir(statement)
    for described in statement["rest"][0]["resource"]:
        for parameter in described.get("searchParam", []):
            value = {"date": "2024", "token": "x", "reference": "x", "uri": "x", "string": "x"}[parameter["type"]]
            found = await client.get(f"/{described['type']}", params={parameter["name"]: value})
            assert found.status_code == 200, found.text
        for include in described.get("searchInclude", []):
            found = await client.get(f"/{described['type']}", params={"_include": include})
            assert found.status_code == 200, found.text


@pytest.mark.parametrize("length", [4000, 50_000])
async def test_an_identifier_beyond_all_measure_is_refused_at_its_place_and_found_nowhere(
    client: httpx.AsyncClient, picture: bytes, length: int
) -> None:
    value = secrets.token_urlsafe(length)[:length]
    identifier = [{"system": "urn:mrn", "value": value}]

    media = await post(client, a_media(picture, identifier=identifier))
    patient = await put(client, a_patient(identifier=identifier))
    condition = await post(client, a_media(picture), if_none_exist=f"identifier={value}")
    found = await client.post("/Patient/_search", data={"identifier": f"urn:mrn|{value}"}, headers=FORM)

    assert_refused(media, 422, "value-too-long")
    assert_refused(patient, 422, "value-too-long")
    assert media.json()["issue"][0]["expression"] == ["Media.identifier[0]"]
    assert condition.status_code == 201
    assert found.json()["total"] == 0


ODD = st.sampled_from([
    "", "\0", "a\0b", "\\", "\\,", ",", "|", "a|", "|a", "a|b|c", "%", "'", "{}", "x" * 3000, "\ud83d", "-0", "1" * 20,
    "Patient/p1", "Patient/\0", "http://e/Patient/p1", "urn:mrn|p1", "Media:subject", "Media:*", "*", "2024-02-30",
])  # fmt: skip
TIMES = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "ge", "gt", "le", "ne", "sa", "ap"]),
    st.sampled_from(["0000", "0001", "0001-01-01", "9999", "9999-12", "9999-12-31", "2024-02-30", "1900-01-01"]),
    st.sampled_from(["", "T00:00", "T23:59:59", "T23:59:60", "T00:00:00.000000001", "T23:59:59.999999"]),
    st.sampled_from(["", "Z", "+14:00", "-14:00", "+99:99", " 00:01"]),
)
INCLUDED = st.builds("{}:subject:{}".format, st.sampled_from(["Media", "Task", "Banana", "\0"]), ODD)
NAMES = st.builds(
    "{}{}".format,
    st.one_of(
        ODD,
        st.sampled_from([*EVERYWHERE, *MANNERS, "_revinclude", "_sort", "_has:Media:x:y"]),
        st.sampled_from(sorted({name for parameters in PARAMETERS.values() for name in parameters})),
    ),
    st.sampled_from(["", "", ":not", ":identifier", ":Patient", ":Patient.identifier", ".identifier", ".x", ":\0"]),
)
PAIRS = st.one_of(
    st.tuples(st.just("_lastUpdated"), TIMES),
    st.tuples(st.sampled_from(["_include", "_include:iterate"]), INCLUDED),
    st.tuples(NAMES, st.one_of(ODD, st.text(max_size=9), st.builds("{},{}|{}".format, ODD, ODD, ODD))),
)


@given(
    kind=st.sampled_from(["Media", "Patient", "Task", "Observation", "Provenance"]),
    query=st.lists(PAIRS, min_size=1, max_size=3),
    lenient=st.booleans(),
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_search_is_the_servers_fault(
    client: httpx.AsyncClient, kind: str, query: list[tuple[str, str]], lenient: bool
) -> None:
    form = urlencode(query, errors="surrogatepass")
    wishes = {"Prefer": "handling=lenient"} if lenient else {}

    answers = [
        await client.get(f"/{kind}?{form}", headers=wishes),
        await client.post(f"/{kind}/_search", content=form, headers={**FORM, **wishes}),
        await post(client, a_patient("px"), "/Patient", if_none_exist=form),
    ]

    for answer in answers:
        assert answer.status_code < 500, answer.text
        assert_is_fhir(answer.json())


async def test_next_links_lead_through_all_pages_without_loss(client: httpx.AsyncClient) -> None:
    for number in range(7):
        await put(client, a_patient(f"p{number}", gender="female"))
    seen: list[str] = []
    url: str | None = "/Patient?gender=female&_count=3"
    while url:
        page = (await client.get(url)).json()
        assert_is_fhir(page)
        assert page["total"] == 7
        seen += ids(page)
        links = {link["relation"]: link["url"] for link in page["link"]}
        url = links.get("next")

    assert sorted(seen) == [f"p{number}" for number in range(7)]


async def test_post_search_finds_what_get_finds_and_includes(client: httpx.AsyncClient, picture: bytes) -> None:
    await put(client, a_patient())
    await post(client, a_media(picture))

    form = {"patient": "p1", "_include": "Media:subject"}
    posted = (await client.post("/Media/_search", data=form, headers=FORM)).json()
    got = (await client.get("/Media", params=form)).json()

    assert ids(posted) == ids(got) != []
    assert ids(posted, "include") == ["p1"]
    assert_refused(await client.post("/Media/_search", content=b"{}"), 415, "body-type")


async def test_unknown_parameters_are_refused_unless_the_caller_is_lenient(client: httpx.AsyncClient) -> None:
    await put(client, a_patient())

    strict = await client.get("/Patient?colour=red")
    lenient = await client.get("/Patient?colour=red", headers={"Prefer": "handling=lenient"})

    assert_refused(strict, 400, "search-parameter")
    assert strict.json()["issue"][0]["expression"] == ["http.colour"]
    assert ids(lenient.json()) == ["p1"]
    assert "colour" not in lenient.json()["link"][0]["url"]


@pytest.mark.parametrize("query", ["_count=-1", "_offset=x", "_lastUpdated=soon", "identifier=%FF", "identifier=%00"])
async def test_values_that_do_not_parse_are_refused(client: httpx.AsyncClient, query: str) -> None:
    assert_refused(await client.get(f"/Patient?{query}"), 400, "search-parameter")


@pytest.mark.parametrize("slash", ["", "/"])
async def test_a_transaction_is_answered_entry_by_entry(client: httpx.AsyncClient, picture: bytes, slash: str) -> None:
    patient = {**a_patient(), "id": "x"}
    bundle = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {
                "fullUrl": "urn:uuid:8d1dc40b-7b2d-4a53-a0ad-3f39c4d4fa6f",
                "resource": a_media(picture, subject={"reference": "urn:uuid:1bbf6b4b-8f32-4d9a-a1a2-bb7a8b4c7e11"}),
                "request": {"method": "POST", "url": "Media"},
            },
            {
                "fullUrl": "urn:uuid:1bbf6b4b-8f32-4d9a-a1a2-bb7a8b4c7e11",
                "resource": {key: value for key, value in patient.items() if key != "id"},
                "request": {"method": "POST", "url": "Patient", "ifNoneExist": "identifier=urn:mrn|p1"},
            },
        ],
    }

    first = await client.post(slash, content=json.dumps(bundle), headers={"Prefer": "return=representation"})
    again = await client.post(slash, content=json.dumps(bundle))

    answer = first.json()
    assert_is_fhir(answer)
    assert answer["type"] == "transaction-response"
    media, patient = answer["entry"]
    assert media["response"]["status"] == "201 Created"
    assert media["response"]["location"] == f"Media/{media['resource']['id']}/_history/1"
    assert media["resource"]["subject"]["reference"] == f"Patient/{patient['resource']['id']}"
    assert media["resource"]["content"]["url"].startswith(BASE)
    assert again.json()["entry"][1]["response"]["status"] == "200 OK"
    assert "resource" not in again.json()["entry"][1]


async def test_each_entry_of_a_batch_has_its_own_fate(client: httpx.AsyncClient) -> None:
    await put(client, a_patient("p1", gender="female"))
    await put(client, a_patient("p2", gender="female"))
    bundle = {
        "resourceType": "Bundle",
        "type": "batch",
        "entry": [
            {
                "resource": a_patient("p3"),
                "request": {"method": "POST", "url": "Patient", "ifNoneExist": "gender=female"},
            },
            {"resource": a_patient("p4"), "request": {"method": "PUT", "url": "Patient/p4"}},
        ],
    }

    answer = (await client.post("", content=json.dumps(bundle))).json()

    assert_is_fhir(answer)
    refused, taken = answer["entry"]
    assert refused["response"]["status"].startswith("412")
    assert refused["response"]["outcome"]["resourceType"] == "OperationOutcome"
    assert taken["response"]["status"] == "201 Created"


async def test_an_entry_of_a_batch_is_told_ten_of_its_errors_at_most(client: httpx.AsyncClient) -> None:
    post = {"method": "POST", "url": "Patient"}
    bundle = {
        "resourceType": "Bundle",
        "type": "batch",
        "entry": [{"resource": a_patient("p1", name=[{}] * 50), "request": post}],
    }

    answer = (await client.post("", content=json.dumps(bundle))).json()

    assert_is_fhir(answer)
    (entry,) = answer["entry"]
    assert len(entry["response"]["outcome"]["issue"]) == 10


async def test_what_is_wrong_with_one_entry_of_a_batch_harms_no_other(
    client: httpx.AsyncClient, picture: bytes
) -> None:
    media = {"method": "POST", "url": "Media"}
    bundle = {
        "resourceType": "Bundle",
        "type": "batch",
        "entry": [
            {"resource": a_media(picture, status="bogus"), "request": media},
            {"resource": a_media(picture[:3000]), "request": media},
            {"resource": a_media(picture), "request": media},
            {"resource": {"resourceType": "Banana"}, "request": {"method": "POST", "url": "Banana"}},
        ],
    }

    answer = (await client.post("", content=json.dumps(bundle))).json()

    assert_is_fhir(answer)
    assert [entry["response"]["status"][:3] for entry in answer["entry"]] == ["422", "422", "201", "422"]
    places = [entry["response"]["outcome"]["issue"][0]["expression"][0] for entry in answer["entry"][:2]]
    assert places == ["Bundle.entry[0].resource.status", "Bundle.entry[1].resource.content.data"]
    assert (await client.get("/Media", params={"_summary": "count"})).json()["total"] == 1


async def test_what_is_not_json_is_refused_as_such(client: httpx.AsyncClient) -> None:
    response = await client.post("/Media", content=b"{")

    assert response.status_code == 400
    assert_is_fhir(response.json())


async def test_without_a_database_nothing_is_taken_and_the_probes_tell(tmp_path: Path, picture: bytes) -> None:
    async with open_pool("postgresql://nobody@127.0.0.1:1/none", size=1) as pool:
        app = an_application(PostgresLedger(pool, SystemClock(), _no_engine), tmp_path, max_body_bytes=10_000_000)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=BASE) as client:
            ready, live = await client.get("http://relay.test/readyz"), await client.get("http://relay.test/livez")
            refused = await post(client, a_media(picture), content_type=FHIR)

    assert ready.status_code == 503
    assert live.status_code == 200
    assert_refused(refused, 503, "store-unavailable")
    assert int(refused.headers["retry-after"]) > 0


async def _no_engine(*_: object) -> None:
    raise AssertionError("nothing was accepted")


async def test_a_photograph_is_taken_back_by_what_we_showed_and_no_pixels_are_needed(
    client: httpx.AsyncClient, picture: bytes
) -> None:
    await put(client, a_media(picture, id="m1"))
    shown = (await client.get("/Media/m1")).json()

    withdrawn = await put(client, {**shown, "status": "entered-in-error"})
    bare = {"resourceType": "Media", "id": "m1", "status": "entered-in-error", "subject": {"reference": "Patient/p1"}}
    again = await put(client, {**bare, "content": {"contentType": "image/jpeg"}})

    assert (withdrawn.status_code, withdrawn.json()["status"]) == (200, "entered-in-error")
    assert (again.status_code, again.headers["ETag"]) == (200, withdrawn.headers["ETag"])
    assert withdrawn.json()["content"] == shown["content"]


async def test_an_unknown_photograph_cannot_be_taken_back(client: httpx.AsyncClient, picture: bytes) -> None:
    refused = await put(client, a_media(picture, id="never-seen", status="entered-in-error"))

    assert refused.status_code == 422
    assert (await client.get("/Media/never-seen")).status_code == 404
