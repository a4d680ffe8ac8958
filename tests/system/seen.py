"""What came of a photograph in a running stack: what the stand-in saw on it, and what the EHR holds."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
from tests.system.stack import Stack

from fundus_relay.domain.geometry import Box
from fundus_relay.imaging.preparation import Prepared

Json = dict[str, Any]  # Any: FHIR JSON


async def until_completed(focus: str, stack: Stack, client: httpx.AsyncClient) -> Json:
    """The Task of what was sent, once it is completed."""
    async with asyncio.timeout(600):
        while True:
            found = (await client.get(f"{stack.fhir}/Task", params={"focus": focus})).json()
            task: Json = found["entry"][0]["resource"]
            if task["status"] == "completed":
                return task
            assert task["status"] in {"accepted", "in-progress"}, task
            await asyncio.sleep(0.3)


async def observations_at_ehr(media: str, stack: Stack, client: httpx.AsyncClient) -> list[Json]:
    """The Observations at the EHR that were made of this photograph."""
    own = (await client.get(f"{stack.fhir}/Observation", params={"derived-from": media})).json()
    tokens = [
        f"{each['resource']['identifier'][0]['system']}|{each['resource']['identifier'][0]['value']}"
        for each in own["entry"]
    ]
    found = (await client.get(f"{stack.ehr}/Observation", params={"identifier": ",".join(tokens)})).json()
    return [entry["resource"] for entry in found["entry"]]


async def seen_by_the_standin(prepared: Prepared, stack: Stack, client: httpx.AsyncClient) -> Json:
    """What the stand-in answered for a prepared picture, read from its well-formed twin; boxes in source pixels."""
    job = (await client.get(f"{stack.standin}/admin/jobs", params={"sha256": prepared.sha256})).json()[0]
    head, _, tail = job["result"].partition('"lesionBbox":')
    answers = json.loads(head)
    boxes = [(each["lesionType"], Box(*json.loads(each["bbox"]))) for each in json.loads(tail.removesuffix("}"))]
    is_told = answers["eyeOrNot"] == "YES" and answers["imageQuality"] == "Gradable Image"
    return {
        "boxes": sorted((word, *_corners(prepared.to_source.box(box))) for word, box in boxes),
        "presence": answers["drYes"] if is_told else None,
    }


def _corners(box: Box) -> tuple[float, ...]:
    return tuple(round(value, 3) for value in (box.x_min, box.y_min, box.x_max, box.y_max))


def is_about(observation: Json, code: str) -> bool:
    return any(coding["code"] == code for coding in observation["code"]["coding"])


def boxes_of(observations: list[Json]) -> list[tuple[Any, ...]]:
    """Word and corners in source pixels of every lesion, sorted."""
    boxes = []
    for observation in observations:
        for component in observation.get("component", []):
            for extension in component.get("extension", []):
                parts = {part["url"]: part for part in extension["extension"]}
                corners = (parts[name]["valueDecimal"] for name in ("xMin", "yMin", "xMax", "yMax"))
                assert parts["frame"]["valueCode"] == "source-image"
                boxes.append((component["code"]["text"], *corners))
    return sorted(boxes)
