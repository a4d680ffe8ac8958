"""From an ImagingStudy over a real archive and the stand-in's eyes to the EHR: boxes in the pixels of each format."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from tests.dicom_files import LOSSLESS, dicom_jpeg, dicom_lossless
from tests.imaging_studies import an_imaging_study
from tests.peers.pacs import PASSWORD, USER, Orthanc, orthanc
from tests.pictures import needs_photographs, photographs
from tests.system.seen import boxes_of, observations_at_ehr, seen_by_the_standin, until_completed
from tests.system.stack import Stack, a_stack

from fundus_relay.demonstration.pictures import painted_eye
from fundus_relay.imaging.preparation import prepare

pytestmark = pytest.mark.timeout(900)


@dataclass(frozen=True, slots=True)
class Site:
    """An archive, and the service that fetches from it."""

    archive: Orthanc
    stack: Stack
    client: httpx.AsyncClient


@pytest.fixture(scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    with orthanc(tmp_path_factory.mktemp("orthanc")) as archive:
        listed = [{"base_url": archive.url, "username": USER, "password": PASSWORD}]
        environment = {"FUNDUS_RELAY_ACQUISITION__ARCHIVES": json.dumps(listed)}
        async with (
            a_stack(tmp_path_factory.mktemp("stack"), environment) as stack,
            httpx.AsyncClient(trust_env=False, timeout=120) as client,
        ):
            yield Site(archive, stack, client)


async def carried(file: bytes, site: Site) -> list[tuple[Any, ...]]:
    """Boxes at the EHR of an instance that is stored in the archive, which are those that the stand-in saw on it."""
    header = dcmread(BytesIO(file), stop_before_pixels=True)
    site.archive.store(file)
    study = an_imaging_study(header.StudyInstanceUID)
    answer = await site.client.post(f"{site.stack.fhir}/ImagingStudy", json=study)
    assert answer.status_code == 201, answer.text
    task = await until_completed(f"ImagingStudy/{answer.json()['id']}", site.stack, site.client)
    name = f"urn:dicom:uid|urn:oid:{header.SOPInstanceUID}"  # the study may have others
    (entry,) = (await site.client.get(f"{site.stack.fhir}/Media", params={"identifier": name})).json()["entry"]
    media = f"Media/{entry['resource']['id']}"
    assert media in [each["valueReference"]["reference"] for each in task["input"]]
    found = boxes_of(await observations_at_ehr(media, site.stack, site.client))
    prepared = await asyncio.to_thread(prepare, file)
    assert found == (await seen_by_the_standin(prepared, site.stack, site.client))["boxes"]
    return found


async def test_the_same_pixels_have_the_same_boxes_in_every_format(site: Site) -> None:
    pixels = np.asarray(Image.open(BytesIO(painted_eye())).convert("RGB"))

    boxes = {
        name: await carried(dicom_lossless(pixels, syntax, study=f"1.2.826.0.1.3680043.10.7.{number}"), site)
        for number, (name, syntax) in enumerate(LOSSLESS.items(), 1)
    }

    assert len({tuple(each) for each in boxes.values()}) == 1, boxes
    assert boxes["RLE"], "the stand-in saw nothing"


async def test_a_jpeg_in_dicom_has_the_boxes_of_the_jpeg(site: Site) -> None:
    file = dicom_jpeg(painted_eye(), study="1.2.826.0.1.3680043.10.7.77")

    assert await carried(file, site)


@pytest.mark.real_pictures
@needs_photographs
@pytest.mark.parametrize("file", photographs("dicom_op_wrapped/*.dcm"), ids=lambda file: file.stem)
async def test_real_ophthalmic_photographs_are_reported_from_the_archive(site: Site, file: Path) -> None:
    await carried(await asyncio.to_thread(file.read_bytes), site)
