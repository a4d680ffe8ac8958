"""The guide at the endpoint: whatever canonical we send can be asked for where it came from."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fhir.resources.R4B import get_fhir_model_class
from tests.serving import an_application

from fundus_relay import guide
from fundus_relay.adapters.database.ledger import PostgresLedger
from fundus_relay.domain.values import Json
from fundus_relay.fhir.definitions import KINDS
from fundus_relay.fhir.names import CANONICAL

BASE = "http://relay.test/fhir"
GOLDEN = Path(__file__).parents[1] / "golden"
EVERY = [pytest.param(kind, id, id=f"{kind}-{id}") for kind in KINDS for id in guide.artefacts(kind)]


@pytest.fixture
async def client(ledger: PostgresLedger, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    app = an_application(ledger, tmp_path)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=BASE) as client:
        yield client


def canonicals(part: Any) -> Iterator[str]:  # Any: parsed JSON
    """Every canonical of ours of a resource that a client may look up."""
    if isinstance(part, dict):
        for name, value in part.items():
            if name == "profile":
                yield from value
            elif name in ("system", "url") and isinstance(value, str) and value.startswith(f"{CANONICAL}/"):
                yield value
            else:
                yield from canonicals(value)
    elif isinstance(part, list):
        for each in part:
            yield from canonicals(each)


@pytest.mark.parametrize(("kind", "id"), EVERY)
async def test_everything_that_the_guide_defines_is_read_and_found(
    client: httpx.AsyncClient, kind: str, id: str
) -> None:
    answer = await client.get(f"/{kind}/{id}")
    defined = answer.json()

    assert answer.status_code == 200
    assert defined == guide.artefact(kind, id)
    get_fhir_model_class(kind).model_validate(defined)
    for by in ({"url": defined["url"]}, {"_id": id}, {"name": defined["name"].upper(), "url": defined["url"]}):
        found = (await client.get(f"/{kind}", params=by)).json()
        assert [entry["resource"]["id"] for entry in found["entry"]] == [id]
        assert found["entry"][0]["fullUrl"] == f"{BASE}/{kind}/{id}"
    assert (await client.get(f"/{kind}/{id}", headers={"If-None-Match": answer.headers["etag"]})).status_code == 304


async def test_every_canonical_of_what_we_emit_is_defined_here(client: httpx.AsyncClient) -> None:
    told = [json.loads(path.read_text()) for path in sorted(GOLDEN.glob("*.json"))]
    refused = (await client.post("/Media", json={"resourceType": "Media"})).json()
    metadata = (await client.get("/metadata")).json()
    named = {
        each for each in canonicals([told, refused, metadata]) if "/sid/" not in each and each.startswith(CANONICAL)
    }

    for url in [*sorted(named), *metadata["instantiates"]]:
        kind = url.removeprefix(f"{CANONICAL}/").partition("/")[0]
        assert (await client.get(f"/{kind}", params={"url": url})).json()["total"] == 1, url


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("url=https://fundus-relay.dev/fhir/CodeSystem/none", 0),
        ("_id=netra-dr,task", 2),
        ("name:exact=netradr", 0),
        ("name:contains=DR", 1),
        ("status=active", 4),
        ("status=draft", 0),
        ("_format=json", 4),
        ("status=http://hl7.org/fhir/publication-status|active", 4),
        ("url=https://fundus-relay.dev/fhir/CodeSystem/task,https://fundus-relay.dev/fhir/CodeSystem/netra-dr", 2),
    ],
)
async def test_a_search_finds_what_it_asks_for(client: httpx.AsyncClient, query: str, count: int) -> None:
    found = (await client.get(f"/CodeSystem?{query}")).json()
    by_form = await client.post(
        "/CodeSystem/_search", content=query, headers={"Content-Type": "application/x-www-form-urlencoded"}
    )

    assert found["total"] == len(found.get("entry", [])) == by_form.json()["total"] == count


async def test_only_a_count_is_given_where_only_a_count_is_asked_for(client: httpx.AsyncClient) -> None:
    found: Json = (await client.get("/ValueSet?_summary=count")).json()

    assert found["total"] == len(guide.artefacts("ValueSet"))
    assert "entry" not in found


async def test_pages_together_are_all_that_is_found(client: httpx.AsyncClient) -> None:
    names: list[str] = []
    url: str | None = f"{BASE}/StructureDefinition?status=active&_count=4"
    while url:
        page = (await client.get(url)).json()
        assert len(page["entry"]) <= 4
        names += [entry["resource"]["id"] for entry in page["entry"]]
        url = next((link["url"] for link in page["link"] if link["relation"] == "next"), None)

    assert names == list(guide.artefacts("StructureDefinition"))
    assert page["total"] == len(names)


@pytest.mark.parametrize("query", ["", "?_count=1000", "?_summary=true"])
async def test_no_page_keeps_others_waiting(client: httpx.AsyncClient, query: str) -> None:
    found = await client.get(f"/StructureDefinition{query}")

    assert len(found.json()["entry"]) == 10
    assert len(found.content) < 1_000_000


@pytest.mark.parametrize("query", ["_count=-1", "_count=x", "name=", "url=", "_id:missing=true", "<b>=1"])
async def test_what_is_no_search_is_refused(client: httpx.AsyncClient, query: str) -> None:
    refused = await client.get(f"/CodeSystem?{query}")

    assert refused.status_code == 400
    assert refused.json()["issue"][0]["details"]["coding"][0]["code"] == "search-parameter"
    assert "<" not in refused.text


async def test_a_search_says_which_of_its_parameters_counted(client: httpx.AsyncClient) -> None:
    lenient = {"Prefer": "handling=lenient", "Content-Type": "application/x-www-form-urlencoded"}
    found = await client.post(
        "/CodeSystem/_search?_elements=url", content="publisher=x&_id=task&_summary=true", headers=lenient
    )

    assert found.json()["link"] == [{"relation": "self", "url": f"{BASE}/CodeSystem?_id=task"}]


async def test_what_the_guide_does_not_have_is_not_found(client: httpx.AsyncClient) -> None:
    assert (await client.get("/CodeSystem/none")).status_code == 404
    assert (await client.get("/CodeSystem/%2E%2E%2Fcompiled")).status_code == 404


async def test_an_unknown_parameter_is_refused_unless_the_client_is_lenient(client: httpx.AsyncClient) -> None:
    refused = await client.get("/CodeSystem?publisher=x")
    lenient = await client.get("/CodeSystem?publisher=x", headers={"Prefer": "handling=lenient"})

    assert refused.status_code == 400
    assert refused.json()["issue"][0]["details"]["coding"][0]["code"] == "search-parameter"
    assert lenient.json()["total"] == len(guide.artefacts("CodeSystem"))


async def test_nobody_may_change_the_guide(client: httpx.AsyncClient) -> None:
    system = guide.artefact("CodeSystem", "netra-dr")

    assert (await client.post("/CodeSystem", json=system)).status_code == 405
    assert (await client.put("/CodeSystem/netra-dr", json=system)).status_code == 405
    transaction = {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [{"resource": system, "request": {"method": "PUT", "url": "CodeSystem/netra-dr"}}],
    }
    answer = await client.post("", json=transaction)
    assert answer.status_code == 422
    assert answer.json()["issue"][0]["details"]["coding"][0]["code"] == "type-not-supported"
