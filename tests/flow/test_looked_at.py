"""What people look at of a report: made once, delivered as the EHR wants it, taken back with what it shows."""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from pypdf import PdfReader
from tests.dicom_files import dicom_file, listed
from tests.flow.archived import ask_for_the_study
from tests.flow.photographs import in_error
from tests.flow.world import LEFT, World, a_photograph
from tests.unit.imaging.pictures import a_jpeg, a_raster, find_marked

from fundus_relay.adapters.health_record.transaction import FhirTransactionRecord
from fundus_relay.domain.analysis import Graded, Lesion, Ungradable
from fundus_relay.domain.errors import InvalidResource, StoreUnavailable
from fundus_relay.domain.geometry import Box
from fundus_relay.domain.policy import Carriage
from fundus_relay.fhir.pages import is_overlay
from fundus_relay.imaging.preparation import prepare
from fundus_relay.pipeline.collect import ROUND, collect
from fundus_relay.pipeline.poll import poll
from fundus_relay.pipeline.ports import Blobs, Job
from fundus_relay.settings import Destination

Json = dict[str, Any]  # FHIR
MARKED = Box(301, 402, 395, 470)
EYE, OTHER_EYE = a_jpeg(noise=0, marked=MARKED), a_jpeg(noise=13)
EYE_OF_STANDIN = "Right eye (stand-in, simulated)"
ORDER = [{"reference": "ServiceRequest/77"}]
REFERABLE = Graded(True, True, (Lesion("Deep Hemorrhage", MARKED, "[301,402,395,470]"),))


@pytest.fixture(autouse=True)
async def the_order_is_known_at_the_ehr(world: World) -> None:
    order = {"resourceType": "ServiceRequest", "id": "77", "status": "active", "intent": "order"}
    await world.ehr.put("/fhir/ServiceRequest/77", json=order)
    world.analyser.conclude(prepare(EYE).picture, REFERABLE)


def taking(world: World, pdf: Carriage, overlays: Carriage) -> None:
    """Let the world's EHR get pages so."""
    destination = Destination(base_url="http://ehr.test/fhir", pdf=pdf, overlays=overlays)
    record = FhirTransactionRecord(destination, world.ehr, world.ports.blobs)
    world.ports = replace(world.ports, records={"ehr": record})


async def overlays(world: World) -> list[Json]:
    return [each for each in await world.at_ehr("Media") if is_overlay(each)]


async def pdf_at_ehr(world: World) -> bytes:
    (form,) = (await world.report())["presentedForm"]
    return base64.b64decode(form["data"])


def words(pdf: bytes) -> str:
    return " ".join(" ".join(page.extract_text().split()) for page in PdfReader(BytesIO(pdf)).pages)


# ------------------------------------------------------------------------------------------------------ what is made


async def test_the_report_has_a_pdf_that_says_what_it_says(world: World) -> None:
    await world.accept(await a_photograph(world, EYE, basedOn=ORDER))

    await world.finish()

    said = words(await pdf_at_ehr(world))
    for part in (
        "STAND-IN: SIMULATED RESULT - NOT FOR PATIENT CARE",
        "PRELIMINARY - UNSIGNED",
        "Right eye (OD) (stand-in, simulated), 2026-11-23",
        "Patient/demo-patient",
    ):
        assert part in said
    for part in ("ServiceRequest/77", "Deep Hemorrhage: 1", "Detected", "taken 2026-11-23 09:30 UTC", "Revision 1"):
        assert part in said
    assert "Synthetic Patient" not in said


async def test_each_analysed_photograph_is_there_with_its_boxes(world: World, relay: httpx.AsyncClient) -> None:
    await world.accept(await a_photograph(world, EYE))

    await world.finish()

    (overlay,) = await overlays(world)
    picture = Image.open(BytesIO((await relay.get(overlay["content"]["url"])).content))
    assert (picture.width, picture.height) == (overlay["width"], overlay["height"])
    shown = find_marked(picture)
    assert (shown.x_max - shown.x_min, shown.y_max - shown.y_min) == (94, 68)
    comments = [each["comment"] for each in (await world.report())["media"]]
    assert comments == [EYE_OF_STANDIN, f"{EYE_OF_STANDIN}, with boxes drawn"]
    (photograph,) = await world.photographs()
    assert overlay["partOf"] == [{"reference": f"Media/{photograph['id']}"}]


async def test_frames_of_dicom_are_drawn_each_on_its_own(world: World, relay: httpx.AsyncClient) -> None:
    places = (Box(50, 60, 120, 150), Box(600, 500, 640, 590))
    frames = np.stack([np.asarray(a_raster(marked=box, noise=0)) for box in places])
    world.archive.address = "http://pacs.test/dicom-web"
    world.archive.put(listed("1.2.3.1"), dicom_file(frames, frames=2, instance="1.2.3.1"))
    await ask_for_the_study(world)

    await world.finish()

    urls = [each["content"]["url"] for each in await overlays(world)]
    shown = [find_marked(Image.open(BytesIO((await relay.get(url)).content))) for url in urls]
    assert {(round(box.x_min), round(box.x_max)) for box in shown} == {(50, 120), (600, 640)}


async def test_what_cannot_be_judged_is_never_told_as_nothing_found(world: World) -> None:
    world.analyser.conclude(prepare(EYE).picture, Ungradable())
    await world.accept(await a_photograph(world, EYE))

    await world.finish()

    said = words(await pdf_at_ehr(world))
    assert "Image cannot be graded, no statement about retinopathy" in said
    assert "ot detected" not in said


async def test_a_partial_report_says_on_paper_what_is_missing(world: World) -> None:
    world.analyser.conclude(prepare(OTHER_EYE).picture, REFERABLE)
    beyond = Graded(True, True, (Lesion("Drusen", Box(0, 0, 5000, 5000), "[0,0,5000,5000]"),))
    world.analyser.conclude(prepare(EYE).picture, beyond)
    await world.accept(
        await a_photograph(world, EYE, basedOn=ORDER),
        await a_photograph(world, OTHER_EYE, basedOn=ORDER, bodySite=LEFT),
    )

    await world.finish()

    said = words(await pdf_at_ehr(world))
    assert said.startswith("STAND-IN: SIMULATED RESULT - NOT FOR PATIENT CARE PARTIAL - PRELIMINARY")
    assert "The analyser's answer was not understood" in said


# ----------------------------------------------------------------------------------------------------- what may happen


@dataclass
class Meddling:
    """A blob store in which something happens when a page is about to be kept, once."""

    blobs: Blobs
    meanwhile: Any  # Any: what to await

    def __getattr__(self, name: str) -> Any:  # Any: everything else is the store's
        return getattr(self.blobs, name)

    async def put(self, data: bytes) -> str:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return await self.blobs.put(data)


async def until_drawn(world: World) -> str:
    """Run jobs until the report is next; its study's id."""
    for _ in range(5):
        while world.queue and world.queue[0][0] is not Job.STUDY:
            await world.run(*world.queue.popleft())
        if world.queue and (await world.images())[0].analysis is not None:
            return world.queue[0][1]
        while world.queue and world.queue[0][0] is Job.STUDY:
            await world.run(*world.queue.popleft())
        world.clock.advance(timedelta(minutes=3))
        await poll(world.ports, world.rules)
        await world.reconcile()
    raise AssertionError("no report is due")


async def test_a_crash_between_drawing_and_issuing_makes_one_report(world: World) -> None:
    await world.accept(await a_photograph(world, EYE))
    await until_drawn(world)
    blobs = world.ports.blobs

    async def crash() -> None:
        raise StoreUnavailable

    world.ports = replace(world.ports, blobs=Meddling(blobs, crash))  # type: ignore[arg-type]  # all of Blobs, by name
    with pytest.raises(StoreUnavailable):
        await world.run_jobs()
    assert await world.at_ehr("DiagnosticReport") == []

    world.ports = replace(world.ports, blobs=blobs)
    (image,) = await world.images()
    world.queue.append((Job.STUDY, image.study_id))
    await world.finish()

    assert len((await world.report())["presentedForm"]) == 1
    assert len(await overlays(world)) == 1
    assert len(await world.at_ehr("Provenance")) == 1


async def test_what_changes_while_it_is_drawn_is_drawn_as_it_then_is(world: World) -> None:
    photograph = await a_photograph(world, EYE, method="PUT", id="m1")
    await world.accept(photograph)
    await until_drawn(world)

    async def correct() -> None:
        await world.accept(replace(photograph, resource={**photograph.resource, "bodySite": LEFT}))

    meddling = Meddling(world.ports.blobs, correct)
    world.ports = replace(world.ports, blobs=meddling)  # type: ignore[arg-type]  # as above
    await world.finish()

    said = words(await pdf_at_ehr(world))
    assert "Left eye (OS)" in said
    assert "Right eye" not in said
    assert (await world.report())["presentedForm"][0]["title"].endswith("revision 1")


async def test_nothing_of_the_study_is_locked_while_it_is_drawn(world: World) -> None:
    await world.accept(await a_photograph(world, EYE))
    study_id = await until_drawn(world)
    looked = []

    async def look() -> None:
        async with world.ports.ledger.transaction() as tx:
            looked.append(await tx.study(study_id))

    world.ports = replace(world.ports, blobs=Meddling(world.ports.blobs, look))  # type: ignore[arg-type]  # as above
    await world.finish()

    assert [each.revision for each in looked if each] == [0]


async def test_a_picture_that_is_lost_keeps_no_report_back(world: World) -> None:
    await world.accept(
        await a_photograph(world, EYE, basedOn=ORDER),
        await a_photograph(world, OTHER_EYE, basedOn=ORDER, bodySite=LEFT),
    )
    await until_drawn(world)
    lost = prepare(EYE).sha256
    assert await world.ports.blobs.discard(lost, kept_before=datetime.now(UTC) + timedelta(days=1))

    await world.finish()

    report = await world.report()
    assert f"{EYE_OF_STANDIN}: the photograph could not be shown with its boxes." in report["conclusion"]
    assert [each["bodySite"]["text"] for each in await overlays(world)] == ["Left eye"]
    said = words(await pdf_at_ehr(world))
    assert "This photograph cannot be shown." in said
    assert "Deep Hemorrhage: 1" in said


async def test_where_nobody_wants_pages_none_are_made(world: World) -> None:
    taking(world, Carriage.NONE, Carriage.NONE)
    world.rules = replace(world.rules, sheet=False, overlays=False)
    await world.accept(await a_photograph(world, EYE))

    await world.finish()

    assert "presentedForm" not in await world.report()
    assert await overlays(world) == []
    async with world.ports.ledger.transaction() as tx:
        assert (await tx.resources.search("DiagnosticReport", [])).matches[0].get("presentedForm") is None


# ---------------------------------------------------------------------------------------------------------- our readers


async def test_the_report_that_we_show_leads_to_its_pages(world: World, relay: httpx.AsyncClient) -> None:
    await world.accept(await a_photograph(world, EYE))
    await world.finish()

    (entry,) = (await relay.get("/DiagnosticReport")).json()["entry"]
    (form,) = entry["resource"]["presentedForm"]
    as_bytes = await relay.get(form["url"], headers={"Accept": "application/pdf"})
    as_json = (await relay.get(form["url"], headers={"Accept": "application/fhir+json"})).json()

    assert as_bytes.content == await pdf_at_ehr(world) == base64.b64decode(as_json["data"])
    assert as_bytes.headers["content-type"] == "application/pdf"
    assert len(as_bytes.content) == form["size"]
    assert as_json["securityContext"] == {"reference": f"DiagnosticReport/{entry['resource']['id']}"}
    assert "_data" not in as_json
    links = [each["link"]["reference"] for each in entry["resource"]["media"] if "boxes" in each["comment"]]
    media = (await relay.get(f"/{links[0]}")).json()
    assert (await relay.get(media["content"]["url"])).content.startswith(b"\xff\xd8")
    known = await relay.get(form["url"], headers={"If-None-Match": as_bytes.headers["etag"]})
    assert known.status_code == 304


async def test_our_readers_find_the_imaging_study_of_a_drawing(world: World, relay: httpx.AsyncClient) -> None:
    study = "urn:uuid:00000000-0000-4000-8000-000000000001"
    subject = {"reference": "Patient/demo-patient"}
    named = [{"system": "urn:studies", "value": "77"}]
    imaging = {"resourceType": "ImagingStudy", "status": "available", "identifier": named, "subject": subject}
    photograph = {
        "resourceType": "Media",
        "status": "completed",
        "subject": subject,
        "bodySite": LEFT,
        "partOf": [{"reference": study}],
        "content": {"contentType": "image/jpeg", "data": base64.b64encode(EYE).decode()},
    }
    entries = [
        {"fullUrl": study, "resource": imaging, "request": {"method": "POST", "url": "ImagingStudy"}},
        {"resource": photograph, "request": {"method": "POST", "url": "Media"}},
    ]
    taken = await relay.post("", json={"resourceType": "Bundle", "type": "transaction", "entry": entries})
    assert taken.status_code == 200, taken.text
    await world.finish()

    found = (await relay.get("Media")).json()["entry"]
    shown = [each["resource"] for each in found if is_overlay(each["resource"])]

    (ours,) = (await relay.get("ImagingStudy")).json()["entry"]
    assert [each["partOf"][1]["reference"] for each in shown] == [f"ImagingStudy/{ours['resource']['id']}"]


async def test_a_drawing_is_no_photograph_to_be_analysed(world: World) -> None:
    await world.accept(await a_photograph(world, EYE))
    await world.finish()
    async with world.ports.ledger.transaction() as tx:
        (drawn,) = (each for each in (await tx.resources.search("Media", [])).matches if is_overlay(each))

    for status in ("completed", "entered-in-error"):
        sent = await a_photograph(world, OTHER_EYE, method="PUT", id=drawn["id"], status=status)
        with pytest.raises(InvalidResource, match="media-drawn"):
            await world.accept(sent)

    assert world.analyser.times_paid == 1


# ------------------------------------------------------------------------------------------ later revisions, errors


@pytest.mark.parametrize("carriage", [Carriage.BINARY, Carriage.LINK, Carriage.INLINE])
async def test_a_later_revision_has_pages_of_its_own_and_the_earlier_ones_say_so(
    world: World, relay: httpx.AsyncClient, carriage: Carriage
) -> None:
    taking(world, carriage, carriage)
    await world.accept(await a_photograph(world, EYE, basedOn=ORDER))
    await world.finish()
    (before,) = (await relay.get("/DiagnosticReport")).json()["entry"][0]["resource"]["presentedForm"]

    await world.accept(await a_photograph(world, OTHER_EYE, basedOn=ORDER, bodySite=LEFT))
    await world.finish()

    (after,) = (await relay.get("/DiagnosticReport")).json()["entry"][0]["resource"]["presentedForm"]
    assert before["url"] != after["url"]
    assert after["title"].endswith("revision 2")
    earlier = await relay.get(before["url"])
    assert b"a later revision" in earlier.content
    assert earlier.headers["content-type"].startswith("text/plain")
    assert len(await overlays(world)) == 2
    (form,) = (await world.report())["presentedForm"]
    assert form["title"].endswith("revision 2")
    held = {each["id"]: each["contentType"] for each in await world.at_ehr("Binary")}
    kept = {before["url"].rpartition("/")[2]: "text/plain", after["url"].rpartition("/")[2]: "application/pdf"}
    assert carriage is not Carriage.BINARY or kept.items() <= held.items()
    assert carriage is Carriage.BINARY or held == {}


@pytest.mark.parametrize("carriage", [Carriage.BINARY, Carriage.LINK, Carriage.INLINE])
async def test_a_report_that_is_taken_back_shows_nothing_any_more(
    world: World, relay: httpx.AsyncClient, carriage: Carriage
) -> None:
    taking(world, carriage, carriage)
    photograph = await a_photograph(world, EYE, method="PUT", id="m1")
    await world.accept(photograph)
    await world.finish()
    ((shown,),) = [each["resource"]["presentedForm"] for each in (await relay.get("/DiagnosticReport")).json()["entry"]]

    await world.accept(in_error(photograph))
    await world.finish()

    assert "presentedForm" not in await world.report()
    (overlay,) = await overlays(world)
    assert overlay["status"] == "entered-in-error"
    assert not {"url", "data"} & overlay["content"].keys()
    assert b"withdrawn" in (await relay.get(shown["url"])).content
    assert {each["contentType"] for each in await world.at_ehr("Binary")} <= {"text/plain"}


async def test_a_photograph_that_is_taken_back_takes_its_drawing_along(world: World) -> None:
    wrong = await a_photograph(world, EYE, method="PUT", id="m1", basedOn=ORDER)
    await world.accept(wrong, await a_photograph(world, OTHER_EYE, basedOn=ORDER, bodySite=LEFT))
    await world.finish()

    await world.accept(in_error(wrong))
    await world.finish()

    standing = {each["bodySite"]["text"]: each["status"] for each in await overlays(world)}
    assert standing == {"Right eye": "entered-in-error", "Left eye": "completed"}
    assert "Right eye" not in words(await pdf_at_ehr(world))


async def test_an_answer_that_got_lost_makes_no_second_page(world: World) -> None:
    taking(world, Carriage.BINARY, Carriage.BINARY)
    await world.ehr_fails(lose_answer=1)
    await world.accept(await a_photograph(world, EYE))

    await world.finish(step=timedelta(minutes=20))

    assert len(await world.at_ehr("Binary")) == 2
    assert len(await overlays(world)) == 1
    assert {each["meta"]["versionId"] for each in await world.at_ehr("Binary")} == {"1"}


async def test_pages_that_a_report_has_are_kept_and_no_others(world: World) -> None:
    photograph = await a_photograph(world, EYE, method="PUT", id="m1", basedOn=ORDER)
    await world.accept(photograph)
    await world.finish()
    earlier = await kept_pages(world)
    await world.accept(replace(photograph, resource={**photograph.resource, "bodySite": LEFT}))
    await world.finish()
    standing = await kept_pages(world)
    assert len(earlier) == len(standing) == 2

    world.clock.advance(datetime.now(UTC) - world.clock.now() + timedelta(days=2))  # blobs live in the real time
    for _ in range(256):
        await collect(world.ports)
        world.clock.advance(ROUND)

    for digest in standing:
        assert await world.ports.blobs.get(digest)
    for digest in earlier - standing:
        with pytest.raises(KeyError):
            await world.ports.blobs.get(digest)


async def kept_pages(world: World) -> set[str]:
    """Digests of the pages of the newest revision."""
    (image,) = await world.images()
    async with world.ports.ledger.transaction() as tx:
        resources = await tx.told((await tx.deliveries(image.study_id))[-1].id)
    stated = [each["_data"]["extension"][0]["valueString"] for each in resources if "_data" in each]
    return set(stated)


class _Onlooker:
    """A store that notes what a Task says whenever something is put into it."""

    def __init__(self, kept: Blobs, world: World, task_id: str) -> None:
        self._kept, self._world, self._task_id = kept, world, task_id
        self.statuses: list[str] = []

    def __getattr__(self, name: str) -> Any:  # Any: the store's own methods
        return getattr(self._kept, name)

    async def put(self, data: bytes) -> str:
        self.statuses.append((await self._world.task(self._task_id))["status"])
        return await self._kept.put(data)


async def test_no_task_is_completed_while_what_people_look_at_is_drawn(world: World) -> None:
    await world.accept(await a_photograph(world, EYE, basedOn=ORDER))
    await world.finish()
    (late,) = await world.accept(await a_photograph(world, OTHER_EYE, basedOn=ORDER, bodySite=LEFT))
    assert late.task_id is not None
    onlooker = _Onlooker(world.ports.blobs, world, late.task_id)
    world.ports = replace(world.ports, blobs=onlooker)  # type: ignore[arg-type]  # all of Blobs, by name

    await world.finish()

    assert len(onlooker.statuses) > 2
    assert "completed" not in onlooker.statuses
    assert (await world.task(late.task_id))["status"] == "completed"
