"""Studies that lie in an archive: what it has, and how an EHR asks for it."""

from __future__ import annotations

from typing import Any

from tests.dicom_files import SERIES, STUDY, dicom_jpeg, listed
from tests.flow.world import World
from tests.imaging_studies import an_imaging_study
from tests.unit.imaging.pictures import a_jpeg

from fundus_relay.domain.values import Entry

ARCHIVE = "http://pacs.test/dicom-web"
PATIENT = {
    "resourceType": "Patient",
    "id": "demo-patient",
    "identifier": [{"system": "http://hospital.test/mrn", "value": "P-1"}],
}
ENDPOINT = {
    "resourceType": "Endpoint",
    "id": "pacs",
    "status": "active",
    "connectionType": {
        "system": "http://terminology.hl7.org/CodeSystem/endpoint-connection-type",
        "code": "dicom-wado-rs",
    },
    "payloadType": [{"text": "DICOM"}],
    "address": ARCHIVE,
}


def a_study(**changes: Any) -> Entry:  # Any: as an_imaging_study
    """ImagingStudy/study-1, which lies in the archive."""
    resource = an_imaging_study(**{"id": "study-1", "started": "2026-11-23T09:30:00+00:00", **changes})
    return Entry(resource, method="PUT", element="ImagingStudy")


def an_entry(resource: dict[str, Any]) -> Entry:
    return Entry(resource, method="PUT", element=f"Bundle.entry[0].resource.{resource['resourceType']}")


def put(world: World, instance: str, *, noise: int = 1, laterality: str | None = "R", **header: Any) -> None:
    """Store a photograph in the archive, listed as that instance of the study; header as `dicom_file`."""
    series = header.pop("series", SERIES)
    file = dicom_jpeg(
        a_jpeg(noise=noise + int(instance.rpartition(".")[2])),
        instance=header.pop("SOPInstanceUID", instance),
        series=header.pop("SeriesInstanceUID", series),
        study=header.pop("StudyInstanceUID", STUDY),
        ImageLaterality=laterality,
        **header,
    )
    world.archive.put(listed(instance, series=series), file)


async def ask_for_the_study(world: World) -> None:
    """Of a patient whose record number is the one in the DICOM headers."""
    await world.ehr.put("/fhir/ImagingStudy/study-1", json=a_study().resource)
    await world.accept(an_entry(PATIENT), a_study())
