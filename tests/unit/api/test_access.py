"""Who is let in, to what, and what the others are told."""

from __future__ import annotations

import httpx
import pytest
from fhir.resources.R4B.operationoutcome import OperationOutcome
from starlette.responses import Response

from fundus_relay.api.access import Access
from fundus_relay.domain.access import Caller, Scope

READER, WRITER, OPERATOR = "reader-token", "writer-token", "operator-token"
PATHS = (
    *("/fhir", "/fhir/", "/fhir/Media", "/fhir/Media/1", "/fhir/Binary/1", "/fhir/Task/_search", "/fhir/CodeSystem"),
    *("/x", "/fhir/metadata/x", "/guidex", "//fhir/metadata", "/fhir/metadata/../Media", "/fhir/%6Dedia", "/livez/x"),
)


class Table:
    """Callers by their tokens."""

    def of(self, token: str) -> Caller | None:
        known = {READER: Scope.READ, WRITER: Scope.WRITE, OPERATOR: Scope.OPERATE}
        return Caller("somebody", frozenset({known[token]})) if token in known else None


@pytest.fixture
def client() -> httpx.AsyncClient:
    """Of an endpoint behind the door that answers 204 to whoever gets in."""
    transport = httpx.ASGITransport(app=Access(Response(status_code=204), Table()))
    return httpx.AsyncClient(transport=transport, base_url="http://relay.test")


@pytest.mark.parametrize("path", ["/fhir/metadata", "/fhir/metadata/", "/livez", "/readyz", "/guide", "/guide/a/b.css"])
async def test_what_shows_nothing_of_anybody_is_open(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 204


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
async def test_all_else_asks_for_a_token(client: httpx.AsyncClient, method: str) -> None:
    for path in PATHS:
        answer = await client.request(method, path)

        assert answer.status_code == 401, path
        assert answer.headers["www-authenticate"] == 'Bearer realm="fundus-relay"'


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic cmVhZGVyLXRva2Vu", READER, f"Bearer {READER}x", f"Bearer {READER} x", "Bearer é"],
)
async def test_what_is_no_known_token_is_refused_in_fhir_s_words(client: httpx.AsyncClient, header: str) -> None:
    answer = await client.get("/fhir/Task", headers={"Authorization": header.encode()})

    assert answer.status_code == 401
    OperationOutcome.model_validate(answer.json())
    assert answer.json()["issue"][0]["details"]["coding"][0]["code"] == "not-authenticated"
    assert READER not in answer.text


async def test_two_tokens_are_none(client: httpx.AsyncClient) -> None:
    answer = await client.get("/fhir/Task", headers=[("Authorization", f"Bearer {READER}")] * 2)

    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("token", "method", "path", "lacking"),
    [
        (READER, "GET", "/fhir/Task", None),
        (READER, "HEAD", "/fhir/Task", None),
        (READER, "POST", "/fhir/Task/_search", None),
        (READER, "POST", "/fhir/Task/_search/", None),
        (READER, "POST", "/fhir/Patient", "write"),
        (READER, "PUT", "/fhir/Patient/_search", "write"),
        (READER, "PUT", "/fhir/Patient/1", "write"),
        (READER, "POST", "/fhir", "write"),
        (READER, "POST", "/fhir/Task/1/_search", "write"),
        (WRITER, "POST", "/fhir/Patient", None),
        (WRITER, "PUT", "/fhir/Patient/1", None),
        (WRITER, "POST", "/fhir", None),
        (WRITER, "GET", "/fhir/Task", "read"),
        (WRITER, "POST", "/fhir/Task/_search", "read"),
        (OPERATOR, "GET", "/fhir/Task", "read"),
        (OPERATOR, "POST", "/fhir/Patient", "write"),
    ],
)
async def test_each_scope_is_for_its_own(
    client: httpx.AsyncClient, token: str, method: str, path: str, lacking: str | None
) -> None:
    answer = await client.request(method, path, headers={"Authorization": f"bearer {token}"})

    assert answer.status_code == (403 if lacking else 204)
    if lacking:
        assert f'error="insufficient_scope", scope="{lacking}"' in answer.headers["www-authenticate"]
        OperationOutcome.model_validate(answer.json())
        assert answer.json()["issue"][0]["code"] == "forbidden"
