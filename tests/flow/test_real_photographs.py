"""Every real photograph through the whole line: the EHR's boxes are those that the stand-in gave, in source pixels."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.pictures import needs_photographs, photographs
from tests.system.stack import a_stack

from fundus_relay.domain.errors import UnacceptablePicture
from fundus_relay.domain.geometry import Box
from fundus_relay.imaging.format import examine
from fundus_relay.imaging.preparation import prepare

pytestmark = [pytest.mark.slow, pytest.mark.real_pictures, needs_photographs, pytest.mark.timeout(900)]

AT_ONCE = 4


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Any]:
    async with a_stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


async def test_every_photograph_comes_back_with_the_boxes_that_were_seen_on_it(stack: Any) -> None:
    files = photographs("idrid/images/*.jpg", "srahim/*.jpg", "normal_cc0/*.jpg", "negatives/*.jpg")
    assert files
    async with httpx.AsyncClient(trust_env=False, timeout=120) as client:
        turns = asyncio.Semaphore(AT_ONCE)

        async def carry(file: Path) -> str:
            async with turns:
                return await _carry(file, stack, client)

        outcomes = Counter(await asyncio.gather(*map(carry, files)))
        paid = (await client.get(f"{stack.standin}/admin/counts")).json()["uploads"]
    print(f"\n{len(files)} photographs: {dict(outcomes)}")
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
    await _until_completed(answer.json()["id"], stack, client)
    report = await _at_ehr(file.stem, answer.json()["id"], stack, client)
    prepared = await asyncio.to_thread(prepare, picture)
    seen = await _seen_by_the_standin(prepared.sha256, stack, client)
    assert _boxes(report) == sorted(
        (word, *_corners(prepared.to_source.box(Box(*box)))) for word, *box in seen["boxes"]
    )
    presence = next(each for each in report if _is(each, "dr-presence"))
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


async def _until_completed(media_id: str, stack: Any, client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(600):
        while True:
            found = (await client.get(f"{stack.fhir}/Task", params={"focus": f"Media/{media_id}"})).json()
            task = found["entry"][0]["resource"]
            if task["status"] == "completed":
                return
            assert task["status"] in {"accepted", "in-progress"}, task
            await asyncio.sleep(0.3)


async def _at_ehr(name: str, media_id: str, stack: Any, client: httpx.AsyncClient) -> list[dict[str, Any]]:
    """The Observations at the EHR that were made of this photograph."""
    own = (await client.get(f"{stack.fhir}/Observation", params={"derived-from": f"Media/{media_id}"})).json()
    tokens = [
        f"{each['resource']['identifier'][0]['system']}|{each['resource']['identifier'][0]['value']}"
        for each in own["entry"]
    ]
    found = (await client.get(f"{stack.ehr}/Observation", params={"identifier": ",".join(tokens)})).json()
    return [entry["resource"] for entry in found["entry"]]


async def _seen_by_the_standin(sha256: str, stack: Any, client: httpx.AsyncClient) -> dict[str, Any]:
    """What the stand-in answered for the prepared picture, read from its well-formed twin."""
    job = (await client.get(f"{stack.standin}/admin/jobs", params={"sha256": sha256})).json()[0]
    head, _, tail = job["result"].partition('"lesionBbox":')
    answers = json.loads(head)
    boxes = [(each["lesionType"], *json.loads(each["bbox"])) for each in json.loads(tail.removesuffix("}"))]
    is_told = answers["eyeOrNot"] == "YES" and answers["imageQuality"] == "Gradable Image"
    return {"boxes": boxes, "presence": answers["drYes"] if is_told else None}


def _corners(box: Box) -> tuple[float, float, float, float]:
    return tuple(round(value, 3) for value in (box.x_min, box.y_min, box.x_max, box.y_max))  # type: ignore[return-value]  # four


def _is(observation: dict[str, Any], code: str) -> bool:
    return any(coding["code"] == code for coding in observation["code"]["coding"])


def _boxes(observations: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    boxes = []
    for observation in observations:
        for component in observation.get("component", []):
            for extension in component.get("extension", []):
                parts = {part["url"]: part for part in extension["extension"]}
                corners = (parts[name]["valueDecimal"] for name in ("xMin", "yMin", "xMax", "yMax"))
                assert parts["frame"]["valueCode"] == "source-image"
                boxes.append((component["code"]["text"], *corners))
    return sorted(boxes)
