"""A small archive that speaks DICOMweb, which a test fills and breaks."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.fakes.archive import DicomwebServer
from tests.serving import served


@pytest.fixture
async def dicomweb() -> DicomwebServer:
    return DicomwebServer()


@pytest.fixture
async def address(dicomweb: DicomwebServer) -> AsyncIterator[str]:
    async with served(dicomweb.app) as url:
        yield f"{url}/dicom-web"
