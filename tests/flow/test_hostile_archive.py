"""What becomes of a study whose archive misbehaves: one table, over a real HTTP server and the real client.

`python -m pytest tests/flow/test_hostile_archive.py` shows each row.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
from fastapi import Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse
from tests.dicom_files import SERIES, STUDY, a_scene, dicom_file, dicom_jpeg
from tests.fakes.archive import DicomwebServer, broken_off, multipart
from tests.flow.archived import PATIENT, a_study, an_entry
from tests.flow.world import World, reason
from tests.serving import served
from tests.unit.imaging.pictures import a_jpeg
from tests.unit.imaging.test_hostile_dicom import a_deflated_file

from fundus_relay.adapters.dicomweb import DicomwebArchive
from fundus_relay.domain.states import AcquisitionState
from fundus_relay.pipeline.acquire import WHY_PARKED
from fundus_relay.pipeline.operator import release_all
from fundus_relay.pipeline.ports import Job
from fundus_relay.settings import Archive

DOCUMENT = "1.2.840.10008.5.1.4.1.1.104.1"
RIGHT, LEFT = f"{SERIES}.1", f"{SERIES}.2"


@dataclass
class Pacs:
    """An archive over HTTP with a right and a left eye, and a world that fetches from it."""

    server: DicomwebServer
    world: World

    async def ask(self, **changes: Any) -> str:
        *_, taken = await self.world.accept(an_entry(PATIENT), a_study(**changes))
        assert taken.task_id is not None
        return taken.task_id


@pytest.fixture
async def pacs(world: World) -> AsyncIterator[Pacs]:
    server = DicomwebServer()
    await world.ehr.put("/fhir/ImagingStudy/study-1", json=a_study().resource)
    server.put(an_eye(RIGHT))
    server.put(an_eye(LEFT))
    async with served(server.app) as url:
        settings = Archive(base_url=f"{url}/dicom-web", timeout=timedelta(seconds=3))
        async with DicomwebArchive([settings], world.clock) as archive:
            yield Pacs(server, replace(world, ports=replace(world.ports, archive=archive)))


def an_eye(instance: str, **header: Any) -> bytes:
    noise = int(instance.rpartition(".")[2])
    eye = {"ImageLaterality": "R" if instance == RIGHT else "L"}
    return dicom_jpeg(a_jpeg(noise=noise), instance=instance, **{**eye, **header})


Fault = Callable[[Request], Response | None]


def of_instance(answer: Callable[[], Response], which: str = LEFT) -> Fault:
    return lambda request: answer() if request.url.path.endswith(f"/instances/{which}") else None


def of_list(answer: Callable[[], Response]) -> Fault:
    return lambda request: answer() if request.url.path.endswith(("/instances", "/metadata")) else None


def of_all(answer: Callable[[], Response]) -> Fault:
    return lambda _: answer()


def a_list(*entries: dict[str, str]) -> Response:
    """Entries of a list by tag."""
    told = [{tag: {"vr": "UI", "Value": [value]} for tag, value in each.items()} for each in entries]
    return Response(json.dumps(told), media_type="application/dicom+json")


def named(instance: str, **more: str) -> dict[str, str]:
    return {"0020000D": STUDY, "0020000E": SERIES, "00080018": instance, **more}


def a_drip() -> Response:
    async def drops() -> AsyncIterator[bytes]:
        yield an_eye(LEFT)[:200]
        while True:
            await asyncio.sleep(0.05)
            yield b"\0"

    return StreamingResponse(drops(), media_type="application/dicom")


def nested() -> Response:
    inner = bytes(multipart(an_eye(LEFT), boundary="inner").body)
    return multipart(inner)


@cache
def a_bomb() -> Response:
    return multipart(a_deflated_file(b"\0" * 1_000_000, times=310))


def status(code: int, **headers: str) -> Callable[[], Response]:
    return lambda: Response(status_code=code, headers=headers)


WAITS, HELD, USED = "in-progress", "on-hold", "completed"
ENDS = {WAITS: AcquisitionState.DUE, HELD: AcquisitionState.PARKED, USED: AcquisitionState.COMPLETE}

# What the archive does → Task.status, reason, photographs that came all the same. `WAITS` is tried again by itself,
# `HELD` waits for a person, `USED` is reported without what is wrong.
TROUBLES: dict[str, tuple[Fault, str, str, int]] = {
    # the whole archive
    "answers 401": (of_all(status(401)), WAITS, "archive-credentials-refused", 0),
    "answers 403": (of_all(status(403)), WAITS, "archive-credentials-refused", 0),
    "answers 404": (of_all(status(404)), WAITS, "images-missing", 0),
    "answers 429": (of_all(status(429, **{"Retry-After": "7"})), WAITS, "archive-unavailable", 0),
    "answers 503": (of_all(status(503)), WAITS, "archive-unavailable", 0),
    "answers 500 to lists": (of_list(status(500)), WAITS, "archive-unavailable", 0),
    "answers 409": (of_all(status(409)), HELD, "archive-refused", 0),
    "leads elsewhere": (of_all(lambda: RedirectResponse("http://elsewhere.test/")), HELD, "archive-refused", 0),
    "leads nowhere": (of_all(status(302, Location="http://[")), HELD, "archive-refused", 0),
    "leads in circles": (lambda asked: RedirectResponse(str(asked.url)), WAITS, "archive-unavailable", 0),
    # its list
    "lists nothing": (of_list(status(204)), WAITS, "images-missing", 0),
    "lists a login page": (of_list(lambda: Response(b"<html>Sign in</html>")), WAITS, "archive-unavailable", 0),
    "lists half": (of_list(lambda: Response(b'[{"00080018"')), WAITS, "archive-unavailable", 0),
    "lists another study": (
        of_list(lambda: a_list(named(LEFT, **{"0020000D": "1.2.9"}))),
        HELD,
        "instance-mismatch",
        0,
    ),
    "lists another patient": (
        of_list(lambda: a_list(named(LEFT, **{"00100020": "P-2"}))),
        HELD,
        "dicom-patient-mismatch",
        0,
    ),
    "lists what is no UID": (of_list(lambda: a_list(named("1.2/../3"))), WAITS, "archive-unavailable", 0),
    "lists what it has not": (of_list(lambda: a_list(named(RIGHT), named(f"{SERIES}.9"))), WAITS, "images-missing", 1),
    "lists one twice": (of_list(lambda: a_list(named(RIGHT), named(LEFT), named(RIGHT))), USED, "", 2),
    "lists one in two series": (
        of_list(lambda: a_list(named(RIGHT), named(LEFT), named(RIGHT, **{"0020000E": f"{STUDY}.9"}))),
        USED,
        "",
        2,
    ),
    "lists a document as a photograph": (
        of_list(lambda: a_list(named(RIGHT), named(f"{SERIES}.3"))),
        USED,
        "picture-format-unsupported",
        1,
    ),
    "lists a film as a photograph": (
        of_list(lambda: a_list(named(RIGHT), named(f"{SERIES}.4"))),
        USED,
        "picture-format-unsupported",
        1,
    ),
    # one of its instances
    "gives half": (of_instance(lambda: multipart(an_eye(LEFT), is_whole=False)), WAITS, "archive-unavailable", 1),
    "breaks off": (
        of_instance(lambda: broken_off(an_eye(LEFT)[:500], {"Content-Type": "application/dicom"})),
        WAITS,
        "archive-unavailable",
        1,
    ),
    "gives two": (of_instance(lambda: multipart(an_eye(LEFT), an_eye(RIGHT))), WAITS, "archive-unavailable", 1),
    "gives a multipart in a part": (of_instance(nested), WAITS, "archive-unavailable", 1),
    "gives a picture": (of_instance(lambda: multipart(a_jpeg())), WAITS, "archive-unavailable", 1),
    "gives it packed": (
        of_instance(lambda: Response(gzip.compress(an_eye(LEFT)), headers={"Content-Encoding": "gzip"})),
        WAITS,
        "archive-unavailable",
        1,
    ),
    "drips": (of_instance(a_drip), WAITS, "archive-unavailable", 1),
    "refuses one": (of_instance(status(403)), WAITS, "archive-credentials-refused", 1),
    "has lost one": (of_instance(status(410)), WAITS, "images-missing", 1),
    "gives another": (of_instance(lambda: multipart(an_eye(RIGHT))), HELD, "instance-mismatch", 1),
    "gives another patient's": (
        of_instance(lambda: multipart(an_eye(LEFT, PatientID="P-2"))),
        HELD,
        "dicom-patient-mismatch",
        1,
    ),
    "gives another eye": (
        of_instance(lambda: multipart(an_eye(LEFT, Laterality="R"))),
        HELD,
        "dicom-laterality-conflict",
        1,
    ),
    "gives burned-in text": (
        of_instance(lambda: multipart(an_eye(LEFT, BurnedInAnnotation="YES"))),
        HELD,
        "burned-in-annotation",
        1,
    ),
    "gives pixels of an absurd size": (
        of_instance(lambda: multipart(an_eye(LEFT, Rows=65535, Columns=65535))),
        USED,
        "picture-too-large",
        1,
    ),
    "gives fewer pixels than it says": (
        of_instance(lambda: multipart(dicom_file(a_scene(8, 8), instance=LEFT, Rows=2000, Columns=2000))),
        USED,
        "picture-damaged",
        1,
    ),
    "gives a bomb": (of_instance(a_bomb), USED, "picture-too-large", 1),
    "gives a radiograph": (
        of_instance(lambda: multipart(an_eye(LEFT, Modality="CR"))),
        USED,
        "picture-format-unsupported",
        1,
    ),
    "gives a film": (
        of_instance(lambda: multipart(an_eye(LEFT, SOPClassUID="1.2.840.10008.5.1.4.1.1.77.1.4.1"))),
        USED,
        "picture-format-unsupported",
        1,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("trouble", TROUBLES)
async def test_trouble_at_the_archive_has_its_reason_and_costs_nothing_twice(pacs: Pacs, trouble: str) -> None:
    fault, state, why, came = TROUBLES[trouble]
    a_bomb()  # made before anybody waits for them
    pacs.server.put(
        dicom_file(
            EncapsulatedDocument=b"%PDF",
            instance=f"{SERIES}.3",
            SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1",
            Modality="DOC",
        )
    )
    pacs.server.put(an_eye(f"{SERIES}.4", SOPClassUID="1.2.840.10008.5.1.4.1.1.77.1.4.1"))
    pacs.server.fault = fault

    task_id = await pacs.ask()
    await pacs.world.run_jobs()
    told = await pacs.world.task(task_id)
    if state is not USED:
        assert (told["status"], reason(told)) == (state, why)
    assert len(await pacs.world.images()) == came

    await pacs.world.finish()
    if state is USED:
        told = await pacs.world.task(task_id)
        assert (told["status"], reason(told) or "") == (USED, why)
    ended = await acquisition(pacs)
    assert ended.state is ENDS[state]
    assert ended.state is not AcquisitionState.PARKED or ended.reason in WHY_PARKED

    pacs.server.fault = lambda _: None
    if state is HELD:
        await release_all(pacs.world.ports.ledger, pacs.world.clock)
    await pacs.world.finish(rounds=4)
    if state is not USED:
        assert (await pacs.world.task(task_id))["status"] == "completed"
        assert len(await pacs.world.images()) == 2
    assert pacs.world.analyser.times_paid == len(await pacs.world.images())
    assert len(await pacs.world.at_ehr("DiagnosticReport")) == 1


async def acquisition(pacs: Pacs) -> Any:  # Any: the only row
    async with pacs.world.ports.ledger.transaction() as tx:
        (found,) = await tx.acquisitions_for("study-1")
    return found


async def test_what_retry_after_says_does_not_outlast_our_patience(pacs: Pacs) -> None:
    pacs.server.fault = of_all(status(503, **{"Retry-After": "999999"}))
    task_id = await pacs.ask()
    await pacs.world.run_jobs()
    pacs.world.clock.advance(pacs.world.rules.acquisition_horizon)
    await pacs.world.reconcile()
    await pacs.world.run_jobs()

    told = await pacs.world.task(task_id)
    assert (told["status"], reason(told)) == ("on-hold", "archive-unavailable")


async def test_three_broken_instances_at_the_beginning_do_not_keep_the_others_back(pacs: Pacs) -> None:
    for number in range(3, 9):
        pacs.server.put(an_eye(f"{SERIES}.{number}"))
    broken = tuple(f"/instances/{SERIES}.{number}" for number in (1, 2, 3))
    pacs.server.fault = lambda request: Response(status_code=500) if request.url.path.endswith(broken) else None

    await pacs.ask()
    await pacs.world.finish(rounds=3)

    assert len(await pacs.world.images()) == 5


async def test_a_study_that_is_taken_back_while_it_is_fetched_is_fetched_no_further(pacs: Pacs) -> None:
    for number in range(3, 9):
        pacs.server.put(an_eye(f"{SERIES}.{number}"))
    asked: list[str] = []

    async def take_back() -> None:
        await pacs.world.accept(a_study(status="entered-in-error"))

    def fault(request: Request) -> Response | None:
        if "/series/" not in request.url.path:
            return None
        asked.append(request.url.path)
        if len(asked) < 3:
            return None

        async def pieces() -> AsyncIterator[bytes]:
            await take_back()
            yield an_eye(f"{SERIES}.3")

        return StreamingResponse(pieces(), media_type="application/dicom")

    pacs.server.fault = fault
    task_id = await pacs.ask()
    await pacs.world.finish()

    assert len(asked) == 3
    assert (await pacs.world.task(task_id))["status"] == "cancelled"
    assert pacs.world.analyser.times_paid == 0
    assert not await pacs.world.at_ehr("DiagnosticReport")


async def test_two_senders_at_once_have_one_acquisition_and_pay_once(pacs: Pacs) -> None:
    entries = [replace(a_study(id=None), method="POST") for _ in range(4)]
    answers = await asyncio.gather(*(pacs.world.accept(an_entry(PATIENT), each) for each in entries))
    (acquisition,) = {id for job, id in pacs.world.queue if job is Job.ACQUISITION}
    await asyncio.gather(*(pacs.world.run(Job.ACQUISITION, acquisition) for _ in range(2)))
    await pacs.world.finish()

    assert len({answer[-1].task_id for answer in answers}) == 1
    assert len(await pacs.world.images()) == 2
    assert pacs.world.analyser.times_paid == 2


async def test_a_study_of_five_hundred_instances_is_fetched_whole(pacs: Pacs) -> None:
    small = [dicom_file(a_scene(8, 8), instance=f"{SERIES}.{number}", Modality="OP") for number in range(3, 501)]
    for each in small:
        pacs.server.put(each)

    task_id = await pacs.ask()
    await pacs.world.finish()

    task = await pacs.world.task(task_id)
    assert task["status"] == "completed"
    assert len(task["contained"][0]["issue"]) == 498
    assert "could not be used: 498" in (await pacs.world.report())["conclusion"]
