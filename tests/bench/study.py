"""(f) A study of photographs of 12 megapixels, fetched from an archive: memory, and processor time beside its floor."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import httpx
from PIL import Image
from tests.imaging_studies import an_imaging_study

from fundus_relay.adapters.database.embedded import embedded_postgres

from .archive import KINDS, Kind, jpeg_of, pixels, study_uid
from .processes import Watched, free_port, parties, started, surroundings

COUNTS = (20, 200)
"""Photographs in a study: memory that is flat is the same for both."""


@dataclass(frozen=True, slots=True)
class Row:
    """What one study took.

    Attributes:
        floor_cpu_s: for each photograph: decoding it once and encoding it once.
    """

    kind: str
    count: int
    images_per_s: float
    peak_mib: float
    cpu_s: float
    floor_cpu_s: float


def measure() -> list[Row]:
    """Each kind in a process of its own, so that each has its own peak."""
    rows = []
    for kind in KINDS:
        floor = _floor(kind)
        rows += [_study(kind, count, floor) for count in COUNTS]
    return rows


def _study(kind: Kind, count: int, floor: float) -> Row:
    archive, port = free_port(), free_port()
    with (
        tempfile.TemporaryDirectory(prefix="fundus-relay-bench-") as name,
        embedded_postgres(Path(name) / "pg") as url,
        parties(kind.analyser, name) as (standin, ehr),
        started(["tests.bench.archive", str(archive)], archive, "/livez"),
    ):
        environment = {
            **surroundings(name, url, port=port, standin=standin, ehr=ehr, poll_s=0.5),
            "FUNDUS_RELAY_ACQUISITION__ARCHIVES": json.dumps([{"base_url": f"http://127.0.0.1:{archive}/dicom-web"}]),
        }
        with started(["fundus_relay", "serve"], port, "/readyz", environment) as relay:
            began, cpu = time.perf_counter(), relay.cpu_s
            asyncio.run(_through(relay, study_uid(kind, count)))
            took = time.perf_counter() - began
            return Row(kind.name, count, count / took, relay.peak_mib, (relay.cpu_s - cpu) / count, floor)


async def _through(relay: Watched, study: str) -> None:
    """Ask for the study and wait until its report is at the EHR."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{relay.port}/fhir", trust_env=False, timeout=60) as client:
        (await client.post("/ImagingStudy", json=an_imaging_study(study))).raise_for_status()
        while True:
            answer = (await client.get("/Task")).raise_for_status().json()
            (status,) = {each["resource"]["status"] for each in answer["entry"]}
            if status == "completed":
                return
            if status in {"failed", "rejected", "on-hold"}:
                raise RuntimeError(json.dumps(answer))
            await asyncio.sleep(0.5)


def _floor(kind: Kind) -> float:
    """Processor seconds to decode a photograph once and to encode it once as the analyser may have it."""
    stored = jpeg_of(kind.encoded) if kind.encoded is not None else None
    began = sum(os.times()[:2])
    rounds = 5
    for _ in range(rounds):
        image = Image.open(BytesIO(stored)) if stored else Image.fromarray(pixels())
        image.load()
        image.save(BytesIO(), "JPEG", quality=92, subsampling="4:4:4")
    return (sum(os.times()[:2]) - began) / rounds


def table(rows: list[Row]) -> str:
    """As Markdown."""
    lines = [
        "| stored as | photographs | images/s | peak RSS MiB | CPU s/image | floor s | of the floor |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        ratio = row.cpu_s / row.floor_cpu_s
        lines.append(
            f"| {row.kind} | {row.count} | {row.images_per_s:.1f} | {row.peak_mib:.0f} | {row.cpu_s:.2f} "
            f"| {row.floor_cpu_s:.2f} | {ratio:.1f} |"
        )
    return "\n".join(lines)
