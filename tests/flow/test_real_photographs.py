"""Every real photograph through the whole line: the EHR's boxes are those that the stand-in gave, in source pixels."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.pictures import needs_photographs, photographs
from tests.system.seen import boxes_of, is_about, observations_at_ehr, seen_by_the_standin, until_completed
from tests.system.stack import a_stack

from fundus_relay.domain.errors import UnacceptablePicture
from fundus_relay.imaging.format import examine
from fundus_relay.imaging.preparation import prepare

pytestmark = [pytest.mark.slow, pytest.mark.real_pictures, needs_photographs, pytest.mark.timeout(900)]

AT_ONCE = 4


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Any]:
    async with a_stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


async def test_every_photograph_comes_back_with_the_boxes_that_were_seen_on_it(
    stack: Any, record_property: Callable[[str, str], None]
) -> None:
    files = photographs("idrid/images/*.jpg", "srahim/*.jpg", "normal_cc0/*.jpg", "negatives/*.jpg")
    assert files
    async with httpx.AsyncClient(trust_env=False, timeout=120) as client:
        turns = asyncio.Semaphore(AT_ONCE)

        async def carry(file: Path) -> str:
            async with turns:
                return await _carry(file, stack, client)

        outcomes = Counter(await asyncio.gather(*map(carry, files)))
        paid = (await client.get(f"{stack.standin}/admin/counts")).json()["uploads"]
    record_property("photographs through the whole line", f"{len(files)}, of them {dict(outcomes)}")
    assert paid == len(files) - outcomes["refused"]


async def _carry(file: Path, stack: Any, client: httpx.AsyncClient) -> str:
    """One photograph from POST to the EHR; returns what became of it."""
    picture = await asyncio.to_thread(file.read_bytes)
    answer = await client.post(f"{stack.fhir}/Media", json=_media(picture, file.stem))
    try:
        examine(picture)
    except UnacceptablePicture as why:
        assert answer.status_code == 422
        assert answer.json()["issue"][0]["details"]["coding"][0]["code"] == why.code
        return "refused"
    assert answer.status_code == 201, answer.text
    media = f"Media/{answer.json()['id']}"
    await until_completed(media, stack, client)
    report = await observations_at_ehr(media, stack, client)
    prepared = await asyncio.to_thread(prepare, picture)
    seen = await seen_by_the_standin(prepared, stack, client)
    assert boxes_of(report) == seen["boxes"]
    presence = next(each for each in report if is_about(each, "dr-presence"))
    assert presence.get("valueCodeableConcept", {}).get("text") == seen["presence"]
    return seen["presence"] or "no value"


def _media(picture: bytes, name: str) -> dict[str, Any]:
    return {
        "resourceType": "Media",
        "status": "completed",
        "identifier": [{"system": "urn:fundus-relay:test", "value": name}],
        "subject": {"reference": "Patient/demo-patient"},
        "content": {"contentType": "image/jpeg", "data": base64.b64encode(picture).decode()},
    }
