"""An ImagingStudy: where its pictures lie, which of them are meant, and the Media that each of them becomes.

Source: FHIR R4 4.0.1, imagingstudy ("Mapping: DICOM Tag Mapping", "Background and Context") and endpoint.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fundus_relay.domain.dicom import DicomFacts, InstanceName, is_uid
from fundus_relay.domain.laterality import Laterality
from fundus_relay.domain.values import Json, StoredPicture

from . import codes, names
from .intake.rules import VOID_STATUSES, eyes_of

VOID = VOID_STATUSES["ImagingStudy"]
"""Statuses of a study that its sender has taken back."""

_CONNECTION_TYPE = "http://terminology.hl7.org/CodeSystem/endpoint-connection-type"
_RETRIEVES = "dicom-wado-rs"


def study_uid(study: Json) -> str | None:
    """The Study Instance UID, which stands as an identifier."""
    for identifier in study.get("identifier", []):
        uid = str(identifier.get("value", "")).removeprefix("urn:oid:")
        if identifier.get("system") == names.DICOM_UID and is_uid(uid) and "." in uid:
            return uid
    return None


def endpoints(study: Json) -> Iterator[tuple[str, Json]]:
    """Every reference to an Endpoint, with its path in the study."""
    for index, reference in enumerate(study.get("endpoint", [])):
        yield f"endpoint[{index}]", reference
    for index, series in enumerate(study.get("series", [])):
        for at, reference in enumerate(series.get("endpoint", [])):
            yield f"series[{index}].endpoint[{at}]", reference


def retrieval_address(endpoint: Json) -> str | None:
    """The base URL of an Endpoint from which instances can be retrieved; None when it is for something else."""
    kind = endpoint.get("connectionType", {})
    if (kind.get("system"), kind.get("code")) != (_CONNECTION_TYPE, _RETRIEVES) or endpoint.get("status") != "active":
        return None
    return str(endpoint["address"]).rstrip("/")


def listed_series(study: Json) -> Mapping[str, Json]:
    """The series that the study names, by UID; none when it leaves that to the archive."""
    return {each["uid"]: each for each in study.get("series", [])}


def stated_instances(series: Json) -> frozenset[str]:
    """SOP Instance UIDs that a series names."""
    return frozenset(str(each["uid"]) for each in series.get("instance", []))


def eyes_of_series(series: Json) -> frozenset[str]:
    """Which eye the codes of a series say: `R`, `L`, `both`."""
    return eyes_of([series[name] for name in ("laterality", "bodySite") if name in series])


def photograph(
    study: Json, facts: DicomFacts, picture: StoredPicture, eye: Laterality | None, captured: str | None
) -> Json:
    """The Media that one frame of an instance becomes at our endpoint, without an id.

    Args:
        study: the ImagingStudy as stored.
    """
    return {
        "resourceType": "Media",
        "meta": {"profile": [names.profile("acquired-media")]},
        "identifier": [instance_identifier(facts.name)],
        **({"basedOn": orders} if (orders := _orders(study)) else {}),
        "partOf": [{"reference": f"ImagingStudy/{study['id']}"}],
        "status": "completed",
        "modality": {"coding": [{"system": names.DCM, "code": facts.modality}]} if facts.modality else None,
        "subject": study["subject"],
        "encounter": study.get("encounter"),
        "createdDateTime": captured,
        "bodySite": codes.EYES[eye] if eye else None,
        "deviceName": facts.camera or None,
        "width": picture.size.columns,
        "height": picture.size.rows,
        "content": {
            "contentType": picture.media_type,
            "url": f"Binary/{picture.sha256}",
            "size": picture.byte_count,
        },
        "note": [{"text": note} for note in _notes(facts, picture)] or None,
    }


def instance_identifier(name: InstanceName) -> Json:
    return {"system": names.DICOM_UID, "value": f"urn:oid:{name.instance}"}


def _orders(study: Json) -> list[Json]:
    """What a Media can be based on too."""
    return [
        each
        for each in study.get("basedOn", [])
        if f"/{each.get('reference', '')}".rpartition("/")[0].endswith(("/ServiceRequest", "/CarePlan"))
    ]


def _notes(facts: DicomFacts, picture: StoredPicture) -> list[str]:
    """What the header tells of how the photograph was taken, for which Media has no element."""
    notes = [f"Frame {picture.frame} of {facts.frames}."] if facts.frames > 1 else []
    if facts.field_of_view is not None:
        notes.append(f"Horizontal field of view: {facts.field_of_view:g} degrees.")
    if facts.is_dilated is not None:
        notes.append("Pupil dilated." if facts.is_dilated else "Pupil not dilated.")
    return notes
