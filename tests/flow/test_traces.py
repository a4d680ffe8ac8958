"""One trace for each photograph, from its POST to the read-back of its report, at a collector that really listens."""

from __future__ import annotations

import asyncio
import base64
import logging
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from tests.collector import Collector, a_collector, is_error, paths, told
from tests.fakes.analyser import Fault
from tests.flow.archived import ARCHIVE, put
from tests.flow.world import RIGHT, World, a_photograph
from tests.imaging_studies import an_imaging_study
from tests.serving import an_application
from tests.unit.imaging.pictures import a_jpeg

import fundus_relay
from fundus_relay import tracing
from fundus_relay.adapters.analyser.netra import NetraAnalyser
from fundus_relay.adapters.analyser.token_row import TokenRow
from fundus_relay.adapters.traces import ENDED_WITHIN_S, QUEUE, exported
from fundus_relay.settings import NetraAccount, Traces

FHIR = {"Content-Type": "application/fhir+json"}
ORDER = [{"reference": "ServiceRequest/77"}]
STATED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

PREPARED = ["prepare image", "send image", "analysis", "fetch answer"]
REPORTED = ["draw report", "issue report"]
DELIVERED = ["deliver report", "deliver report/search", "deliver report/write", "deliver report/read back"]


def whole(root: str) -> list[str]:
    """The trace of a photograph with which nothing went wrong."""
    steps = [*PREPARED, *REPORTED, *(f"issue report/{each}" for each in DELIVERED)]
    return sorted([root, *(f"{root}/{each}" for each in steps)])


DOCUMENT = Path(fundus_relay.__path__[0]).parent / "docs" / "observability.md"


def documented() -> dict[str, set[str]]:
    """Every span of the document, and the attributes that it may have."""
    table = DOCUMENT.read_text().partition("## Traces")[2].partition("## Logs")[0]
    rows = re.findall(r"^\| `([a-z ]+)` \|.*\| ?([a-z, ]*) \|$", table, re.MULTILINE)
    return {name: {each for each in attributes.split(", ") if each} | {"reason"} for name, attributes in rows}


@pytest.fixture
def collector() -> Iterator[Collector]:
    with a_collector() as collector:
        yield collector


def settings(collector: Collector, **more: Any) -> Traces:  # Any: as the settings
    return Traces(endpoint=collector.url, **more)


@asynccontextmanager
async def posting(world: World, collector: Collector, folder: Path, **more: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a process of the API, whose spans have all left when the context ends."""
    async with exported(settings(collector, **more), world.clock.now) as tracer:
        app = an_application(
            world.ports.ledger, folder, clock=world.clock, studies=world.archive, tracer=tracer, ehr_urls=("http://e",)
        )
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://relay.test", headers=FHIR) as client:
            yield client


async def finish(world: World, collector: Collector) -> None:
    """Let a process of the worker do all that is to be done, and end."""
    async with exported(settings(collector), world.clock.now) as tracer:
        world.ports = replace(world.ports, tracer=tracer)
        await world.finish()


def a_media(noise: int, **more: Any) -> dict[str, Any]:  # Any: FHIR
    return {
        "resourceType": "Media",
        "status": "completed",
        "subject": {"reference": "Patient/demo-patient"},
        "createdDateTime": "2026-11-23T09:30:00+00:00",
        "bodySite": RIGHT,
        "content": {"contentType": "image/jpeg", "data": base64.b64encode(a_jpeg(noise=noise)).decode()},
        **more,
    }


def a_bundle(*resources: dict[str, Any], kind: str = "transaction") -> dict[str, Any]:  # Any: FHIR
    request = {"method": "POST", "url": "Media"}
    entries = [{"resource": each, "request": request} for each in resources]
    return {"resourceType": "Bundle", "type": kind, "entry": entries}


def test_the_document_knows_every_attribute() -> None:
    assert {tracing.PREFIX + name for attributes in documented().values() for name in attributes} == tracing.ATTRIBUTES


async def test_one_photograph_is_one_trace_from_its_post_to_its_read_back(
    world: World, collector: Collector, tmp_path: Path
) -> None:
    asked: list[httpx.Request] = []

    async def hear(request: httpx.Request) -> None:
        asked.append(request)

    world.ehr.event_hooks["request"].append(hear)
    async with posting(world, collector, tmp_path) as client:
        assert (await client.post("/fhir/Media", json=a_media(1))).status_code == 201
    await finish(world, collector)

    (spans,) = collector.traces().values()
    (image,) = await world.images()
    by_name = {span.name: span for span in spans}
    assert paths(spans) == whole("request")
    assert not any(map(is_error, spans))
    assert all(set(told(span)) <= documented()[span.name] for span in spans)
    assert told(by_name["request"]) == {"route": "create", "method": "POST", "status": 201}
    assert told(by_name["send image"]) == {
        "image": image.id,
        "attempt": 1,
        "bytes": image.source.byte_count,
        "state": "analysing",
    }
    assert told(by_name["fetch answer"])["state"] == "answered"
    assert told(by_name["issue report"]) == {"study": image.study_id, "revision": 1}
    assert {"destination": "ehr", "state": "confirmed"}.items() <= told(by_name["deliver report"]).items()
    waited = by_name["analysis"]
    assert waited.end_time_unix_nano - waited.start_time_unix_nano == 180 * 10**9  # by the clock of the service
    search = by_name["search"]
    assert asked[0].headers["traceparent"] == f"00-{search.trace_id.hex()}-{search.span_id.hex()}-01"


async def test_a_bundle_with_two_photographs_is_a_trace_for_each_and_each_has_its_report_whole(
    world: World, collector: Collector, tmp_path: Path
) -> None:
    order = {"resourceType": "ServiceRequest", "id": "77", "status": "active", "intent": "order"}
    await world.ehr.put("/fhir/ServiceRequest/77", json=order)
    bundle = a_bundle(*(a_media(noise, basedOn=[{"reference": "http://e/ServiceRequest/77"}]) for noise in (1, 2)))
    async with posting(world, collector, tmp_path) as client:
        assert (await client.post("/fhir", json=bundle)).status_code == 200
    await finish(world, collector)

    traces = collector.traces()
    (request,) = collector.named("request")
    ours = {span.trace_id for span in collector.named("photograph")}
    assert len(await world.at_ehr("DiagnosticReport")) == 1
    assert len(ours) == 2
    assert all(set(told(span)) <= documented()[span.name] for span in collector.spans)
    assert [paths(traces[each.hex()]) for each in ours] == [whole("photograph")] * 2
    assert paths(traces[request.trace_id.hex()]) == ["request"]
    assert {link.trace_id for link in request.links} == ours
    assert all(span.links[0].span_id == request.span_id for span in collector.named("photograph"))
    for name in ("issue report", "deliver report", "read back"):
        first, other = sorted(collector.named(name), key=lambda span: len(span.links))
        assert not first.links
        assert other.links[0].span_id == first.span_id


async def test_a_batch_too_is_a_trace_for_each_photograph(world: World, collector: Collector, tmp_path: Path) -> None:
    async with posting(world, collector, tmp_path) as client:
        assert (await client.post("/fhir", json=a_bundle(a_media(1), a_media(2), kind="batch"))).status_code == 200
    await finish(world, collector)

    images = [paths(trace) for trace in collector.traces().values() if len(trace) > 1]
    assert images == [whole("photograph")] * 2


async def test_photographs_from_an_archive_belong_to_the_trace_of_the_post_that_asked_for_them(
    world: World, collector: Collector, tmp_path: Path
) -> None:
    world.archive.address = ARCHIVE
    put(world, "1.2.3.1", laterality="R")
    async with posting(world, collector, tmp_path) as client:
        assert (await client.post("/fhir/ImagingStudy", json=an_imaging_study())).status_code == 201
    await finish(world, collector)

    (spans,) = collector.traces().values()
    fetched = "request/acquire study/fetch instance"
    below = [each.replace("request", fetched) for each in whole("request")]
    assert paths(spans) == sorted(["request", "request/acquire study", *below])
    assert all(set(told(span)) <= documented()[span.name] for span in spans)


async def test_a_step_that_is_tried_again_is_a_span_each_time_with_the_code_of_what_went_wrong(
    world: World, collector: Collector, tmp_path: Path
) -> None:
    world.analyser.strike(Fault.DECLINED, Fault.DECLINED)
    async with posting(world, collector, tmp_path) as client:
        await client.post("/fhir/Media", json=a_media(1))
    async with exported(settings(collector), world.clock.now) as tracer:
        world.ports = replace(world.ports, tracer=tracer)
        await world.finish(rounds=12)

    (spans,) = collector.traces().values()
    sent = sorted((told(span) for span in spans if span.name == "send image"), key=lambda each: each["attempt"])
    assert [(each["attempt"], each.get("reason"), each["state"]) for each in sent] == [
        (1, "analyser-declined", "prepared"),
        (2, "analyser-declined", "prepared"),
        (3, None, "analysing"),
    ]
    assert [span.name for span in spans if is_error(span)] == ["send image"] * 2
    assert not any(span.events or span.status.message for span in spans)


async def test_an_upload_whose_answer_is_lost_tells_what_was_made_of_it(
    world: World, collector: Collector, tmp_path: Path
) -> None:
    world.analyser.strike(Fault.ANSWER_LOST)
    async with posting(world, collector, tmp_path) as client:
        await client.post("/fhir/Media", json=a_media(1))
    await finish(world, collector)

    failed = [(span.name, told(span)["reason"], told(span)["state"]) for span in collector.spans if is_error(span)]
    assert failed == [("send image", "upload-ambiguous", "sending"), ("settle upload", "upload-ambiguous", "parked")]


async def test_an_analysis_that_never_ends_is_a_wait_with_its_reason(
    world: World, collector: Collector, tmp_path: Path
) -> None:
    world.analyser.strike(Fault.STUCK)
    async with posting(world, collector, tmp_path) as client:
        await client.post("/fhir/Media", json=a_media(1))
    async with exported(settings(collector), world.clock.now) as tracer:
        world.ports = replace(world.ports, tracer=tracer)
        await world.finish(rounds=12)

    (analysis,) = collector.named("analysis")
    assert (told(analysis), is_error(analysis)) == ({"reason": "analyser-silent"}, True)


async def test_a_delivery_that_fails_tells_where_and_why(world: World, collector: Collector, tmp_path: Path) -> None:
    await world.ehr_fails(unavailable=1)
    async with posting(world, collector, tmp_path) as client:
        await client.post("/fhir/Media", json=a_media(1))
    await finish(world, collector)

    tries = sorted(collector.named("deliver report"), key=lambda span: told(span)["attempt"])
    assert [(told(each)["attempt"], told(each).get("reason"), told(each)["state"]) for each in tries] == [
        (1, "record-unavailable", "due"),
        (2, None, "confirmed"),
    ]
    failed = [span for span in collector.spans if is_error(span)]
    assert {span.name for span in failed} == {"write", "deliver report"}
    assert {told(span)["reason"] for span in failed} == {"record-unavailable"}


async def test_the_callers_trace_is_gone_on_with(world: World, collector: Collector, tmp_path: Path) -> None:
    async with posting(world, collector, tmp_path) as client:
        await client.post("/fhir/Media", json=a_media(1), headers={"traceparent": STATED, "tracestate": "a=b"})
    await finish(world, collector)

    ((trace_id, spans),) = collector.traces().items()
    assert trace_id == STATED[3:35]
    assert paths(spans) == whole("…/request")
    assert next(span for span in spans if span.name == "request").parent_span_id.hex() == STATED[36:52]
    assert not any(span.trace_state for span in spans)


@pytest.mark.parametrize(
    "stated",
    [
        "",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        f"{STATED}-more",
        f"{STATED} ",
        STATED * 1000,
        "Patient/123",
    ],
)
async def test_what_is_no_trace_is_passed_over(world: World, collector: Collector, tmp_path: Path, stated: str) -> None:
    async with posting(world, collector, tmp_path) as client:
        answer = await client.post("/fhir/Patient", json={"resourceType": "Patient"}, headers={"traceparent": stated})

    (request,) = collector.spans
    assert answer.status_code == 201
    if stated.strip() != STATED:  # white space around a header's value is none of it
        assert request.trace_id.hex() != STATED[3:35]
        assert not request.parent_span_id


async def test_two_stated_traces_are_none(world: World, collector: Collector, tmp_path: Path) -> None:
    async with posting(world, collector, tmp_path) as client:
        headers = [(b"traceparent", STATED.encode())] * 2
        await client.post("/fhir/Patient", json={"resourceType": "Patient"}, headers=[*headers, *FHIR.items()])

    assert [span.trace_id.hex() == STATED[3:35] for span in collector.spans] == [False]


@pytest.mark.parametrize("stated", [STATED, "", f"{STATED[:-2]}00"])
async def test_the_caller_does_not_decide_what_is_exported(
    world: World, collector: Collector, tmp_path: Path, stated: str
) -> None:
    """Neither by its flag nor by choosing an id: with a ratio of 0 nothing is, with 1 all."""
    for ratio in (0.0, 1.0):
        async with posting(world, collector, tmp_path, sampling_ratio=ratio) as client:
            await client.post("/fhir/Patient", json={"resourceType": "Patient"}, headers={"traceparent": stated})
        assert len(collector.spans) == ratio


async def test_what_was_not_chosen_at_the_door_is_not_traced_later(
    world: World, collector: Collector, tmp_path: Path
) -> None:
    async with posting(world, collector, tmp_path, sampling_ratio=0) as client:
        await client.post("/fhir/Media", json=a_media(1))
    await finish(world, collector)

    assert len(await world.at_ehr("DiagnosticReport")) == 1
    assert collector.spans == []


async def test_who_only_reads_or_is_not_let_in_begins_no_trace(
    world: World, collector: Collector, tmp_path: Path
) -> None:
    class Nobody:
        def of(self, token: str) -> None:
            return None

    async with posting(world, collector, tmp_path) as client:
        await client.get("/fhir/Task")
        await client.post("/fhir/Task/_search", content=b"", headers={"Content-Type": "x"})
    async with exported(settings(collector), world.clock.now) as tracer:
        app = an_application(world.ports.ledger, tmp_path, tracer=tracer, callers=Nobody())
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://relay.test") as client:
            refused = await client.post("/fhir/Media", json=a_media(1), headers={"Authorization": "Bearer x"})

    assert refused.status_code == 401
    assert collector.spans == []


async def test_the_analyser_is_told_nothing_of_a_trace(world: World, collector: Collector, tmp_path: Path) -> None:
    heard: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        heard.append(request)
        token = {"token": "t", "validUpto": "2027-01-01 00:00:00", "status": 200}
        return httpx.Response(200, json={"response": token, **token})

    account = NetraAccount(base_url="http://analyser.test/v1", username="u", password=SecretStr("p"))
    async with posting(world, collector, tmp_path) as client:
        await client.post("/fhir/Media", json=a_media(1), headers={"traceparent": STATED})
    async with NetraAnalyser(
        account, TokenRow(world.pool), world.clock, transport=httpx.MockTransport(answer)
    ) as analyser:
        world.ports = replace(world.ports, analyser=analyser)
        await finish(world, collector)

    assert {request.url.path for request in heard} >= {"/v1/getToken", "/v1/doAnalysis"}
    for request in heard:
        said = repr((request.url, request.headers.raw, request.content))
        assert STATED[3:35] not in said
        assert "traceparent" not in said.lower()


async def test_nothing_is_traced_without_a_collector(world: World, tmp_path: Path) -> None:
    app = an_application(world.ports.ledger, tmp_path, clock=world.clock)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://relay.test") as client:
        await client.post("/fhir/Media", json=a_media(1), headers=FHIR | {"traceparent": STATED})
    await world.finish()

    (image,) = await world.images()
    assert image.trace == ""
    assert len(await world.at_ehr("DiagnosticReport")) == 1


@pytest.mark.parametrize("how", ["refuses", "hangs", "is gone"])
async def test_a_collector_that_is_away_holds_nothing_up_and_is_told_of_once(
    world: World, collector: Collector, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING")
    caplog.set_level(logging.CRITICAL, "opentelemetry")  # as `telemetry.configure` has it
    url = collector.url if how != "is gone" else "http://127.0.0.1:9"
    collector.status = 503
    if how == "hangs":
        collector.open.clear()
    began = time.monotonic()
    async with exported(Traces(endpoint=url), world.clock.now) as tracer:
        for _ in range(2 * QUEUE):
            with tracer.request():
                pass
        lasted = time.monotonic() - began
        (entry,) = [await a_photograph(world, a_jpeg())]
        world.ports = replace(world.ports, tracer=tracer)
        with tracer.request():
            await world.accept(entry)
        await world.finish()
        ending = time.monotonic()

    assert len(await world.at_ehr("DiagnosticReport")) == 1
    assert lasted < 5
    assert time.monotonic() - ending < ENDED_WITHIN_S + 1
    assert [record.message for record in caplog.records].count("traces-lost") <= 1
    assert not [record for record in caplog.records if record.name.startswith(("opentelemetry", "urllib3"))]


async def test_a_collector_that_comes_back_gets_what_comes_then(
    world: World, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    loop, is_told = asyncio.get_running_loop(), asyncio.Event()

    class Heard(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            loop.call_soon_threadsafe(is_told.set)

    log, handler = logging.getLogger("fundus_relay.adapters.traces"), Heard()
    caplog.set_level("INFO", log.name)
    log.addHandler(handler)
    collector.status = 400
    async with exported(settings(collector), world.clock.now) as tracer:
        with tracer.request():
            tracing.tell(status=1)
        await asyncio.wait_for(is_told.wait(), 30)
        collector.status = 200
        with tracer.request():
            tracing.tell(status=2)
    log.removeHandler(handler)

    assert [told(span) for span in collector.spans] == [{"status": 2}]
    assert [each.message for each in caplog.records if each.name == log.name] == [
        "traces-lost",
        "traces-exported-again",
    ]
    assert [vars(each)["reason"] for each in caplog.records if each.name == log.name] == ["400", None]


async def test_a_collector_that_leads_elsewhere_is_not_followed(
    world: World, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    with a_collector() as elsewhere:
        collector.status, collector.location = 307, elsewhere.url
        async with exported(settings(collector, headers=SecretStr("authorization=s3cret")), world.clock.now) as tracer:
            with tracer.request():
                pass

    assert elsewhere.heads == []
    assert "traces-lost" in [each.message for each in caplog.records]


async def test_the_collector_is_asked_where_and_as_the_settings_say(
    world: World, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=pod-7")
    for endpoint in (collector.url, f"{collector.url}/", f"{collector.url}/v1/traces", f"{collector.url}/otlp"):
        headers = SecretStr("authorization=Bearer%20s3cret, x-tenant=eyes")
        async with exported(Traces(endpoint=endpoint, headers=headers), world.clock.now) as tracer:
            with tracer.request():
                pass

    assert collector.paths == ["/v1/traces", "/v1/traces", "/v1/traces", "/otlp/v1/traces"]
    assert all(
        {"authorization": "Bearer s3cret", "x-tenant": "eyes"}.items() <= each.items() for each in collector.heads
    )


async def test_no_attribute_gets_out_that_is_not_on_the_list(world: World, collector: Collector) -> None:
    async with exported(settings(collector), world.clock.now) as tracer:
        with pytest.raises(ValueError, match="Gabler"), tracer.request():
            tracing.tell(patient="Gabler", state="received")
            raise ValueError("Gabler")

    (span,) = collector.spans
    assert told(span) == {"state": "received", "reason": "ValueError"}
    assert b"Gabler" not in b"".join(collector.bodies)
