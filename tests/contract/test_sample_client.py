"""The vendor document's own sample client, its quotes and indentation mended and nothing else, against the stand-in.

Source: Netra API 1.0, "Sample Code Python". The client asks at once after its upload, and then every 90 seconds; the
stand-in's `instant` analyser has ended by then, so that no test sleeps.
"""

from __future__ import annotations

import ast
import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.serving import served
from tests.unit.imaging.pictures import a_jpeg

from fundus_relay.netra.replies import read_reply, read_result
from fundus_relay.standin.app import standin
from fundus_relay.standin.settings import StandinSettings

CLIENT = Path(__file__).parent / "sample_client" / "sendImageGetResultForApiDoc.py"

CONFIG = """
fileToProcess = "{folder}/sampleRetina.jpeg"
jobStatusApiUrl = "{url}/v1/getStatus"
jobResultApiUrl = "{url}/v1/getResult"
getApiTokenUrl = "{url}/v1/getToken"
imageUploadApiUrl = "{url}/v1/doAnalysis"
usernameForGetToken = "demo"
passForGetToken = "{password}"
bulkImageLabel = "testLabelBulkImg"
"""


async def run(folder: Path, url: str, picture: bytes, password: str = "demo") -> list[str]:
    """Lines that the client prints."""
    (folder / "sampleRetina.jpeg").write_bytes(picture)
    (folder / "config").mkdir()
    (folder / "config" / "__init__.py").touch()
    config = CONFIG.format(folder=folder, url=url, password=password)
    (folder / "config" / "config_testing.py").write_text(config)
    client = await asyncio.create_subprocess_exec(
        sys.executable,
        str(CLIENT),
        cwd=folder,
        env={**os.environ, "NO_PROXY": "*"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await asyncio.wait_for(client.communicate(), 60)
    return printed.decode().splitlines()


@pytest.fixture
def settings(tmp_path: Path) -> StandinSettings:
    return StandinSettings(analyser="instant", state=tmp_path / "standin.sqlite")


async def test_the_sample_client_goes_from_token_to_result(tmp_path: Path, settings: StandinSettings) -> None:
    async with served(standin(settings)) as url:
        upload, status, result = map(ast.literal_eval, await run(tmp_path, url, a_jpeg()))

    told: dict[str, Any] = result
    assert (upload["status"], upload["jobStatus"], upload["remaining"]) == (200, "QUEUED", settings.credits - 1)
    assert (status["status"], status["statusJob"]) == (200, "COMPLETED")
    assert '}"lesionBbox":[' in told["result"]
    assert len(told["usedOn"]) == 16
    assert read_result(read_reply(json.dumps(told).encode()), upload["jobId"]) is not None


async def test_the_sample_client_is_told_what_is_wrong_with_a_picture(
    tmp_path: Path, settings: StandinSettings
) -> None:
    async with served(standin(settings)) as url:
        printed = await run(tmp_path, url, b"GIF89a")

    assert printed[-1] == "Image Upload Status :  411 LC-ERR-0034 : Only jpeg and png type images allowed."


async def test_the_sample_client_is_told_that_its_password_is_wrong(tmp_path: Path, settings: StandinSettings) -> None:
    async with served(standin(settings)) as url:
        printed = await run(tmp_path, url, a_jpeg(), password="wrong")

    assert printed == ["Invalid username or password."]
