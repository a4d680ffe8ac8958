"""From a body on the wire to durable pictures, or to nothing at all."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from tests.dicom_files import a_scene, dicom_file, dicom_jpeg
from tests.fakes.image_archive import FakeImageArchive
from tests.tiff_files import tiff_file
from tests.unit.imaging.pictures import a_jpeg, a_png, a_raster

from fundus_relay.adapters.blobs import DirectoryBlobs
from fundus_relay.adapters.image_archive import ImageSourceUnavailable
from fundus_relay.domain.errors import InvalidResource, StoreUnavailable
from fundus_relay.domain.geometry import Size
from fundus_relay.domain.laterality import Laterality
from fundus_relay.domain.values import Submitted
from fundus_relay.fhir.intake.submission import laterality
from fundus_relay.pipeline.ports import Draft
from fundus_relay.pipeline.receive import Limits, receive

Json = dict[str, Any]
ARCHIVE = "http://archive.test/pictures"


@pytest.fixture(scope="module")
def picture() -> bytes:
    return a_jpeg()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "blobs"


@pytest.fixture
def blobs(folder: Path) -> DirectoryBlobs:
    return DirectoryBlobs(folder)


def a_media(picture: bytes | str, content: Json | None = None, **elements: Any) -> Json:
    data = picture if isinstance(picture, str) else base64.b64encode(picture).decode()
    return {
        "resourceType": "Media",
        "status": "completed",
        "subject": {"reference": "Patient/p1"},
        "content": {"contentType": "image/jpeg", "data": data, **(content or {})},
        **elements,
    }


def a_linked_media(url: str, content_type: str = "image/jpeg", **elements: Any) -> Json:
    return {**a_media(""), "content": {"contentType": content_type, "url": url}, **elements}


def a_bundle(*media: Json) -> Json:
    entries = [{"resource": each, "request": {"method": "POST", "url": "Media"}} for each in media]
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


async def body(document: Json, chunk: int = 60_000) -> AsyncIterator[bytes]:
    text = json.dumps(document).encode()
    for start in range(0, len(text), chunk):
        yield text[start : start + chunk]


async def taken(document: Json, blobs: DirectoryBlobs, archive: Any = None, limits: Limits | None = None) -> Submitted:
    return await receive(body(document), blobs, archive or FakeImageArchive(ARCHIVE), limits or Limits())


async def refusals(document: Json, blobs: DirectoryBlobs, **how: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidResource) as caught:
        await taken(document, blobs, **how)
    return [(issue.element, issue.code) for issue in caught.value.issues]


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_a_picture_is_durable_under_its_digest_and_the_resource_has_no_pixels(
    picture: bytes, blobs: DirectoryBlobs, folder: Path
) -> None:
    submitted = await taken(a_media(picture), blobs)

    (entry,) = submitted.entries
    assert entry.picture is not None
    assert entry.picture.sha256 == hashlib.sha256(picture).hexdigest()
    assert (entry.picture.media_type, entry.picture.byte_count) == ("image/jpeg", len(picture))
    assert entry.picture.size == Size(1320, 1040)
    assert entry.resource["content"] == {"contentType": "image/jpeg"}
    assert await blobs.get(entry.picture.sha256) == picture
    assert len(files(folder)) == 1


async def test_the_pictures_of_a_bundle_find_their_entries(picture: bytes, blobs: DirectoryBlobs) -> None:
    archive = FakeImageArchive(ARCHIVE, {f"{ARCHIVE}/1": a_png()})
    other = a_jpeg(Size(1040, 1320))

    submitted = await taken(
        a_bundle(a_media(other), a_linked_media(f"{ARCHIVE}/1", "image/png"), a_media(picture)), blobs, archive
    )

    digests = [entry.picture and entry.picture.sha256 for entry in submitted.entries]
    assert digests == [hashlib.sha256(each).hexdigest() for each in (other, a_png(), picture)]


async def test_the_same_picture_twice_in_a_bundle_is_kept_once(
    picture: bytes, blobs: DirectoryBlobs, folder: Path
) -> None:
    await taken(a_bundle(a_media(picture), a_media(picture)), blobs)

    assert len(files(folder)) == 1


async def test_what_a_media_says_truly_about_its_picture_is_taken(picture: bytes, blobs: DirectoryBlobs) -> None:
    told = {"size": len(picture), "hash": base64.b64encode(hashlib.sha1(picture).digest()).decode()}  # noqa: S324

    assert await taken(a_media(picture, told, width=1320, height=1040), blobs)


async def test_the_width_of_a_turned_picture_may_be_as_stored_or_as_shown(blobs: DirectoryBlobs) -> None:
    turned = a_jpeg(orientation=6)

    assert await taken(a_media(turned, width=1320, height=1040), blobs)
    assert await taken(a_media(turned, width=1040, height=1320), blobs)
    assert await refusals(a_media(turned, width=1040, height=1040), blobs) == [("Media.height", "dimensions-wrong")]


@pytest.mark.parametrize(
    ("content", "elements", "element", "code"),
    [
        ({"contentType": "image/png"}, {}, "Media.content.contentType", "content-type"),
        ({"size": 17}, {}, "Media.content.size", "size-wrong"),
        ({"hash": "2jmj7l5rSw0yVb/vlWAYkK/YBwk="}, {}, "Media.content.hash", "hash-wrong"),
        ({"hash": "%"}, {}, "Media.content.hash", "hash-wrong"),
        ({}, {"width": 1411}, "Media.width", "dimensions-wrong"),
        ({}, {"height": 1411}, "Media.height", "dimensions-wrong"),
        ({}, {"status": "not-done"}, "Media.status", "media-not-completed"),
        ({}, {"subject": {"reference": "Group/1"}}, "Media.subject", "reference-type"),
    ],
)
async def test_what_contradicts_the_picture_is_refused_and_nothing_kept(
    picture: bytes, blobs: DirectoryBlobs, folder: Path, content: Json, elements: Json, element: str, code: str
) -> None:
    assert await refusals(a_media(picture, content, **elements), blobs) == [(element, code)]
    assert files(folder) == []


# --------------------------------------------------------------------------------------------------- TIFF and DICOM


def a_tiff(**how: Any) -> bytes:
    return tiff_file(np.asarray(a_raster()), compression="lzw", **how)


def a_dicom_media(file: bytes, **elements: Any) -> Json:
    return a_media(file, {"contentType": "application/dicom"}, **elements)


def site(*codes: str, text: str | None = None) -> Json:
    """A bodySite of these SNOMED CT codes and words."""
    coding = [{"system": "http://snomed.info/sct", "code": code} for code in codes]
    return ({"coding": coding} if coding else {}) | ({"text": text} if text else {})


RIGHT, LEFT, BOTH = "362502000", "362503005", "51440002"


@pytest.mark.parametrize("content_type", ["image/tiff", "image/tif", "IMAGE/TIFF; page=1"])
async def test_a_tiff_is_taken_inline_and_by_url(blobs: DirectoryBlobs, content_type: str) -> None:
    file = a_tiff(orientation=6)
    archive = FakeImageArchive(ARCHIVE, {f"{ARCHIVE}/1": file})
    told = {"contentType": content_type, "size": len(file)}

    inline = await taken(a_media(file, told, width=1320, height=1040), blobs)
    linked = await taken(a_linked_media(f"{ARCHIVE}/1", content_type, width=1040, height=1320), blobs, archive)

    for submitted in (inline, linked):
        (entry,) = submitted.entries
        assert entry.picture is not None
        assert (entry.picture.media_type, entry.picture.size) == ("image/tiff", Size(1320, 1040))
        assert entry.header is None
        assert await blobs.get(entry.picture.sha256) == file


async def test_a_dicom_file_is_taken_inline_and_by_url(blobs: DirectoryBlobs) -> None:
    file = dicom_jpeg(a_jpeg(), instance="1.2.3.4")
    archive = FakeImageArchive(ARCHIVE, {f"{ARCHIVE}/1": file})

    inline = await taken(a_dicom_media(file, width=1320, height=1040), blobs)
    linked = await taken(a_linked_media(f"{ARCHIVE}/1", "application/dicom"), blobs, archive)

    for submitted in (inline, linked):
        (entry,) = submitted.entries
        assert entry.picture is not None
        assert entry.header is not None
        assert (entry.picture.media_type, entry.picture.size) == ("application/dicom", Size(1320, 1040))
        assert entry.header.name.instance == "1.2.3.4"


@pytest.mark.parametrize(
    ("content", "elements", "element", "code"),
    [
        ({"contentType": "image/jpeg"}, {}, "Media.content.contentType", "content-type"),
        ({"contentType": "image/tiff"}, {}, "Media.content.contentType", "content-type"),
        ({"size": 17}, {}, "Media.content.size", "size-wrong"),
        ({"hash": "2jmj7l5rSw0yVb/vlWAYkK/YBwk="}, {}, "Media.content.hash", "hash-wrong"),
        ({}, {"width": 1411}, "Media.width", "dimensions-wrong"),
    ],
)
async def test_what_contradicts_a_dicom_file_is_refused(
    blobs: DirectoryBlobs, folder: Path, content: Json, elements: Json, element: str, code: str
) -> None:
    media = a_media(dicom_jpeg(a_jpeg()), {"contentType": "application/dicom", **content}, **elements)

    assert await refusals(media, blobs) == [(element, code)]
    assert files(folder) == []


@pytest.mark.parametrize(
    ("elements", "eye"),
    [
        ({}, Laterality.LEFT),
        ({"bodySite": site(text="Retina")}, Laterality.LEFT),
        ({"bodySite": site(LEFT)}, Laterality.LEFT),
        ({"bodySite": site("5665001", text="Left retina")}, Laterality.LEFT),
        ({"bodySite": site(BOTH)}, None),
    ],
)
async def test_the_header_tells_the_eye_when_no_code_of_the_media_does(
    blobs: DirectoryBlobs, elements: Json, eye: Laterality | None
) -> None:
    submitted = await taken(a_dicom_media(dicom_jpeg(a_jpeg(), ImageLaterality="L"), **elements), blobs)

    (entry,) = submitted.entries
    assert laterality(entry.resource) is eye
    assert entry.resource["bodySite"].get("text") == elements.get("bodySite", {"text": "Left eye"}).get("text")


@pytest.mark.parametrize(
    "stated", [site(RIGHT), site(RIGHT, text="Right eye"), site(text="OD"), site("5665001", text="right")]
)
async def test_a_media_that_names_another_eye_than_the_header_is_refused(
    blobs: DirectoryBlobs, folder: Path, stated: Json
) -> None:
    file = dicom_jpeg(a_jpeg(), ImageLaterality="L")

    refused = await refusals(a_bundle(a_media(a_jpeg()), a_dicom_media(file, bodySite=stated)), blobs)

    assert refused == [("Bundle.entry[1].resource.bodySite", "dicom-laterality-conflict")]
    assert files(folder) == []


async def test_neither_says_which_eye_and_nobody_guesses(blobs: DirectoryBlobs) -> None:
    for unknown in (None, "B", ""):
        submitted = await taken(a_dicom_media(dicom_jpeg(a_jpeg(), ImageLaterality=unknown)), blobs)

        assert "bodySite" not in submitted.entries[0].resource


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ({"ImageLaterality": "L", "Laterality": "R"}, "dicom-laterality-conflict"),
        ({"BurnedInAnnotation": "YES"}, "burned-in-annotation"),
    ],
)
async def test_a_dicom_file_that_may_not_be_used_is_refused(
    blobs: DirectoryBlobs, folder: Path, header: Json, code: str
) -> None:
    assert await refusals(a_dicom_media(dicom_jpeg(a_jpeg(), **header)), blobs) == [("Media.content.data", code)]
    assert files(folder) == []


async def test_a_file_of_several_pictures_is_refused_and_told_what_to_send(blobs: DirectoryBlobs, folder: Path) -> None:
    frames = dicom_file(np.stack([a_scene(), a_scene(seed=1)]), frames=2)
    pages = BytesIO()
    with tifffile.TiffWriter(pages) as writer:
        for seed in (0, 1):
            writer.write(a_scene(seed=seed), photometric="rgb", metadata=None)

    with pytest.raises(InvalidResource) as caught:
        await taken(a_bundle(a_dicom_media(frames), a_media(pages.getvalue(), {"contentType": "image/tiff"})), blobs)

    assert [issue.code for issue in caught.value.issues] == ["picture-not-one"] * 2
    assert "ImagingStudy" in caught.value.issues[0].text
    assert files(folder) == []


async def test_the_header_tells_when_and_by_which_camera_unless_the_media_does(blobs: DirectoryBlobs) -> None:
    header = {"AcquisitionDateTime": "20261120101500+0530", "Manufacturer": "Acme", "ManufacturerModelName": "F-1"}
    file = dicom_jpeg(a_jpeg(), **header)
    own = {"createdDateTime": "2026-11-21", "deviceName": "ours"}

    silent = (await taken(a_dicom_media(file), blobs)).entries[0].resource
    told = (await taken(a_dicom_media(file, **own), blobs)).entries[0].resource
    period = (await taken(a_dicom_media(file, createdPeriod={"start": "2026-11-21"}), blobs)).entries[0].resource

    assert (silent["createdDateTime"], silent["deviceName"]) == ("2026-11-20T10:15:00+05:30", "Acme F-1")
    assert told.items() >= own.items()
    assert "createdDateTime" not in period


@pytest.mark.parametrize("cut", [2000, 1_000_000, -20])
async def test_a_dicom_file_that_is_cut_is_refused(blobs: DirectoryBlobs, folder: Path, cut: int) -> None:
    file = dicom_file(a_scene())

    assert await refusals(a_dicom_media(file[:cut]), blobs) == [("Media.content.data", "picture-damaged")]
    assert files(folder) == []


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "picture-not-an-image"),
        (b"no picture", "picture-not-an-image"),
        (b"GIF89a" + bytes(2000), "picture-format-unsupported"),
        (a_jpeg(Size(1000, 800)), "picture-too-small"),
        (a_jpeg()[:-3000], "picture-damaged"),
        (a_png()[:-30], "picture-damaged"),
        ("QUJD*", "base64-broken"),
    ],
)
async def test_bytes_that_are_no_picture_are_refused_at_their_element(
    blobs: DirectoryBlobs, folder: Path, data: bytes | str, code: str
) -> None:
    good = a_media(a_jpeg())

    refused = await refusals(a_bundle(good, a_media(data)), blobs)

    assert refused == [("Bundle.entry[1].resource.content.data", code)]
    assert files(folder) == []


async def test_a_picture_with_too_many_pixels_is_refused(picture: bytes, blobs: DirectoryBlobs) -> None:
    refused = await refusals(a_media(picture), blobs, limits=Limits(max_pixels=1_000_000))

    assert refused == [("Media.content.data", "picture-too-large")]


async def test_a_picture_is_cut_off_at_the_limit_while_it_arrives(blobs: DirectoryBlobs, folder: Path) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        yield b'{"resourceType": "Media", "content": {"data": "'
        while True:
            read += 60_000
            yield b"QUJD" * 15_000

    with pytest.raises(InvalidResource) as caught:
        await receive(endless(), blobs, FakeImageArchive(ARCHIVE), Limits(max_picture_bytes=1_000_000))

    assert caught.value.issues[0].code == "picture-too-large"
    assert read < 1_500_000
    assert files(folder) == []


async def test_more_pictures_than_allowed_are_refused(picture: bytes, blobs: DirectoryBlobs) -> None:
    bundle = a_bundle(a_media(picture), a_media(picture), a_media(picture))

    refused = await refusals(bundle, blobs, limits=Limits(max_pictures=2))

    assert refused == [("Bundle.entry[2].resource.content.data", "too-many-pictures")]


async def test_a_picture_that_stands_twice_in_one_media_is_refused(blobs: DirectoryBlobs, folder: Path) -> None:
    async def doubled() -> AsyncIterator[bytes]:
        yield b'{"resourceType": "Media", "content": {"data": "QUJD", "data": "QUJD"}}'

    with pytest.raises(InvalidResource) as caught:
        await receive(doubled(), blobs, FakeImageArchive(ARCHIVE), Limits())

    assert caught.value.issues[0].element == "Media.content.data"
    assert files(folder) == []


@pytest.mark.parametrize(
    ("url", "code"),
    [("http://elsewhere.test/1", "image-url-not-allowed"), (f"{ARCHIVE}/none", "image-not-there")],
)
async def test_a_url_that_gives_no_picture_is_refused_at_its_element(
    blobs: DirectoryBlobs, folder: Path, url: str, code: str
) -> None:
    assert await refusals(a_linked_media(url), blobs) == [("Media.content.url", code)]
    assert files(folder) == []


async def test_a_linked_picture_over_the_limit_is_refused(picture: bytes, blobs: DirectoryBlobs, folder: Path) -> None:
    archive = FakeImageArchive(ARCHIVE, {f"{ARCHIVE}/1": picture})

    refused = await refusals(
        a_linked_media(f"{ARCHIVE}/1"), blobs, archive=archive, limits=Limits(max_picture_bytes=100_000)
    )

    assert refused == [("Media.content.url", "picture-too-large")]
    assert files(folder) == []


async def test_an_archive_that_is_away_refuses_nothing_for_good(blobs: DirectoryBlobs, folder: Path) -> None:
    away = FakeImageArchive(ARCHIVE, is_away=True)

    with pytest.raises(ImageSourceUnavailable):
        await taken(a_linked_media(f"{ARCHIVE}/1"), blobs, away)

    assert files(folder) == []


async def test_a_sender_that_leaves_leaves_nothing(picture: bytes, blobs: DirectoryBlobs, folder: Path) -> None:
    async def broken_off() -> AsyncIterator[bytes]:
        yield json.dumps(a_media(picture)).encode()[:-1000]
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await receive(broken_off(), blobs, FakeImageArchive(ARCHIVE), Limits())

    assert files(folder) == []


async def test_what_was_wrong_with_each_picture_of_a_bundle_is_said_at_once(blobs: DirectoryBlobs) -> None:
    refused = await refusals(a_bundle(a_media(b"x"), a_media(b"y")), blobs)

    assert [element for element, _ in refused] == [
        "Bundle.entry[0].resource.content.data",
        "Bundle.entry[1].resource.content.data",
    ]


async def test_a_resource_without_pictures_passes(blobs: DirectoryBlobs) -> None:
    submitted = await taken({"resourceType": "Patient", "id": "p1"}, blobs)

    assert submitted.entries[0].picture is None


class FullBlobs(DirectoryBlobs):
    """A store that is full as soon as its second picture is kept."""

    drafts = 0

    def draft(self) -> Any:
        self.drafts += 1
        return super().draft() if self.drafts < 2 else FullDraft(super().draft())


class FullDraft:
    """A draft that cannot be kept."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self.write, self.drain, self.view, self.drop = draft.write, draft.drain, draft.view, draft.drop

    @property
    def byte_count(self) -> int:
        return self._draft.byte_count

    async def keep(self) -> str:
        raise StoreUnavailable("full")


async def test_a_store_that_is_full_at_the_last_moment_leaves_no_draft(picture: bytes, folder: Path) -> None:
    with pytest.raises(StoreUnavailable):
        await taken(a_bundle(a_media(picture), a_media(a_png(), {"contentType": "image/png"})), FullBlobs(folder))

    assert files(folder / "drafts") == []
