"""Those who send photographs, and their own book of what they were told: it knows nothing of the service's tables."""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import httpx
from tests.system.faults.plan import APIS
from tests.system.faults.scene import Scene
from tests.unit.imaging.pictures import a_jpeg

Json = dict[str, Any]  # Any: FHIR JSON

SYSTEM = "urn:fundus-relay:faults"
PATIENCE_S = 4


@dataclass
class Photograph:
    """One that is sent until somebody says 201, or 200 for one that was kept before.

    Attributes:
        told: ids of the Media by which it was acknowledged; two are one too many.
    """

    name: str
    patient: str
    encounter: str
    noise: int
    told: set[str] = field(default_factory=set)
    refused: str = ""


def photographs_of(patients: Sequence[int], seed: int) -> list[Photograph]:
    numbers = [patient for patient, count in enumerate(patients) for _ in range(count)]
    return [Photograph(f"{seed}-{n}", f"p{patient}", f"v{patient}", n) for n, patient in enumerate(numbers)]


@cache
def picture(noise: int) -> str:
    return base64.b64encode(a_jpeg(noise=noise, minimal=True, quality=30)).decode()


async def know_patients(ehr: str, photographs: Sequence[Photograph]) -> None:
    """The EHR's patients and their visits."""
    async with httpx.AsyncClient(trust_env=False) as client:
        for each in {each.patient: each for each in photographs}.values():
            patient = {"resourceType": "Patient", "id": each.patient}
            visit = {
                "resourceType": "Encounter",
                "id": each.encounter,
                "status": "finished",
                "class": {"code": "AMB"},
                "subject": {"reference": f"Patient/{each.patient}"},
            }
            for resource in (patient, visit):
                url = f"{ehr}/fhir/{resource['resourceType']}/{resource['id']}"
                (await client.put(url, json=resource)).raise_for_status()


def media_of(photograph: Photograph, data: str) -> Json:
    """Its Media.

    Args:
        data: the JPEG, in base64.
    """
    return {
        "resourceType": "Media",
        "identifier": [{"system": SYSTEM, "value": photograph.name}],
        "status": "completed",
        "subject": {"reference": f"Patient/{photograph.patient}"},
        "encounter": {"reference": f"Encounter/{photograph.encounter}"},
        "content": {"contentType": "image/jpeg", "data": data},
    }


async def send(photograph: Photograph, scene: Scene, chance: random.Random) -> None:
    """Post it until it is acknowledged; after every failure again, under the same name, as an EHR does."""
    media = media_of(photograph, picture(photograph.noise))
    headers = {"Content-Type": "application/fhir+json", "If-None-Exist": f"identifier={SYSTEM}|{photograph.name}"}
    while True:
        url = f"{scene.address(chance.choice(APIS))}/fhir/Media"
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as client:
                answer = await client.post(url, json=media, headers=headers)
        except httpx.HTTPError:
            answer = None
        if answer is not None and answer.status_code in {200, 201}:
            photograph.told.add(answer.json()["id"])
            return
        if answer is not None and answer.status_code < 500 and answer.status_code != 429:
            photograph.refused = f"{answer.status_code} {answer.text[:300]}"
            return
        await asyncio.sleep(chance.uniform(0.1, 0.6))
