"""Marked names, ids, birth dates and file names, where things go wrong: none is in logs, metrics, traces or jobs.

The EHR and the analyser are fakes that repeat what they know of a patient in whatever they say; what leaves for the
analyser is judged in `test_deidentification`.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from tests.canaries import CANARY, CANARY_DAY, marked_jpeg, traces
from tests.collector import Collector, a_collector
from tests.flow.test_deidentification import a_media, a_patient, a_transaction, inline
from tests.flow.world import World, a_photograph
from tests.said import FOLDER
from tests.serving import an_application

from fundus_relay import metrics, telemetry
from fundus_relay.adapters.analyser.netra import NetraAnalyser
from fundus_relay.adapters.analyser.token_row import TokenRow
from fundus_relay.adapters.clock import SystemClock
from fundus_relay.adapters.database.census import count
from fundus_relay.adapters.database.ledger import PostgresLedger
from fundus_relay.adapters.database.pool import Pool, connected
from fundus_relay.adapters.health_record.transaction import FhirTransactionRecord
from fundus_relay.adapters.traces import exported
from fundus_relay.settings import Destination, NetraAccount, Traces
from fundus_relay.tracing import Tracer
from fundus_relay.worker.engine import Engine

JSON = "application/fhir+json"
TOLD = f"{CANARY} born 1947-06-11 file {CANARY_DAY}.jpg"


@pytest.fixture(autouse=True)
def no_judge_hears_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answers repeat a sender's own extensions and words, of which nobody can say whether they are valid."""
    monkeypatch.delenv(FOLDER, raising=False)


@pytest.fixture
def log() -> Iterator[StringIO]:
    """What the service says, as it says it, with what libraries say from INFO on."""
    said, root = StringIO(), logging.getLogger()
    handler, before = logging.StreamHandler(said), root.level
    handler.setFormatter(telemetry._Line())
    root.addHandler(handler)
    root.setLevel("INFO")
    yield said
    root.removeHandler(handler)
    root.setLevel(before)


@dataclass
class Traced:
    """A tracer, and what its collector was told."""

    tracer: Tracer
    collector: Collector
    ending: AsyncExitStack

    async def told(self) -> bytes:
        """All of it; nothing is traced any more."""
        await self.ending.aclose()
        return b"".join(self.collector.bodies)


@pytest.fixture
async def traced() -> AsyncIterator[Traced]:
    with a_collector() as collector:
        async with AsyncExitStack() as ending:
            tracer = await ending.enter_async_context(exported(Traces(endpoint=collector.url), SystemClock().now))
            yield Traced(tracer, collector, ending)


def bad_requests() -> list[tuple[str, str, str, bytes]]:
    """Method, path, content type and body, each refused for another reason."""
    picture = inline(marked_jpeg(), "jpeg")
    broken = a_media({**picture, "data": base64.b64encode(marked_jpeg()[:5000]).decode()})
    wrong = [
        {**a_media(picture), "status": CANARY},
        {**a_media(picture), CANARY: CANARY},
        {**a_media(picture), "createdDateTime": f"1947-06-11 {CANARY}"},
        {**a_media(picture), "subject": {"reference": f"http://elsewhere.test/{CANARY}/Patient/{CANARY}"}},
        {**a_media(picture), "basedOn": [{"reference": f"Patient/{CANARY}"}]},
        a_media({"contentType": "image/jpeg", "url": f"http://{CANARY}.test/{CANARY_DAY}.jpg"}),
        a_media({"contentType": f"image/{CANARY}", "data": base64.b64encode(CANARY.encode()).decode()}),
        broken,
    ]
    sent = [("POST", "/fhir/Media", JSON, json.dumps(each).encode()) for each in wrong]
    bundles = [a_transaction(a_patient(), each) for each in wrong[:3]]
    sent += [("POST", "/fhir", JSON, json.dumps(each).encode()) for each in bundles]
    return [
        *sent,
        ("POST", "/fhir/Media", JSON, b'{"resourceType": "Media", "' + CANARY.encode()),
        ("POST", "/fhir/Media", f"text/{CANARY}", CANARY.encode()),
        ("POST", f"/fhir/Media?{CANARY}=1947-06-11", JSON, json.dumps(a_media(picture)).encode()),
        ("PUT", f"/fhir/Patient/{CANARY}", JSON, json.dumps({**a_patient(), "id": "other"}).encode()),
        ("GET", f"/fhir/{CANARY}/{CANARY}", JSON, b""),
        ("GET", f"/fhir/Patient/{CANARY}/_history/{CANARY}", JSON, b""),
        ("GET", f"/fhir/Patient?identifier={CANARY}&birthdate=1947-06-11", JSON, b""),
        ("POST", "/fhir/Patient/_search", "application/x-www-form-urlencoded", f"family={CANARY}".encode()),
        (CANARY.upper(), f"/{CANARY}/{CANARY_DAY}.jpg", JSON, b""),
        ("GET", f"/guide/{CANARY}", JSON, b""),
    ]


async def test_what_is_refused_is_told_to_nobody_but_its_sender(
    ledger: PostgresLedger, pool: Pool, tmp_path: Path, log: StringIO, traced: Traced
) -> None:
    app = an_application(ledger, tmp_path, tracer=traced.tracer)
    marked = {"X-Name": CANARY, "traceparent": CANARY, "tracestate": f"name={CANARY}", "baggage": f"name={CANARY}"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://relay.test") as client:
        statuses = [
            (await client.request(method, path, content=body, headers={"Content-Type": kind, **marked})).status_code
            for method, path, kind, body in bad_requests()
        ]

    assert all(400 <= status < 500 for status in statuses), statuses
    assert log.getvalue().count('"event": "request"') == len(statuses)
    await silent(log, pool, traced)


async def test_a_defect_of_ours_tells_nothing_of_whom_it_met(
    ledger: PostgresLedger, pool: Pool, tmp_path: Path, log: StringIO, traced: Traced
) -> None:
    class Broken:
        def __getattr__(self, name: str) -> Any:  # Any: whatever is asked of it
            raise ValueError(f"cannot keep the picture of {TOLD}")

    app = an_application(ledger, tmp_path, blobs=Broken(), tracer=traced.tracer)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app, raise_app_exceptions=False), base_url="http://relay.test"
    ) as client:
        answer = await client.post("/fhir/Media", json=a_media(inline(marked_jpeg(), "jpeg")))

    assert answer.status_code == 500
    assert traces(answer.content) == []
    assert "request-failed" in log.getvalue()
    await silent(log, pool, traced)


async def test_jobs_carry_ids_of_ours_alone(pool: Pool, tmp_path: Path, log: StringIO, traced: Traced) -> None:
    """With the engine as it runs in production, before any worker has taken the jobs."""
    app = an_application(PostgresLedger(pool, SystemClock(), Engine().enqueue), tmp_path, tracer=traced.tracer)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://relay.test") as client:
        answer = await client.post("/fhir", json=a_transaction(a_patient(), a_media(inline(marked_jpeg(), "jpeg"))))
    assert answer.status_code == 200

    assert await silent(log, pool, traced) > 0


@pytest.mark.parametrize("status", [200, 201, 302, 400, 401, 409, 412, 422, 500, 503])
async def test_an_ehr_that_repeats_whom_it_knows_is_not_repeated(
    world: World, log: StringIO, traced: Traced, status: int
) -> None:
    def echo(request: httpx.Request) -> httpx.Response:
        issue = {"severity": "error", "code": "invalid", "diagnostics": TOLD, "expression": [f"Patient.{CANARY}"]}
        outcome = {"resourceType": "OperationOutcome", "issue": [{**issue, "details": {"text": TOLD}}]}
        headers = {"Location": f"http://ehr.test/Patient/{CANARY}", "Retry-After": CANARY, "X-Name": CANARY}
        return httpx.Response(status, json=outcome, headers=headers)

    async with httpx.AsyncClient(transport=httpx.MockTransport(echo)) as client:
        record = FhirTransactionRecord(Destination(base_url="http://ehr.test/fhir"), client, world.ports.blobs)
        world.ports = replace(world.ports, records={"ehr": record}, tracer=traced.tracer)
        with traced.tracer.request():
            await world.accept(await a_photograph(world, marked_jpeg()))
        await world.finish()

    assert any(reason.startswith("record-") for reason in await world.reasons())
    assert traces(json.dumps(await world.reasons()).encode()) == []
    await silent(log, world.pool, traced)


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 413, 422, 500, 503])
async def test_an_analyser_that_repeats_what_it_was_told_is_not_repeated(
    world: World, log: StringIO, traced: Traced, status: int
) -> None:
    asked: list[str] = []

    def echo(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        if request.url.path.endswith("getToken"):
            token = {"token": "t", "validUpto": "2027-01-01 00:00:00", "status": 200, "statusMessage": TOLD}
            return httpx.Response(200, json={"response": token, **token})
        told = {"errorCode": TOLD, "errorMessage": TOLD, "statusMessage": TOLD, "statusJob": TOLD, CANARY: TOLD}
        return httpx.Response(status, json={"response": told, **told}, headers={"Location": f"http://x/{CANARY}"})

    account = NetraAccount(base_url="http://analyser.test/v1", username="u", password=SecretStr("p"))
    transport = httpx.MockTransport(echo)
    async with NetraAnalyser(account, TokenRow(world.pool), world.clock, transport=transport) as analyser:
        world.ports = replace(world.ports, analyser=analyser, tracer=traced.tracer)
        with traced.tracer.request():
            await world.accept(await a_photograph(world, marked_jpeg()))
        await world.finish()

    assert "/v1/doAnalysis" in asked
    assert await world.reasons()
    assert traces(json.dumps(await world.reasons()).encode()) == []
    await silent(log, world.pool, traced)


async def silent(log: StringIO, pool: Pool, traced: Traced) -> int:
    """See that log, metrics, traces and jobs hold no marked value; gives the count of jobs."""
    exported = await traced.told()
    assert b"fundus_relay.status" in exported or b"fundus_relay.state" in exported
    assert traces(exported) == []
    await count(pool)
    assert log.getvalue()
    assert traces(log.getvalue().encode()) == []
    assert traces(metrics.page()) == []
    async with connected(pool) as connection:
        rows = await (
            await connection.execute("select row_to_json(j)::text from engine.procrastinate_jobs j")
        ).fetchall()
    assert traces("\n".join(row[0] for row in rows).encode()) == []
    return len(rows)
