"""Everything that the service says, before HL7's own validator: no errors, and no warning that nobody has reviewed."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.fakes.analyser import NOT_UNDERSTOOD, Fault
from tests.flow.world import LEFT, RIGHT, World, a_world
from tests.golden.stories import REFERABLE, STORIES, golden
from tests.peers.judgement import Judge, Remark
from tests.unit.imaging.pictures import a_jpeg

from fundus_relay.adapters.database.pool import Pool
from fundus_relay.adapters.image_archive import HttpImageArchive
from fundus_relay.api.app import application
from fundus_relay.demonstration.ehr import demonstration_ehr
from fundus_relay.fhir.delivery_bundle import delivery_bundle
from fundus_relay.imaging.preparation import prepare
from fundus_relay.pipeline.receive import Limits

Json = dict[str, Any]  # Any: FHIR JSON
PATIENT = {"reference": "Patient/demo-patient"}
FHIR = {"Content-Type": "application/fhir+json"}
EYE, OTHER_EYE, DOUBTFUL = a_jpeg(noise=11), a_jpeg(noise=13), a_jpeg(noise=17)
ABNORMAL = golden("right-referable-left-ungradable")


@dataclass(frozen=True, slots=True)
class Reviewed:
    """A warning that stays.

    Attributes:
        where, text: regular expressions.
        reason: why it is no defect of ours.
    """

    where: str
    text: str
    reason: str

    def covers(self, remark: Remark) -> bool:
        is_it = re.search(self.where, remark.where) and re.search(self.text, remark.text)
        return remark.severity == "warning" and is_it is not None


REVIEWED = (
    Reviewed(
        r"\.subject$",
        r"^The syntax of the reference 'Patient\?identifier=",
        "a conditional reference, as the sender gave it; R4 allows it in the transaction that we send (http, trules)",
    ),
    Reviewed(
        r"Provenance.*\.reason\[0\]$",
        r"^None of the codings provided are in the value set 'V3 Value SetPurposeOfUse'",
        "as the AIProvenance profile of HL7's AI Transparency on FHIR has it; the binding is extensible",
    ),
)


async def test_everything_that_we_say_is_valid(
    judge: Judge, world: World, relay: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {**dict(from_stories()), **await from_a_journey(world, relay)}
    remarks = {name: judge.remarks(resource) for name, resource in said.items()}

    open_remarks = {
        name: left
        for name, own in remarks.items()
        if (left := [each for each in own if not any(known.covers(each) for known in REVIEWED)])
    }
    everything = [each for own in remarks.values() for each in own]
    with capsys.disabled():
        print(f"\njudged: {len(said)} resources; reviewed warnings: {len(everything)}; open: {len(open_remarks)}")
    assert [f"{name}: {each}" for name, left in open_remarks.items() for each in left] == []
    assert [known for known in REVIEWED if not any(map(known.covers, everything))] == [], "no longer needed"


def from_stories() -> Iterator[tuple[str, Json]]:
    """The golden documents, each resource by itself and as the transaction that an EHR gets."""
    for name in STORIES:
        resources = json.loads(golden(name).read_text())
        yield f"{name}: delivery", delivery_bundle(resources, {}, [], "http://ehr.test/fhir")
        yield from ((f"{name}: {each['resourceType']}/{each['id']}", each) for each in resources)


async def from_a_journey(world: World, relay: httpx.AsyncClient) -> dict[str, Json]:
    """What callers of the endpoint read, and what the EHR has at the end."""
    world.analyser.conclude(prepare(EYE).sha256, REFERABLE)
    world.analyser.conclude(prepare(DOUBTFUL).sha256, NOT_UNDERSTOOD)
    said = {
        "statement": await read(relay, "/metadata"),
        "created": await write(relay, "/Media", a_media(EYE, identifier=[{"system": "urn:clinic", "value": "1"}]), 201),
        "transaction": await write(relay, "/", a_transaction(a_media(OTHER_EYE, bodySite=LEFT)), 200),
        "batch": await write(
            relay, "/", {**a_transaction(a_media(DOUBTFUL), a_media(b"no picture")), "type": "batch"}, 200
        ),
        "refused": await write(relay, "/Media", a_media(b"no picture"), 422),
        "refused in parts": await write(relay, "/Media", {"resourceType": "Media", "status": "nonsense", "x": 1}, 422),
        "not there": await read(relay, "/Task/nobody", 404),
        "not understood": await read(relay, "/Task?colour=green", 400),
        "tasks at first": await read(relay, "/Task"),
    }
    world.analyser.strike(Fault.FAILED)
    await world.finish()
    for kind in ("Task", "Media", "DiagnosticReport?_include=DiagnosticReport:result", "Observation", "Provenance"):
        said[f"search {kind}"] = found = await read(relay, f"/{kind}")
        said |= {f"read {each['fullUrl']}": each["resource"] for each in found.get("entry", [])}
    for kind in ("DiagnosticReport", "Observation", "Media", "Device", "Provenance"):
        said |= {f"at the EHR {kind}/{each['id']}": each for each in await world.at_ehr(kind)}
    assert {task["status"] for name, task in said.items() if "/Task/" in name} == {"completed", "failed", "on-hold"}
    return said


# ------------------------------------------------------------------------------------------------- the judge is judged


def first(resources: Sequence[Json], kind: str, code: str | None = None) -> Json:
    return next(
        each
        for each in resources
        if each["resourceType"] == kind and (code is None or code in [c["code"] for c in each["code"]["coding"]])
    )


def misspelt(part: Json) -> None:
    part["code"]["coding"][0]["display"] = "Retinopathy due to diabetes insipidus"


def miscoded(part: Json) -> None:
    part["code"]["coding"][0]["code"] = "4855004"


def invented(part: Json) -> None:
    part["code"]["coding"][1]["code"] = "dr-presense"


@pytest.mark.parametrize(
    ("kind", "code", "damage"),
    [
        ("DiagnosticReport", None, lambda it: it.pop("status")),
        ("DiagnosticReport", None, lambda it: it.update(subject={"reference": "Observation/1"})),
        ("DiagnosticReport", None, lambda it: it.update(study=[])),
        ("DiagnosticReport", None, lambda it: it["meta"]["security"][0].update(code="AIRPT")),
        ("Observation", "dr-presence", misspelt),
        ("Observation", "dr-presence", miscoded),
        ("Observation", "dr-presence", invented),
        ("Observation", "dr-presence", lambda it: it.update(status="done")),
        ("Observation", "dr-presence", lambda it: it.update(extension=[{"url": "urn:foreign", "valueString": "x"}])),
        ("Observation", "dr-presence", lambda it: it["text"].update(div="<div>no namespace</div>")),
        ("Media", None, lambda it: it.update(width=0)),
        ("Device", None, lambda it: it["deviceName"][0].pop("name")),
        ("Provenance", None, lambda it: it.pop("target")),
    ],
)
def test_the_judge_sees_what_is_damaged(judge: Judge, kind: str, code: str | None, damage: Any) -> None:
    resource = deepcopy(first(json.loads(ABNORMAL.read_text()), kind, code))
    unhurt = judge.remarks(resource)

    damage(resource)

    assert set(judge.remarks(resource)) - set(unhurt)


# -------------------------------------------------------------------------------------------------------- the service


@pytest.fixture
async def world(pool: Pool, tmp_path: Path) -> AsyncIterator[World]:
    transport = httpx.ASGITransport(app=demonstration_ehr())
    async with httpx.AsyncClient(transport=transport, base_url="http://ehr.test") as ehr:
        yield a_world(pool, tmp_path, ehr)


@pytest.fixture
async def relay(world: World) -> AsyncIterator[httpx.AsyncClient]:
    """The FHIR endpoint of the same world."""
    app = application(
        ledger=world.ports.ledger,
        blobs=world.ports.blobs,
        archive=HttpImageArchive(sources=(), private_networks=()),
        clock=world.clock,
        limits=Limits(),
        max_body_bytes=10_000_000,
    )
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://relay.test/fhir", headers=FHIR) as client:
        yield client


async def read(relay: httpx.AsyncClient, path: str, status: int = 200) -> Json:
    answer = await relay.get(path)
    assert answer.status_code == status, answer.text
    return answer.json()


async def write(relay: httpx.AsyncClient, path: str, resource: Mapping[str, Any], status: int) -> Json:
    answer = await relay.post(path, json=resource)
    assert answer.status_code == status, answer.text
    return answer.json()


def a_media(picture: bytes, **fields: Any) -> Json:
    return {
        "resourceType": "Media",
        "status": "completed",
        "subject": PATIENT,
        "createdDateTime": "2026-11-23T09:30:00+00:00",
        "bodySite": RIGHT,
        "content": {"contentType": "image/jpeg", "data": base64.b64encode(picture).decode()},
        **fields,
    }


def a_transaction(*resources: Json) -> Json:
    request = {"method": "POST", "url": "Media"}
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [{"resource": each, "request": request} for each in resources],
    }
