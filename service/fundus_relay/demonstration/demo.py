"""`fundus-relay demo`: pictures from an EHR to the analyser and back, on this machine, with something to look at."""

from __future__ import annotations

import base64
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from fundus_relay.imaging.format import media_type_of

from .pictures import normal_eye, painted_eye
from .stack import Addresses, LocalPorts, running

Json = dict[str, Any]  # a FHIR resource, as an EHR would handle it

GIVE_UP_AFTER_S = 180.0
PATIENT = "Patient/demo-patient"
LEFT_EYE = {"coding": [{"system": "http://snomed.info/sct", "code": "362503005", "display": "Entire left eye"}]}
DISCLAIMER = "Demonstration with a stand-in for the analyser. No medical device; nothing here is a diagnosis."


class DemoFailed(Exception):
    """The line did not bring a picture through."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What the demonstration submits.

    Attributes:
        eye: bodySite of the Media, or None when nobody said which eye it is.
    """

    name: str
    title: str
    data: bytes
    eye: Json | None


def demonstrate(image: Path | None, out: Path) -> None:
    """Run the whole line once for each picture; reports and drawings are left in `out`.

    Raises:
        DemoFailed: a picture did not come through; its text says why.
        StackFailed: a server did not start.
    """
    out.mkdir(parents=True, exist_ok=True)
    logs = out / "services.log"
    logs.unlink(missing_ok=True)
    pictures = _pictures(image)
    print(DISCLAIMER)
    print("Starting the service, the analyser stand-in and the demonstration EHR ...", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="fundus-relay-demo-") as data_dir,
        running(LocalPorts.free(), Path(data_dir), logs=logs) as at,
        httpx.Client(trust_env=False, timeout=60) as client,
    ):
        for picture in pictures:
            _carry(picture, at, client, out)
    print(f"\nThe FHIR JSON, the PDFs, the pictures with their boxes and the services' log are in {out}/")


def _pictures(image: Path | None) -> Sequence[Picture]:
    if image is not None:
        return [Picture(image.stem, str(image), image.read_bytes(), None)]
    return [
        Picture("normal-eye", "the CC0 normal eye of scikit-image", normal_eye(), LEFT_EYE),
        Picture(
            "painted-lesions-synthetic", "the same eye with lesions painted on it (synthetic)", painted_eye(), LEFT_EYE
        ),
    ]


def _carry(picture: Picture, at: Addresses, client: httpx.Client, out: Path) -> None:
    print(f"\n── {picture.title} ({len(picture.data) / 1e6:.1f} MB)")
    answer = client.post(f"{at.fhir}/Media", json=_media(picture), headers={"Prefer": "return=representation"})
    if answer.status_code != httpx.codes.CREATED:
        raise DemoFailed(f"the service answered {answer.status_code}: {_diagnostics(answer.json())}")
    media = answer.json()
    print(f"   POST Media            201  {answer.headers['Location']}")
    task = _follow(media, at, client)
    report = _at_ehr(task, at, client)
    resources = [entry["resource"] for entry in report["entry"]]
    (out / f"{picture.name}.report.json").write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    print(_table(resources))
    for resource in resources:
        if resource["resourceType"] == "DiagnosticReport":
            print(f"   report at the EHR     {at.ehr}/DiagnosticReport/{resource['id']}  ({resource['status']})")
            for file, attachment in _pages(picture, resource, at, client):
                (out / file).write_bytes(_bytes(attachment, client))
                print(f"   {attachment['contentType']:<21} {out / file}")


def _media(picture: Picture) -> Json:
    return {
        "resourceType": "Media",
        "status": "completed",
        "identifier": [{"system": "urn:ietf:rfc:3986", "value": f"urn:fundus-relay:demo:{picture.name}"}],
        "subject": {"reference": PATIENT},
        "createdDateTime": datetime.now(UTC).isoformat(timespec="seconds"),
        **({"bodySite": picture.eye} if picture.eye else {}),
        "content": {"contentType": media_type_of(picture.data), "data": base64.b64encode(picture.data).decode()},
    }


def _follow(media: Json, at: Addresses, client: httpx.Client) -> Json:
    """The finished Task of a Media; every change of it is shown."""
    deadline = time.monotonic() + GIVE_UP_AFTER_S
    shown = ""
    while time.monotonic() < deadline:
        found = client.get(f"{at.fhir}/Task", params={"focus": f"Media/{media['id']}"}).raise_for_status().json()
        task: Json = found["entry"][0]["resource"]
        now = f"{task['status']}: {task.get('businessStatus', {}).get('text', '')}"
        if now != shown:
            print(f"   Task                  {now}", flush=True)
            shown = now
        if task["status"] == "completed":
            return task
        if task["status"] in {"failed", "rejected", "on-hold", "cancelled"}:
            raise DemoFailed(f"{now} {task.get('statusReason', {}).get('text', '')}")
        time.sleep(0.2)
    raise DemoFailed(f"no report after {GIVE_UP_AFTER_S:.0f} s; the Task says {shown}")


def _at_ehr(task: Json, at: Addresses, client: httpx.Client) -> Json:
    """The report as the EHR now holds it, with its Observations, as a searchset."""
    ours = next(
        output["valueReference"]["reference"]
        for output in task["output"]
        if output.get("valueReference", {}).get("reference", "").startswith("DiagnosticReport/")
    )
    report = client.get(f"{at.fhir}/{ours}").raise_for_status().json()
    identifier = report["identifier"][0]
    found: Json = (
        client.get(
            f"{at.ehr}/DiagnosticReport",
            params={
                "identifier": f"{identifier['system']}|{identifier['value']}",
                "_include": "DiagnosticReport:result",
            },
        )
        .raise_for_status()
        .json()
    )
    return found


def _pages(picture: Picture, report: Json, at: Addresses, client: httpx.Client) -> Iterator[tuple[str, Json]]:
    """What people look at of a report at the EHR: a name for each file, and where it lies."""
    for form in report.get("presentedForm", []):
        yield f"{picture.name}.report.pdf", form
    for shown in report.get("media", []):
        media = client.get(f"{at.ehr}/{shown['link']['reference']}").raise_for_status().json()
        if any(each["reference"].startswith("Media/") for each in media.get("partOf", [])):  # drawn from a photograph
            yield f"{picture.name}.boxes.jpg", media["content"]


def _bytes(attachment: Json, client: httpx.Client) -> bytes:
    if "data" in attachment:
        return base64.b64decode(attachment["data"])
    return client.get(attachment["url"], headers={"Accept": attachment["contentType"]}).raise_for_status().content


def _table(resources: Sequence[Json]) -> str:
    rows, boxes = [("eye", "finding", "value")], 0
    for resource in resources:
        if resource["resourceType"] == "Observation" and not resource.get("hasMember"):
            rows.append((_eye(resource), _words(resource["code"]), _value(resource)))
            boxes += sum("extension" in each for each in resource.get("component", []))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ["   " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, "   " + "  ".join("─" * width for width in widths))
    return "\n".join([*lines, f"   {boxes} lesion boxes"])


def _eye(observation: Json) -> str:
    return _words(observation.get("bodySite", {})) or "not stated"


def _value(observation: Json) -> str:
    if "valueCodeableConcept" in observation:
        return _words(observation["valueCodeableConcept"])
    if "dataAbsentReason" in observation:
        return f"no value: {_words(observation['dataAbsentReason'])}"
    kinds: dict[str, int] = {}
    for component in observation.get("component", []):
        kinds[_words(component["code"])] = kinds.get(_words(component["code"]), 0) + 1
    return ", ".join(f"{count} × {kind}" for kind, count in sorted(kinds.items()))


def _words(concept: Json) -> str:
    return str(concept.get("text") or next((c["display"] for c in concept.get("coding", []) if "display" in c), ""))


def _diagnostics(outcome: Json) -> str:
    return "; ".join(str(issue.get("diagnostics", issue.get("code"))) for issue in outcome.get("issue", []))
