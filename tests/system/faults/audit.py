"""What the EHR holds and what was paid, held against what the callers were told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg
from tests.system.faults.callers import Json, Photograph

UNFINISHED = """
    select 'image', id::text, state, reason, attempt, due_at - now() as due, job_id is not null, job_status from image
     where state in ('received', 'prepared', 'sending', 'analysing', 'parked')
    union all
    select 'delivery', id::text, state, reason, attempt, due_at - now(), null, null from delivery
     where state in ('due', 'writing', 'parked')
    union all
    select 'study_look', study_id::text, '', '', 0, at - now(), null, null from study_look
    union all
    select 'job ' || task_name, args::text, status::text, 'worker ' || coalesce(worker_id::text, '-'), attempts,
           scheduled_at - now(), null,
           (select 'beat ' || (now() - last_heartbeat) from engine.procrastinate_workers as beating
             where beating.id = worker_id)
      from engine.procrastinate_jobs where status in ('todo', 'doing') and task_name <> 'sweep'
"""

ELSEWHERE = """
    select 'session', pid, state, wait_event, backend_start - now(), state_change - now(), left(query, 160)
      from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
"""


@dataclass
class Findings:
    """What is wrong, and the counts."""

    wrong: list[str]
    images: int
    paid: int
    counted: int


def unfinished(database_url: str) -> list[str]:
    """What waits for what, in the service's own words; empty when it is at rest."""
    with psycopg.connect(database_url, options="-c search_path=relay,engine -c statement_timeout=5s") as connection:
        return [" ".join(str(word) for word in row if word is not None) for row in connection.execute(UNFINISHED)]


def sessions(database_url: str) -> list[str]:
    with psycopg.connect(database_url) as connection:
        return [" ".join(map(str, row)) for row in connection.execute(ELSEWHERE)]


async def audit(photographs: Sequence[Photograph], ehr: str, analyser: str, database_url: str) -> Findings:
    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
        kinds = ("DiagnosticReport", "Observation", "Provenance")
        held = {kind: await all_of(client, ehr, kind) for kind in kinds}
        counts = (await client.get(f"{analyser}/admin/counts")).json()
    wrong = [f"{each.name} was refused: {each.refused}" for each in photographs if each.refused]
    wrong += [f"{each.name} was told twice, as {sorted(each.told)}" for each in photographs if len(each.told) > 1]
    wrong += [*_twice(held["DiagnosticReport"]), *_twice(held["Observation"])]
    wrong += _lost(photographs, held["DiagnosticReport"], held["Observation"])
    wrong += _unproven(held["DiagnosticReport"], held["Provenance"])
    images, counted = _in_tables(database_url)
    told = sum(1 for each in photographs if each.told)
    if images != told:
        wrong.append(f"{told} photographs were acknowledged and {images} are kept")
    if not images <= counts["uploads"] <= images + counted:
        wrong.append(f"{counts['uploads']} paid for {images} images, {counted} counted as possibly double")
    return Findings(wrong, images, counts["uploads"], counted)


async def all_of(client: httpx.AsyncClient, ehr: str, kind: str) -> list[Json]:
    found: list[Json] = []
    address: str | None = f"{ehr}/fhir/{kind}?_count=1000"
    while address:
        page = (await client.get(address)).json()
        found += [entry["resource"] for entry in page.get("entry", [])]
        address = next((link["url"] for link in page.get("link", []) if link["relation"] == "next"), None)
    return found


def _twice(resources: Sequence[Json]) -> list[str]:
    """Two of one identifier."""
    counts = Counter((each["resourceType"], each["identifier"][0]["value"]) for each in resources)
    return [f"{count} {kind} have the identifier {value}" for (kind, value), count in counts.items() if count > 1]


def _lost(photographs: Sequence[Photograph], reports: Sequence[Json], observations: Sequence[Json]) -> list[str]:
    wrong: list[str] = []
    there = {f"Observation/{each['id']}": each for each in observations}
    for patient in sorted({each.patient for each in photographs if each.told}):
        told = sum(1 for each in photographs if each.patient == patient and each.told)
        mine = [each for each in reports if each["subject"]["reference"] == f"Patient/{patient}"]
        if len(mine) != 1:
            wrong.append(f"{patient} has {len(mine)} reports")
            continue
        shown = [each for each in mine[0].get("media", []) if "boxes" not in each.get("comment", "")]
        if mine[0]["status"] != "preliminary" or len(shown) != told:
            wrong.append(f"the report of {patient} is {mine[0]['status']} and tells of {len(shown)} of {told} images")
        if missing := [each["reference"] for each in mine[0]["result"] if each["reference"] not in there]:
            wrong.append(f"the report of {patient} refers to {len(missing)} Observations that the EHR does not have")
        current = {each["reference"] for each in mine[0]["result"]}
        stray = [
            name
            for name, each in there.items()
            if each["subject"]["reference"] == f"Patient/{patient}"
            and each["status"] != "entered-in-error"
            and name not in current
        ]
        if stray:
            wrong.append(f"{len(stray)} Observations of {patient} belong to no report")
    return wrong


def _unproven(reports: Sequence[Json], provenances: Sequence[Json]) -> list[str]:
    """Each revision that arrived has one Provenance, and each report has the one of its last."""
    counts: Counter[tuple[str, str]] = Counter()
    for each in provenances:
        report = next(t["reference"] for t in each["target"] if t["reference"].startswith("DiagnosticReport/"))
        counts[report, each["recorded"]] += 1
    wrong = [f"{count} Provenances of one revision of {report}" for (report, _), count in counts.items() if count > 1]
    for report in reports:
        if counts[f"DiagnosticReport/{report['id']}", report["issued"]] != 1:
            wrong.append(f"the last revision of DiagnosticReport/{report['id']} has no Provenance")
    return wrong


def _in_tables(database_url: str) -> tuple[int, int]:
    """Images, and credits that were counted as possibly spent twice."""
    with psycopg.connect(database_url, options="-c search_path=relay") as connection:
        row: Any = connection.execute(  # Any: two numbers
            "select (select count(*) from image where state not in ('cancelled', 'rejected')), possibly_double_spent"
            "  from account"
        ).fetchone()
    return int(row[0]), int(row[1])
