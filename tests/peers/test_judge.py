"""Everything that the service says, before HL7's own validator: no errors, and no warning that nobody has reviewed."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.fakes.analyser import NOT_UNDERSTOOD, Fault
from tests.flow.world import LEFT, RIGHT, World, a_world
from tests.golden.stories import ISSUED, REFERABLE, STORIES, golden, page_bytes
from tests.peers.judgement import Judge, Remark
from tests.profiles.test_invariants import BREAKS, boxed, sound
from tests.serving import an_application
from tests.unit.imaging.pictures import a_jpeg

from fundus_relay import guide
from fundus_relay.adapters.database.pool import Pool
from fundus_relay.demonstration.ehr import demonstration_ehr
from fundus_relay.domain.errors import Issue
from fundus_relay.domain.policy import Carriage
from fundus_relay.domain.values import Submission
from fundus_relay.fhir import names
from fundus_relay.fhir.carriage import Manner, carried, travelling
from fundus_relay.fhir.definitions import KINDS
from fundus_relay.fhir.delivery_bundle import delivery_bundle
from fundus_relay.fhir.names import CANONICAL
from fundus_relay.fhir.outcome import outcome
from fundus_relay.fhir.pages import is_overlay
from fundus_relay.fhir.task import build_task
from fundus_relay.imaging.preparation import prepare

Json = dict[str, Any]  # Any: FHIR JSON
Damage = Callable[[Json], Any]
PATIENT = {"reference": "Patient/demo-patient"}
FHIR = {"Content-Type": "application/fhir+json"}
OUT = Path(__file__).parents[2] / "out"
EXAMPLES, SAID = OUT / "profiles" / "examples", OUT / "said"
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
    Reviewed(
        r"^Bundle\.entry\[\d+\]\.resource",
        r"^Entry \d+ matches the reference \w+/\S+ by type and id but its fullUrl urn:uuid:",
        "what the EHR has already is updated under its id there, and referred to by it; R4 resolves it at the server",
    ),
    Reviewed(
        r"snapshot\.element\[\d+\]",
        r" binds to the value set 'http://hl7\.org/fhir/ValueSet/\S+' which is experimental",
        "an element of R4 as R4 binds it, repeated in the snapshot",
    ),
    Reviewed(
        r"snapshot\.element\[\d+\]\.mapping",
        r"^value should not start or finish with whitespace 'participation\[typeCode=RTGT\] '",
        "R4's own Observation.device, repeated in the snapshot",
    ),
)


@pytest.mark.parametrize("sheet", Carriage)
@pytest.mark.parametrize("overlays", Carriage)
def test_a_delivery_is_valid_in_whichever_manner_its_pages_go(
    judge: Judge, sheet: Carriage, overlays: Carriage
) -> None:
    told, manner = PICTURED.told().resources, Manner(sheet, overlays)
    resources = carried(told, manner, {page: PAGES[digest] for page, digest in travelling(told, manner)})

    bundle = delivery_bundle(resources, {}, [], "http://ehr.test/fhir")

    assert MARKS[sheet](bundle, "application/pdf")
    assert MARKS[overlays](bundle, "image/jpeg")
    assert [each for each in judge.remarks(bundle) if not any(known.covers(each) for known in REVIEWED)] == []


PICTURED = STORIES["right-referable-left-ungradable"]
PAGES = {
    page.sha256: page_bytes(number)
    for number, page in ((99, PICTURED.made.sheet), *enumerate(PICTURED.made.overlays.values()))
    if page is not None
}


def attachments(bundle: Json, media_type: str) -> list[Json]:
    """What a delivery has of pages of that type, in whatever resource."""
    resources = [entry["resource"] for entry in bundle["entry"]]
    forms = [form for each in resources for form in each.get("presentedForm", [])]
    drawn = [each["content"] for each in resources if is_overlay(each)]
    return [each for each in (*forms, *drawn) if each["contentType"] == media_type]


def binaries(bundle: Json, media_type: str) -> list[Json]:
    kept = [entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == "Binary"]
    return [each for each in kept if each["contentType"] == media_type]


MARKS: Mapping[Carriage, Callable[[Json, str], bool]] = {
    Carriage.INLINE: lambda bundle, kind: all("data" in each for each in attachments(bundle, kind)),
    Carriage.BINARY: lambda bundle, kind: len(binaries(bundle, kind)) == len(attachments(bundle, kind)) > 0,
    Carriage.LINK: lambda bundle, kind: all(each["url"].startswith("https:") for each in attachments(bundle, kind)),
    Carriage.NONE: lambda bundle, kind: not attachments(bundle, kind),
}
"""How each manner shows in a delivery."""


@pytest.mark.slow
async def test_everything_that_we_say_is_valid(
    judge: Judge, world: World, relay: httpx.AsyncClient, record_property: Callable[[str, str], None]
) -> None:
    said = {
        **dict(from_stories()),
        **dict(from_the_guide()),
        **dict(from_tests()),
        **await from_a_journey(world, relay),
    }
    remarks = {name: judge.remarks(resource) for name, resource in said.items()}

    open_remarks = {
        name: left
        for name, own in remarks.items()
        if (left := [each for each in own if not any(known.covers(each) for known in REVIEWED)])
    }
    everything = [each for own in remarks.values() for each in own]
    record_property(
        "judged by HL7's validator",
        f"{len(said)} resources, {len(list(SAID.glob('*.json')))} of them from `make test`;"
        f" errors {count(open_remarks, 'error', 'fatal')}, warnings {count(open_remarks, 'warning')};"
        f" reviewed warnings {len(everything)} of {len(REVIEWED)} kinds",
    )
    assert [f"{name}: {each}" for name, left in open_remarks.items() for each in left] == []
    if SAID.is_dir():  # else what some of them are about was not said
        assert [known for known in REVIEWED if not any(map(known.covers, everything))] == [], "no longer needed"


def count(remarks: Mapping[str, Sequence[Remark]], *severities: str) -> int:
    return sum(each.severity in severities for own in remarks.values() for each in own)


def from_the_guide() -> Iterator[tuple[str, Json]]:
    """Every definition, and every example."""
    for kind in KINDS:
        yield from ((f"{kind}/{id}", defined) for id, defined in guide.artefacts(kind).items())
    yield from ((f"example {path.stem}", json.loads(path.read_text())) for path in EXAMPLES.glob("*.json"))


def from_tests() -> Iterator[tuple[str, Json]]:
    """What was said in `make test`, one of each shape."""
    yield from ((path.stem, json.loads(path.read_text())) for path in sorted(SAID.glob("*.json")))


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


def extended(part: Json) -> None:
    part["extension"] = [{"url": f"{CANONICAL}/StructureDefinition/nothing", "valueString": "x"}]


def without(name: str) -> Damage:
    return lambda it: it.pop(name)


def referring(name: str, to: str) -> Damage:
    """A reference, or the first of several, to another type."""

    def damage(it: Json) -> None:
        it[name] = [{"reference": to}] if isinstance(it[name], list) else {"reference": to}

    return damage


def at(path: str, value: Any) -> Damage:  # Any: a piece of JSON
    """Another value at the end of a path such as `code.coding.0.display`."""

    def damage(it: Any) -> None:  # Any: parsed JSON
        *steps, last = (int(step) if step.isdigit() else step for step in path.split("."))
        for step in steps:
            it = it[step]
        it[last] = value

    return damage


RESULTS = ("image-gradability", "dr-presence", "referable-dr", "lesion-regions", "eye-panel")
OF_A_FINDING: dict[str, Damage] = {
    "no status": without("status"),
    "no text": without("text"),
    "no identifier": without("identifier"),
    "another identifier": at("identifier.0.system", "urn:other"),
    "no eye": without("bodySite"),
    "another part of the body": at("bodySite.coding.0.code", "81745002"),
    "a wrong display of the eye": at("bodySite.coding.0.display", "Entire left ear"),
    "of no patient": referring("subject", "Device/d"),
    "no label": lambda it: it["meta"].pop("security"),
    "an unknown extension": extended,
}
OF_AN_IMAGE: dict[str, Damage] = {
    "from no image": without("derivedFrom"),
    "from no Media": referring("derivedFrom", "Patient/p"),
    "by no device": referring("device", "Patient/p"),
    "another method": at("method.coding.0.code", "8359007"),
}
DAMAGES: dict[tuple[str, str | None], dict[str, Damage]] = {
    **{("Observation", code): OF_A_FINDING for code in RESULTS},
    **{("Observation", code): OF_A_FINDING | OF_AN_IMAGE for code in RESULTS[:4]},
    ("DiagnosticReport", None): {
        "no status": without("status"),
        "no conclusion": without("conclusion"),
        "about a result": referring("subject", "Observation/1"),
        "a study that is a list": at("study", []),
        "another label": at("meta.security.0.code", "AIRPT"),
        "another report": at("code.coding.0.code", "24606-6"),
        "a wrong display": at("code.coding.0.display", "Retinal eye reading report"),
        "a category too few": at("category", []),
        "a result that is a picture": at("result.0.reference", "Media/m"),
        "an unknown extension": extended,
    },
    ("Media", None): {
        "no width": at("width", 0),
        "unfinished": at("status", "in-progress"),
        "of no patient": referring("subject", "Location/l"),
        "with its pixels": at("content.data", "AAAA"),
        "no address": at("content", {"contentType": "image/jpeg"}),
        "an unknown extension": extended,
    },
    ("Device", None): {
        "a name without a name": at("deviceName.0", {"type": "user-friendly-name"}),
        "no version": without("version"),
        "no note": without("note"),
        "a type of nobody": at("type.coding.0.code", "Artificial-Ignorance"),
        "an unknown extension": extended,
    },
    ("Provenance", None): {
        "no target": without("target"),
        "another reason": at("reason.0.coding.0.code", "AIRPT"),
        "a role of nobody": at("entity.0.role", "cause"),
        "an agent that is a patient": at("agent.0.who.reference", "Patient/p"),
        "an unknown extension": extended,
    },
    ("Task", None): {
        "no business status": without("businessStatus"),
        "a business status of nobody": at("businessStatus.coding.0.code", "thinking"),
        "another intent": at("intent", "plan"),
        "about a patient": at("focus.reference", "Patient/p"),
        "no input": without("input"),
        "an unknown extension": extended,
    },
    ("OperationOutcome", None): {
        "no issue": at("issue", []),
        "a kind of nobody": at("issue.0.code", "wrong"),
        "a code of nobody": at("issue.0.details.coding.0.code", "element-mising"),
        "a severity of nobody": at("issue.0.severity", "grave"),
        "an unknown extension": extended,
    },
}
OWN: dict[tuple[str, str], dict[str, Damage]] = {
    ("Observation", "dr-presence"): {"misspelt": misspelt, "miscoded": miscoded, "invented": invented},
    ("Observation", "lesion-regions"): {
        "a box outside of the image": lambda it: boxed(it, "xMax", valueDecimal=9999),
        "a box inside out": lambda it: boxed(it, "xMin", valueDecimal=9999),
        "a box of another image": lambda it: boxed(it, "image", valueReference={"reference": "Media/other"}),
        "no box": lambda it: it["component"][0].pop("extension"),
        "a lesion of nobody": at("component.0.code.coding.0.code", "freckle"),
    },
    ("Observation", "eye-panel"): {"no member": without("hasMember")},
}
EVERY_DAMAGE = [
    pytest.param(kind, code, damage, id=f"{code or kind}: {name}")
    for of in (DAMAGES, OWN)
    for (kind, code), damages in of.items()
    for name, damage in damages.items()
]


def one_of(kind: str, code: str | None) -> Json:
    """Something that we say, and nobody objects to."""
    if kind == "Task":
        study = STORIES["normal-eye"].study
        submission = Submission("task-1", study.id, ISSUED, {"image-1": "media-1"})
        return build_task(submission, study, [replace(each, id="image-1") for each in STORIES["normal-eye"].images], [])
    if kind == "OperationOutcome":
        return outcome(Issue("Media.subject", "required", "the photograph needs its patient", "element-missing"))
    return deepcopy(first(json.loads(ABNORMAL.read_text()), kind, code))


@pytest.mark.parametrize(("kind", "code", "damage"), EVERY_DAMAGE)
def test_the_judge_sees_what_is_damaged(judge: Judge, kind: str, code: str | None, damage: Damage) -> None:
    resource = one_of(kind, code)
    unhurt = judge.remarks(resource)

    damage(resource)

    assert all(any(known.covers(each) for known in REVIEWED) for each in unhurt)
    assert any(not any(known.covers(each) for known in REVIEWED) for each in judge.remarks(resource))


@pytest.mark.parametrize(("profile", "key"), BREAKS)
def test_each_invariant_is_kept_by_what_is_sound_and_broken_by_what_is_not(
    judge: Judge, profile: str, key: str
) -> None:
    whole, damaged = ({**sound(profile), "meta": meta_of(profile)} for _ in range(2))
    BREAKS[profile, key](damaged)

    assert broken(judge, whole) == set()
    assert key in broken(judge, damaged)


def meta_of(profile: str) -> Json:
    named = "lesion-regions" if profile == "lesion-bounding-box" else profile
    return {**deepcopy(sound(profile).get("meta", {})), "profile": [names.profile(named)]}


def broken(judge: Judge, resource: Json) -> set[str]:
    """The invariants of ours that the judge finds broken."""
    found = (re.match(r"Constraint failed: ([a-z-]+):", each.text) for each in judge.remarks(resource))
    return {each[1] for each in found if each} & {key for _, key in BREAKS}


# -------------------------------------------------------------------------------------------------------- the service


@pytest.fixture
async def world(pool: Pool, tmp_path: Path) -> AsyncIterator[World]:
    transport = httpx.ASGITransport(app=demonstration_ehr())
    async with httpx.AsyncClient(transport=transport, base_url="http://ehr.test") as ehr:
        yield a_world(pool, tmp_path, ehr)


@pytest.fixture
async def relay(world: World, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """The FHIR endpoint of the same world."""
    app = an_application(world.ports.ledger, tmp_path, blobs=world.ports.blobs, clock=world.clock)
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
