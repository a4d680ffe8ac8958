"""An archive of studies under test, and the small instances that are put into it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
from tests.dicom_files import STUDY, a_scene, dicom_file
from tests.flow.world import ManualClock

from fundus_relay.adapters.blobs import DirectoryBlobs
from fundus_relay.adapters.dicomweb import DicomwebArchive
from fundus_relay.domain.dicom import InstanceName
from fundus_relay.pipeline.ports import StudyArchive
from fundus_relay.settings import Archive

SECRET = "hush"
NOBODY = InstanceName(STUDY, "1.2.3", "1.2.3.4")


def a_file(number: int = 1, *, series: int = 1, **how: Any) -> bytes:  # Any: as dicom_file
    """A small instance of the study; the number in its name counts down, so that names and numbers differ in order."""
    return dicom_file(
        a_scene(8, 8, seed=number),
        series=f"{STUDY}.{100 - series}",
        instance=f"{STUDY}.{100 - series}.{1000 - number}",
        **{"SeriesNumber": series, "InstanceNumber": number, "PatientID": "canary-1", **how},
    )


def name_of(file: bytes) -> InstanceName:
    header = pydicom.dcmread(BytesIO(file), stop_before_pixels=True)
    return InstanceName(header.StudyInstanceUID, header.SeriesInstanceUID, header.SOPInstanceUID)


@dataclass
class Setting:
    """An archive under test, how something gets into it, and what it gives."""

    archive: StudyArchive
    address: str
    put: Callable[[bytes], Awaitable[None]]
    folder: Path

    async def fetch(self, name: InstanceName, limit: int = 10_000_000, *, at: str | None = None) -> bytes:
        draft = DirectoryBlobs(self.folder).draft()
        try:
            await self.archive.fetch(at or self.address, name, draft, limit=limit)
            async with draft.view() as data:
                return bytes(data)
        finally:
            assert draft.byte_count <= limit
            await draft.drop()


@asynccontextmanager
async def in_front_of(
    address: str, folder: Path, clock: ManualClock | None = None, **how: Any
) -> AsyncIterator[Setting]:
    """The real client of an archive, with the settings that matter."""

    async def put(_: bytes) -> None:
        raise AssertionError("it takes nothing")

    settings = Archive.model_validate({"base_url": address, **how})
    async with DicomwebArchive([settings], clock or ManualClock()) as archive:
        yield Setting(archive, address, put, folder)
