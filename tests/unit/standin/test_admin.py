"""The stand-in's admin routes: who may use them, and what they change."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from fundus_relay.standin.app import standin
from fundus_relay.standin.settings import StandinSettings

PICTURE = "/9j/"  # the first three bytes of a JPEG
DIGEST = hashlib.sha256(b"\xff\xd8\xff").hexdigest()
SETTINGS = StandinSettings(analyser="instant", credits=5, error_rate=0.25, seed=7)


@asynccontextmanager
async def calling(app: Starlette, host: str = "127.0.0.1") -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, client=(host, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://standin") as client:
        yield client


@pytest.fixture
async def here() -> AsyncIterator[httpx.AsyncClient]:
    async with calling(standin(SETTINGS)) as client:
        await client.post("/admin/faults", json={"error_rate": 0})
        yield client


async def log_in(client: httpx.AsyncClient, password: str = "demo") -> dict[str, Any]:  # Any: JSON
    told: dict[str, Any] = (await client.post("/v1/getToken", data={"username": "demo", "password": password})).json()
    return told


async def token(client: httpx.AsyncClient) -> str:
    return str((await log_in(client))["token"])


async def upload(client: httpx.AsyncClient, its_token: str) -> dict[str, Any]:  # Any: JSON
    told: dict[str, Any] = (await client.post("/v1/doAnalysis", data={"token": its_token, "image": PICTURE})).json()
    return told


@pytest.mark.parametrize("host", ["10.0.0.8", "192.168.1.2", "::ffff:10.0.0.8", "somewhere"])
@pytest.mark.parametrize("what", ["faults", "counts", "jobs"])
async def test_only_callers_on_loopback_are_answered(host: str, what: str) -> None:
    async with calling(standin(SETTINGS), host) as client:
        assert (await client.get(f"/admin/{what}")).status_code == 403
        assert (await client.get("/livez")).status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
async def test_every_spelling_of_loopback_is_loopback(host: str) -> None:
    async with calling(standin(SETTINGS), host) as client:
        assert (await client.get("/admin/counts")).status_code == 200


@pytest.mark.parametrize("said", ["", "[]", "no json", '{"flood":1}', '{"error_rate":2}', '{"hold":-1}'])
async def test_what_is_no_fault_is_refused_and_changes_nothing(here: httpx.AsyncClient, said: str) -> None:
    before = (await here.get("/admin/faults")).json()

    assert (await here.post("/admin/faults", content=said)).status_code == 422
    assert (await here.get("/admin/faults")).json() == before


@pytest.mark.parametrize("said", [{"sha256": "x"}, {"sha256": DIGEST, "state": "QUEUED"}, {}])
async def test_a_choice_that_cannot_be_is_refused(here: httpx.AsyncClient, said: dict[str, str]) -> None:
    assert (await here.post("/admin/results", json=said)).status_code == 422


async def test_faults_that_are_not_named_stay(here: httpx.AsyncClient) -> None:
    await here.post("/admin/faults", json={"hold": 2})
    told = (await here.post("/admin/faults", json={"stuck": 1})).json()

    assert (told["hold"], told["stuck"]) == (2, 1)


async def test_a_picture_is_put_on_hold_by_its_digest(here: httpx.AsyncClient) -> None:
    await here.post("/admin/results", json={"sha256": DIGEST, "state": "HOLD"})
    await upload(here, await token(here))

    (job,) = (await here.get("/admin/jobs")).json()
    assert (job["state"], job["sha256"]) == ("HOLD", DIGEST)


@pytest.mark.parametrize("fate", ["expire_tokens", "revoke_tokens"])
async def test_a_token_ends_before_its_time(here: httpx.AsyncClient, fate: str) -> None:
    its_token = await token(here)
    await here.post("/admin/account", json={fate: True})

    assert (await upload(here, its_token))["status"] == 411
    assert (await upload(here, await token(here)))["status"] == 200


async def test_a_new_password_is_the_only_one_until_a_reset(here: httpx.AsyncClient) -> None:
    its_token = await token(here)
    await here.post("/admin/account", json={"password": "next"})

    assert [(await log_in(here, each))["status"] for each in ("demo", "next")] == [411, 200]
    assert (await upload(here, its_token))["status"] == 200

    await here.post("/admin/reset")
    await here.post("/admin/faults", json={"error_rate": 0})
    assert [(await log_in(here, each))["status"] for each in ("demo", "next")] == [200, 411]


async def test_a_reset_is_a_first_start(here: httpx.AsyncClient) -> None:
    await upload(here, await token(here))
    await here.post("/admin/faults", json={"hold": 3, "unavailable_rate": 1})

    counts = (await here.post("/admin/reset")).json()

    assert counts == {"uploads": 0, "by_state": {}, "by_sha256": {}, "token_requests": 0, "remaining": 5}
    faults = (await here.get("/admin/faults")).json()
    assert (faults["hold"], faults["unavailable_rate"], faults["error_rate"]) == (0, 0, 0.25)


async def test_chance_repeats_itself_by_its_seed() -> None:
    runs = []
    for _ in range(2):
        async with calling(standin(SETTINGS)) as client:
            runs.append([(await client.post("/v1/getStatus", data={})).json()["status"] for _ in range(60)])

    assert runs[0] == runs[1]
    assert 5 <= runs[0].count(500) <= 25


async def test_a_share_of_answers_is_unavailable_at_the_named_endpoint_alone(here: httpx.AsyncClient) -> None:
    await here.post("/admin/faults", json={"unavailable_rate": 1, "endpoints": ["getStatus"]})

    assert (await here.post("/v1/getStatus", data={})).status_code == 503
    assert (await here.post("/v1/getResult", data={})).status_code == 200


@pytest.mark.parametrize("path", ["/", "/livez", "/v1/getToken", "/admin/counts", "/nowhere"])
async def test_every_answer_says_what_gave_it(here: httpx.AsyncClient, path: str) -> None:
    assert "not a medical device" in (await here.get(path)).headers["X-Standin"]


async def test_a_name_in_any_script_is_just_a_wrong_one(here: httpx.AsyncClient) -> None:
    told = (await here.post("/v1/getToken", data={"username": "démo", "password": "демо"})).json()

    assert told["status"] == 411


async def test_a_broken_multipart_form_is_an_error_in_the_body(here: httpx.AsyncClient) -> None:
    answer = await here.post("/v1/getToken", content=b"x", headers={"content-type": "multipart/form-data"})

    assert (answer.status_code, answer.json()["status"]) == (200, 500)


async def test_a_server_that_cannot_cut_a_connection_says_so(here: httpx.AsyncClient) -> None:
    await here.post("/admin/faults", json={"drop_before": 1})

    its_token = await token(here)
    with pytest.raises(RuntimeError, match="cannot be cut"):
        await upload(here, its_token)
