"""A real archive: the contract that every archive keeps, and studies that become reports, in every transfer syntax."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from pydicom.uid import JPEGBaseline8Bit
from tests.contract.archives import Setting, in_front_of
from tests.contract.test_study_archive import (  # noqa: F401 - the contract; `setting` is another one here
    test_a_study_lists_its_instances_by_series_and_number_with_what_they_are,
    test_a_study_that_is_not_there_yet_is_empty,
    test_an_archive_that_is_not_listed_is_neither_known_nor_asked,
    test_an_instance_is_given_as_it_is_stored,
    test_an_instance_over_the_limit_is_cut_off_and_one_at_it_is_taken,
    test_an_instance_that_is_not_there_is_told_apart,
    test_frames_are_counted_before_they_are_fetched,
    test_the_first_archive_is_that_of_studies_which_name_none,
)
from tests.dicom_files import LOSSLESS, STUDY, dicom_file, dicom_jpeg, dicom_lossless
from tests.flow.archived import ask_for_the_study
from tests.flow.boxes import boxes_at_ehr, near, sees_green
from tests.flow.world import ManualClock, World, a_world
from tests.peers.pacs import PASSWORD, USER, Orthanc, orthanc
from tests.unit.imaging.pictures import a_jpeg, a_raster

from fundus_relay.adapters.database.pool import Pool
from fundus_relay.adapters.dicomweb import DicomwebArchive
from fundus_relay.demonstration.ehr import demonstration_ehr
from fundus_relay.domain.geometry import Box
from fundus_relay.domain.states import AcquisitionState
from fundus_relay.settings import Archive

MARKED = Box(301, 402, 395, 470)
SYNTAXES = {**LOSSLESS, "JPEG baseline": JPEGBaseline8Bit}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with orthanc(tmp_path_factory.mktemp("orthanc")) as archive:
        yield archive


@pytest.fixture
def archive(running: Orthanc) -> Orthanc:
    running.empty()
    return running


@pytest.fixture
async def setting(archive: Orthanc, tmp_path: Path) -> AsyncIterator[Setting]:
    async def put(file: bytes) -> None:
        archive.store(file)

    async with in_front_of(archive.url, tmp_path, username=USER, password=PASSWORD) as made:
        yield replace(made, put=put)


@pytest.fixture
async def world(pool: Pool, tmp_path: Path, archive: Orthanc) -> AsyncIterator[World]:
    """A world whose studies lie in the real archive, and whose analyser finds what is green."""
    transport = httpx.ASGITransport(app=demonstration_ehr())
    async with (
        httpx.AsyncClient(transport=transport, base_url="http://ehr.test") as ehr,
        client(archive) as studies,
    ):
        made = a_world(pool, tmp_path, ehr)
        made.ports = replace(made.ports, archive=studies)
        made.analyser.look = sees_green
        yield made


def client(archive: Orthanc, password: str = PASSWORD) -> DicomwebArchive:
    settings = Archive.model_validate({"base_url": archive.url, "username": USER, "password": password})
    return DicomwebArchive([settings], ManualClock())


def stored_as(name: str, box: Box = MARKED, **how: str) -> bytes:
    """A photograph with a green box, in one of `SYNTAXES`."""
    if name == "JPEG baseline":
        return dicom_jpeg(a_jpeg(marked=box), **how)
    return dicom_lossless(np.asarray(a_raster(marked=box)), SYNTAXES[name], **how)


@pytest.mark.parametrize("name", SYNTAXES)
async def test_a_study_becomes_a_report_whose_box_lies_where_it_was_found(
    world: World, archive: Orthanc, name: str
) -> None:
    file = stored_as(name, instance="1.2.3.1")
    archive.store(file)
    await ask_for_the_study(world)

    await world.finish()

    (image,) = await world.images()
    assert image.source.sha256 == sha256(file).hexdigest()  # nothing was coded anew on the way
    assert await boxes_at_ehr(world) == [near(MARKED)]
    assert (await world.report())["status"] == "preliminary"


async def test_every_frame_and_every_instance_has_its_own_box(world: World, archive: Orthanc) -> None:
    boxes = [Box(50, 60, 120, 150), Box(600, 500, 640, 590), Box(1200, 30, 1280, 70)]
    frames = np.stack([np.asarray(a_raster(marked=box, noise=0)) for box in boxes[:2]])
    archive.store(dicom_file(frames, frames=2, instance="1.2.3.1"), stored_as("JPEG baseline", boxes[2]))
    await ask_for_the_study(world)

    await world.finish()

    assert sorted(await boxes_at_ehr(world)) == [near(box) for box in boxes]
    await world.report()


async def test_a_jpeg_reaches_the_analyser_bit_for_bit(world: World, archive: Orthanc) -> None:
    bare = a_jpeg(marked=MARKED, minimal=True)
    archive.store(dicom_jpeg(bare, instance="1.2.3.1"))
    await ask_for_the_study(world)

    await world.finish()

    (image,) = await world.images()
    assert image.prepared is not None
    sent = await world.ports.blobs.get(image.prepared.sha256)
    assert Image.open(BytesIO(sent)).tobytes() == Image.open(BytesIO(bare)).tobytes()
    assert bare[bare.index(b"\xff\xda") :] == sent[sent.index(b"\xff\xda") :]


async def test_an_image_that_comes_late_amends_the_report(world: World, archive: Orthanc) -> None:
    archive.store(stored_as("RLE", instance="1.2.3.1"))
    await ask_for_the_study(world)
    await world.finish()
    archive.store(stored_as("JPEG-LS", instance="1.2.3.2", ImageLaterality="L"))

    await ask_for_the_study(world)
    await world.finish()

    report = await world.report()
    assert "Left eye" in report["conclusion"] and "Right eye" in report["conclusion"]
    assert len(await world.images()) == world.analyser.times_paid == 2


async def test_a_study_that_is_not_there_yet_is_waited_for(world: World, archive: Orthanc) -> None:
    await ask_for_the_study(world)
    await world.finish(rounds=1)
    assert "images-missing" in await world.reasons()
    archive.store(stored_as("JPEG 2000"))

    await world.finish()

    await world.report()


async def test_an_archive_that_is_stopped_in_the_middle_loses_nothing(world: World, archive: Orthanc) -> None:
    archive.store(stored_as("JPEG baseline", instance="1.2.3.1"))
    await ask_for_the_study(world)
    archive.stop()
    try:
        await world.finish(rounds=1)
        assert "archive-unavailable" in await world.reasons()
    finally:
        archive.start()

    await world.finish()

    await world.report()
    assert world.analyser.times_paid == 1


async def test_a_wrong_password_waits_for_an_operator_and_then_goes_on(world: World, archive: Orthanc) -> None:
    archive.store(stored_as("JPEG baseline", instance="1.2.3.1"))
    right = world.ports
    async with client(archive, password="wrong") as wrong:
        world.ports = replace(right, archive=wrong)
        await ask_for_the_study(world)
        await world.finish(rounds=1)
        assert "archive-credentials-refused" in await world.reasons()

    world.ports = right
    world.clock.advance(timedelta(hours=1))
    await world.finish()

    await world.report()
    async with world.ports.ledger.transaction() as tx:
        (acquisition,) = await tx.acquisitions_for("study-1")
    assert acquisition.state is AcquisitionState.COMPLETE
    assert acquisition.study_uid == STUDY
