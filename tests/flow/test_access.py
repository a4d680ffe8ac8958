"""The service with a file of tokens, and without one where it needs it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fhir.resources.R4B.capabilitystatement import CapabilityStatement
from tests.serving import an_application
from tests.unit.test_environment import NEEDED

from fundus_relay.adapters.callers import FileOfCallers, line_of
from fundus_relay.adapters.database.ledger import PostgresLedger
from fundus_relay.assembly import callers
from fundus_relay.domain.access import Scope
from fundus_relay.environment import NotConfigured
from fundus_relay.settings import Access, Http, Settings

READER, WRITER = "reader-token", "writer-token"
PATIENT = {"resourceType": "Patient", "identifier": [{"system": "urn:x", "value": "1"}]}


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    file = tmp_path / "tokens"
    named = ((READER, Scope.READ), (WRITER, Scope.WRITE))
    file.write_text("\n".join(line_of(token.partition("-")[0], token, [scope]) for token, scope in named))
    return file


@pytest.fixture
async def client(ledger: PostgresLedger, tmp_path: Path, tokens: Path) -> AsyncIterator[httpx.AsyncClient]:
    app = an_application(ledger, tmp_path, callers=FileOfCallers(tokens))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://relay.test") as opened:
        yield opened


async def test_a_caller_reads_or_writes_by_its_scope_and_a_stranger_reads_that_tokens_are_wanted(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    reader, writer = ({"Authorization": f"Bearer {token}"} for token in (READER, WRITER))

    assert (await client.post("/fhir/Patient", json=PATIENT)).status_code == 401
    assert (await client.post("/fhir/Patient", json=PATIENT, headers=reader)).status_code == 403
    assert (await client.post("/fhir/Patient", json=PATIENT, headers=writer)).status_code == 201
    assert (await client.get("/fhir/Patient", headers=writer)).status_code == 403
    assert (await client.get("/fhir/Patient", headers=reader)).json()["total"] == 1
    assert (await client.get("/readyz")).status_code == 200
    statement = (await client.get("/fhir/metadata")).json()
    CapabilityStatement.model_validate(statement)
    assert "Bearer" in statement["rest"][0]["security"]["description"]

    lines = [record.__dict__ for record in caplog.records if record.getMessage() == "request"]
    assert [line["caller"] for line in lines] == [None, "reader", "writer", "writer", "reader", None, None]
    assert not any(token in str(lines) for token in (READER, WRITER))


async def test_who_lacks_the_scope_for_urgency_is_told_in_every_kind_of_answer(
    ledger: PostgresLedger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "tokens"
    lines = {"camera": [Scope.READ, Scope.WRITE], "ward": [Scope.WRITE, Scope.URGENT]}
    file.write_text("\n".join(line_of(name, f"{name}-token", scopes) for name, scopes in lines.items()))
    order = {
        "resourceType": "ServiceRequest",
        "id": "o-1",
        "status": "active",
        "intent": "order",
        "priority": "stat",
        "subject": {"reference": "Patient/7"},
    }
    entry = {"resource": order, "request": {"method": "PUT", "url": "ServiceRequest/o-1"}}
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}
    app = an_application(ledger, tmp_path, callers=FileOfCallers(file))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://relay.test") as client:
        camera, ward = ({"Authorization": f"Bearer {name}-token"} for name in lines)

        put = await client.put("/fhir/ServiceRequest/o-1", json=order, headers=camera)
        asked = {**camera, "Prefer": "return=OperationOutcome"}
        outcome = await client.put("/fhir/ServiceRequest/o-1", json=order, headers=asked)
        several = await client.post("/fhir", json=bundle, headers=camera)
        free = await client.put("/fhir/ServiceRequest/o-1", json=order, headers=ward)

    assert (put.status_code, put.json()["priority"]) == (201, "stat")
    assert put.headers["warning"].startswith('299 fundus-relay "urgency-not-permitted: ')
    for told in (outcome.json(), several.json()["entry"][0]["response"]["outcome"]):
        (issue,) = told["issue"]
        assert (issue["severity"], issue["details"]["coding"][0]["code"]) == ("warning", "urgency-not-permitted")
    assert (free.status_code, "warning" in free.headers) == (200, False)
    said = [each.__dict__ for each in caplog.records if each.getMessage() == "taken-with-notes"]
    assert [(each["code"], each["caller"]) for each in said] == [("urgency-not-permitted", "camera")] * 3


@pytest.mark.parametrize("wish", ["", "return=representation"])
async def test_who_may_only_write_is_not_shown_what_is_there(client: httpx.AsyncClient, wish: str) -> None:
    asked = {"Authorization": f"Bearer {WRITER}", "If-None-Exist": "identifier=urn:x|1", "Prefer": wish}
    request = {"method": "POST", "url": "Patient", "ifNoneExist": "identifier=urn:x|1"}
    entry = {"resource": PATIENT, "request": request}
    batch = {"resourceType": "Bundle", "type": "batch", "entry": [entry]}

    answers = [await client.post("/fhir/Patient", json=PATIENT, headers=asked) for _ in range(2)]
    del asked["If-None-Exist"]
    several = await client.post("/fhir", json=batch, headers=asked)

    assert [(answer.status_code, answer.content) for answer in answers] == [(201, b""), (200, b"")]
    assert [each.keys() & {"resource"} for each in several.json()["entry"]] == [set()]


def test_the_service_does_not_start_open_to_strangers_by_accident() -> None:
    done = serve(HTTP__HOST="0.0.0.0")

    assert done.returncode == 2
    assert done.stderr.startswith("fundus-relay: FUNDUS_RELAY_ACCESS__TOKENS: is required when")


@pytest.mark.parametrize("host", ["::", "192.0.2.7", "relay.example", "127.0.0.1.example"])
def test_no_other_address_is_open_either(host: str) -> None:
    with pytest.raises(NotConfigured):
        callers(settings(host, Access()))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_on_loopback_everybody_may(host: str) -> None:
    assert callers(settings(host, Access())) is None


def test_elsewhere_somebody_has_to_want_it_and_it_is_told(caplog: pytest.LogCaptureFixture) -> None:
    assert callers(settings("0.0.0.0", Access(open=True))) is None
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [("WARNING", "open-to-everybody")]


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("text", ["clinic s3cret read", ""])
def test_a_file_that_cannot_be_used_stops_the_start(tmp_path: Path, text: str, host: str) -> None:
    (tmp_path / "tokens").write_text(text)

    with pytest.raises(NotConfigured, match="FUNDUS_RELAY_ACCESS__TOKENS: the file ") as why:
        callers(settings(host, Access(tokens=tmp_path / "tokens")))

    assert "s3cret" not in str(why.value)


def settings(host: str, access: Access) -> Settings:
    analyser = {"base_url": "https://analyser.test/v1", "username": "u", "password": "p"}
    return Settings.model_validate(
        {"http": Http(host=host), "access": access, "analyser": analyser, "record": {"base_url": "https://ehr.test"}}
    )


def serve(**settings: str) -> subprocess.CompletedProcess[str]:
    given = {**NEEDED, **{f"FUNDUS_RELAY_{name}": value for name, value in settings.items()}}
    others = {name: value for name, value in os.environ.items() if not name.startswith("FUNDUS_RELAY_")}
    command = [sys.executable, "-m", "fundus_relay", "serve"]
    return subprocess.run(command, env=others | given, capture_output=True, text=True, timeout=60, check=False)


def test_a_made_token_is_let_in_by_the_line_that_comes_with_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fundus_relay", "token", "clinic-7", "--scopes", "read", "operate"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    token, line = done.stdout.splitlines()
    (tmp_path / "tokens").write_text(line)

    caller = FileOfCallers(tmp_path / "tokens").of(token)

    assert caller is not None
    assert (caller.name, caller.scopes) == ("clinic-7", {Scope.READ, Scope.OPERATE})
    assert token not in line
    assert token not in done.stderr
