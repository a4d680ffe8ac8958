"""Nothing but pixels leaves for the analyser: marked values are in every place that can hold one, and none arrives.

The whole line runs: the real endpoint, archive client and analyser client, over HTTP, to the stand-in. What the
stand-in is sent, what is logged, queued, named and raised is searched.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, fields, replace
from io import StringIO
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Response
from pydantic import SecretStr
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from tests.canaries import (
    CANARY,
    CANARY_UID,
    kinds_of,
    marked_dicom,
    marked_jpeg,
    marked_png,
    pictures_in,
    profile,
    same_pixels,
    traces,
)
from tests.fakes.archive import DicomwebServer
from tests.flow.world import World
from tests.said import FOLDER
from tests.serving import an_application, served
from tests.unit.imaging.pictures import swapped_profile

from fundus_relay import telemetry
from fundus_relay.adapters.analyser.netra import NetraAnalyser
from fundus_relay.adapters.analyser.token_row import TokenRow
from fundus_relay.adapters.dicomweb import DicomwebArchive
from fundus_relay.adapters.image_archive import HttpImageArchive
from fundus_relay.pipeline.ports import Job
from fundus_relay.settings import Archive, NetraAccount
from fundus_relay.standin.app import standin
from fundus_relay.standin.settings import StandinSettings

JPEG_KEEPS = {"APP0", "APP14"}
PNG_KEEPS = {"IHDR", "PLTE", "IDAT", "IEND"}


class Eavesdropper:
    """Keeps every byte of what an application is sent."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.state = app.state  # type: ignore[attr-defined]  # Starlette's
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self.heads.append(repr((scope["raw_path"], scope["query_string"], scope["headers"])).encode())
        body = bytearray()

        async def heard() -> Message:
            message = await receive()
            body.extend(message.get("body", b""))
            return message

        await self._app(scope, heard, send)
        self.bodies.append(bytes(body))


@dataclass
class Line:
    """The whole line, and all that can be overheard of it."""

    world: Overheard
    client: httpx.AsyncClient
    analyser: Eavesdropper
    pacs: DicomwebServer
    pictures: dict[str, bytes]
    pictures_url: str
    blobs: Path
    log: StringIO

    async def send(self, resource: dict[str, Any]) -> None:
        path = "" if resource["resourceType"] == "Bundle" else f"/{resource['resourceType']}"
        answer = await self.client.post(f"/fhir{path}", json=resource)
        assert answer.status_code in {200, 201}, answer.text
        await self.world.finish()

    @property
    def uploads(self) -> list[bytes]:
        return [picture for body in self.analyser.bodies for picture in pictures_in(body)]


@dataclass
class Overheard(World):
    """A world that remembers what was queued.

    Attributes:
        jobs: kinds and arguments.
    """

    jobs: list[tuple[Job, str]] = field(default_factory=list)

    async def run(self, job: Job, id: str) -> None:
        self.jobs.append((job, id))
        await super().run(job, id)


@pytest.fixture(autouse=True)
def no_judge_hears_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answers repeat a sender's own extensions and words, of which nobody can say whether they are valid."""
    monkeypatch.delenv(FOLDER, raising=False)


@pytest.fixture
async def line(world: World, tmp_path: Path) -> AsyncIterator[Line]:
    listener = Eavesdropper(standin(StandinSettings(analyser="instant", state=tmp_path / "standin.sqlite")))
    pacs, pictures, images = DicomwebServer(), dict[str, bytes](), FastAPI(openapi_url=None)

    @images.get("/{name:path}")
    async def give(name: str) -> Response:
        return Response(pictures[name])

    around = FastAPI(openapi_url=None)
    around.mount(f"/{CANARY}", pacs.app)  # so that the archive's address is marked too
    log = StringIO()
    handler = logging.StreamHandler(log)
    handler.setFormatter(telemetry._Line())
    async with AsyncExitStack() as stack:
        at_analyser, at_pacs, at_images = [
            await stack.enter_async_context(served(app)) for app in (listener, around, images)
        ]
        account = NetraAccount(base_url=f"{at_analyser}/v1", username="demo", password=SecretStr("demo"))
        analyser = await stack.enter_async_context(NetraAnalyser(account, TokenRow(world.pool), world.clock))
        archives = [Archive(base_url=f"{at_pacs}/{CANARY}/dicom-web")]
        archive = await stack.enter_async_context(DicomwebArchive(archives, world.clock))
        ports = replace(world.ports, analyser=analyser, archive=archive)
        app = an_application(
            ports.ledger,
            tmp_path,
            blobs=ports.blobs,
            studies=archive,
            clock=world.clock,
            archive=HttpImageArchive((f"{at_images}/",), (ip_network("127.0.0.0/8"),)),
            ehr_urls=("http://ehr.test/fhir",),
        )
        transport = httpx.ASGITransport(app=app)
        client = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://relay.test"))
        logging.getLogger().addHandler(handler)
        stack.callback(logging.getLogger().removeHandler, handler)
        made = Overheard(**{**{each.name: getattr(world, each.name) for each in fields(world)}, "ports": ports})
        yield Line(made, client, listener, pacs, pictures, at_images, tmp_path, log)


def a_patient() -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "id": f"{CANARY}-p",
        "identifier": [{"system": f"http://hospital.test/{CANARY}", "value": CANARY}],
        "name": [{"family": CANARY, "given": [CANARY], "text": CANARY}],
        "birthDate": "1947-06-11",
        "telecom": [{"system": "phone", "value": CANARY}],
        "address": [{"line": [CANARY], "city": CANARY}],
    }


def a_media(content: dict[str, Any]) -> dict[str, Any]:
    kind = "image/png" if "png" in content.get("contentType", "") else "image/jpeg"
    return {
        "resourceType": "Media",
        "identifier": [{"system": f"http://hospital.test/{CANARY}", "value": CANARY}],
        "status": "completed",
        "modality": {"text": CANARY},
        "view": {"text": CANARY},
        "subject": {"reference": f"Patient/{CANARY}-p", "display": CANARY},
        "createdDateTime": "1947-06-11",
        "operator": {"display": CANARY},
        "reasonCode": [{"text": CANARY}],
        "bodySite": {
            "coding": [{"system": "http://snomed.info/sct", "code": "362502000"}],
            "text": CANARY,
        },
        "deviceName": CANARY,
        "content": {"contentType": kind, "title": CANARY, **content},
        "note": [{"text": CANARY, "authorString": CANARY}],
        "extension": [{"url": f"http://hospital.test/{CANARY}", "valueString": CANARY}],
    }


def inline(picture: bytes, kind: str) -> dict[str, Any]:
    return {"contentType": f"image/{kind}", "data": base64.b64encode(picture).decode()}


def a_transaction(*resources: dict[str, Any]) -> dict[str, Any]:
    entries = [
        {
            "fullUrl": f"urn:uuid:00000000-0000-4000-8000-{number:012}",
            "resource": each,
            "request": {"method": "POST", "url": each["resourceType"]},
        }
        for number, each in enumerate(resources)
    ]
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


PICTURES = {
    "a JPEG with an sRGB profile": (marked_jpeg, "jpeg", True),
    "a progressive JPEG": (lambda: marked_jpeg(progressive=True), "jpeg", True),
    "a JPEG in other colours": (lambda: marked_jpeg(icc=profile(swapped_profile())), "jpeg", False),
    "a grey JPEG": (lambda: marked_jpeg(mode="L"), "jpeg", False),
    "a PNG with an sRGB profile": (marked_png, "png", True),
    "a PNG in other colours": (lambda: marked_png(icc=profile(swapped_profile())), "png", False),
    "a PNG with a palette": (lambda: marked_png(mode="P"), "png", True),
    "a transparent PNG": (lambda: marked_png(mode="RGBA"), "png", True),
}
DICOM = {
    "a JPEG in DICOM": lambda: marked_dicom(
        f"{CANARY_UID}.2",
        "R",
        encoded=marked_jpeg(),
        transfer_syntax="1.2.840.10008.1.2.4.50",
        photometric="YBR_FULL_422",
    ),
    "native DICOM": lambda: marked_dicom(f"{CANARY_UID}.3", "R"),
    "deflated DICOM": lambda: marked_dicom(f"{CANARY_UID}.4", "R", transfer_syntax="1.2.840.10008.1.2.1.99"),
}


@pytest.mark.parametrize("which", PICTURES)
async def test_of_a_photograph_that_is_sent_nothing_but_pixels_leaves(line: Line, which: str) -> None:
    make, kind, keeps_pixels = PICTURES[which]
    picture = make()
    assert traces(picture)
    await line.send(a_transaction(a_media(inline(picture, kind))))

    (upload,) = line.uploads
    assert kinds_of(upload) <= (PNG_KEEPS if upload.startswith(b"\x89PNG") else JPEG_KEEPS)
    assert same_pixels(upload, picture) == keeps_pixels
    _is_silent(line)


@pytest.mark.parametrize("how", ["alone", "by url", "with its patient"])
async def test_no_way_in_lets_anything_else_out(line: Line, how: str) -> None:
    picture = marked_jpeg()
    if how == "by url":
        line.pictures[f"{CANARY}/1947-06-11.jpg"] = picture
        content = {"contentType": "image/jpeg", "url": f"{line.pictures_url}/{CANARY}/1947-06-11.jpg"}
    else:
        content = inline(picture, "jpeg")
    media = a_media(content)
    if how == "with its patient":
        media["subject"] = {"reference": "urn:uuid:00000000-0000-4000-8000-000000000000"}
        await line.send(a_transaction(a_patient(), media))
    else:
        await line.send(media)

    assert len(line.uploads) == 1
    _is_silent(line)


@pytest.mark.parametrize("which", DICOM)
async def test_of_an_instance_in_an_archive_nothing_but_pixels_leaves(line: Line, which: str) -> None:
    file = DICOM[which]()
    assert len(traces(file)) > 3
    await _fetched(line, file)

    (upload,) = line.uploads
    assert kinds_of(upload) <= (PNG_KEEPS if upload.startswith(b"\x89PNG") else JPEG_KEEPS)
    _is_silent(line)


async def test_what_is_refused_of_an_archive_says_nothing_either(line: Line) -> None:
    file = DICOM["native DICOM"]()
    await _fetched(line, file[: len(file) // 2])
    assert not line.uploads
    _is_silent(line)


async def _fetched(line: Line, file: bytes) -> None:
    line.pacs.put(file)
    study = {
        "resourceType": "ImagingStudy",
        "identifier": [
            {"system": "urn:dicom:uid", "value": f"urn:oid:{CANARY_UID}.1"},
            {"system": f"http://hospital.test/{CANARY}", "value": CANARY},
        ],
        "status": "available",
        "subject": {"reference": "urn:uuid:00000000-0000-4000-8000-000000000000"},
        "started": "1947-06-11",
        "description": CANARY,
        "referrer": {"display": CANARY},
        "reasonCode": [{"text": CANARY}],
        "note": [{"text": CANARY}],
    }
    await line.send(a_transaction(a_patient(), study))


def _is_silent(line: Line) -> None:
    """Whatever was sent, logged, queued or named holds no marked value; what the EHR is told is another matter."""
    for said in (*line.analyser.heads, *line.analyser.bodies, *line.uploads):
        assert traces(said) == []
    labels = [name for body in line.analyser.bodies if (name := _label(body))]
    assert all(name.startswith("image-") and len(name) == len("image-.jpg") + 36 for name in labels)
    assert traces(line.log.getvalue().encode()) == []
    assert line.world.jobs and traces(json.dumps(line.world.jobs).encode()) == []
    assert traces("\n".join(str(each.relative_to(line.blobs)) for each in line.blobs.rglob("*")).encode()) == []


def _label(body: bytes) -> str:
    found = [each for each in body.decode().split("&") if each.startswith("imageName=")]
    return found[0].removeprefix("imageName=") if found else ""


def test_the_search_finds_what_is_left_of_a_marked_value() -> None:
    form = b"imageName=x&image=data%3Aimage%2Fpng%3Bbase64%2C" + base64.urlsafe_b64encode(b"x" + marked_png())
    for said in (
        CANARY.encode(),
        CANARY.encode("utf-16-le"),
        b"CAN%41RY",
        b"1947:06:11",
        b"19470611",
        form,
        marked_jpeg(),
    ):
        assert traces(said)
    assert not traces(b"canar and 1948-06-11" + bytes(range(256)))
