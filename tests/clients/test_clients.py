"""Stock clients that nobody here wrote, unmodified, over real HTTP: two of npm and one with pins of its own.

fhirclient and fhirpy, which share our environment, run in `tests/flow/test_rest_wire.py`.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.serving import served
from tests.unit.imaging.pictures import a_jpeg

from fundus_relay.adapters.blobs import DirectoryBlobs
from fundus_relay.adapters.clock import SystemClock
from fundus_relay.adapters.database.ledger import PostgresLedger
from fundus_relay.adapters.image_archive import HttpImageArchive
from fundus_relay.api.app import application
from fundus_relay.pipeline.receive import Limits

HERE = Path(__file__).parent
KINDLING = HERE.parents[1] / ".venv-kindling" / "bin" / "python"
PATIENTS = 25

needs_node = pytest.mark.skipif(
    shutil.which("node") is None or not (HERE / "node_modules").is_dir(),
    reason="NOT RUN: the npm clients need Node; with it, `make test` installs them",
)
needs_kindling = pytest.mark.skipif(
    not KINDLING.exists(), reason="NOT RUN: fhir-kindling's own environment is missing; `make test` makes it"
)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A JPEG of more than a megabyte."""
    file = tmp_path / "eye.jpg"
    file.write_bytes(a_jpeg(noise=60, quality=98))
    assert file.stat().st_size > 1_000_000
    return file


@pytest.fixture
async def base(ledger: PostgresLedger, tmp_path: Path) -> AsyncIterator[str]:
    """The FHIR endpoint, with 25 Patients."""
    app = application(
        ledger=ledger,
        blobs=DirectoryBlobs(tmp_path / "blobs"),
        archive=HttpImageArchive(sources=(), private_networks=()),
        clock=SystemClock(),
        limits=Limits(),
        max_body_bytes=60_000_000,
    )
    async with served(app) as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        for number in range(PATIENTS):
            patient = {"resourceType": "Patient", "id": f"p{number}"}
            (await client.put(f"/fhir/Patient/p{number}", json=patient)).raise_for_status()
        yield f"{url}/fhir"


async def run(command: Sequence[str], base: str, picture: Path) -> dict[str, Any]:
    """What the client prints."""
    client = await asyncio.create_subprocess_exec(
        *command, base, str(picture), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(client.communicate(), 120)
    assert client.returncode == 0, err.decode()[-2000:]
    told: dict[str, Any] = json.loads(out.decode().splitlines()[-1])
    return told


async def check_created(created: dict[str, Any], picture: Path, base: str) -> None:
    """The client holds the resource, without pixels, and the pixels can be fetched."""
    assert created["meta"]["versionId"] == "1"
    assert "data" not in created["content"]
    async with httpx.AsyncClient(trust_env=False) as client:
        pixels = (await client.get(created["content"]["url"])).content
        assert pixels == await asyncio.to_thread(picture.read_bytes)
        tasks = (await client.get(f"{base}/Task", params={"focus": f"Media/{created['id']}"})).json()
    assert tasks["total"] == 1


@needs_node
@pytest.mark.parametrize("slash", ["", "/"], ids=["base without a slash", "base with a slash"])
async def test_fhir_kit_client(base: str, picture: Path, slash: str) -> None:
    told = await run(["node", str(HERE / "kit.mjs")], base + slash, picture)

    await check_created(told["created"], picture, base)
    assert told["again"] == told["read"] == told["created"]["id"]
    assert (told["vread"], told["found"], told["fhirVersion"]) == ("1", 1, "4.0.1")
    assert told["pages"] == [10, 10]
    assert [status[:3] for status in told["transaction"]] == ["201", "201"]
    assert told["refused"] == {"status": 422, "code": "code-invalid"}


@needs_node
async def test_medplum_client(base: str, picture: Path) -> None:
    told = await run(["node", str(HERE / "medplum.mjs")], base, picture)

    await check_created(told["created"], picture, base)
    assert told["again"] == told["read"] == told["created"]["id"]
    assert (told["vread"], told["found"]) == ("1", 1)
    assert told["pages"] == [10, 10, 5]
    assert [status[:3] for status in told["transaction"]] == ["201", "201"]
    assert told["refused"]["code"] == "code-invalid"
    assert "status" in told["refused"]["text"]


@needs_kindling
async def test_fhir_kindling(base: str, picture: Path) -> None:
    told = await run([str(KINDLING), str(HERE / "kindling.py")], base, picture)

    await check_created(told["read"], picture, base)
    assert told["created"]["id"] == told["read"]["id"]
    assert told["found"] == 1
    assert told["patients"] == PATIENTS
    assert len(told["transaction"]) == 2
    assert told["several"] == 3
    assert told["refused"] is not None
