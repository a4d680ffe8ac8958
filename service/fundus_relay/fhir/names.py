"""The names that our FHIR carries: systems, canonicals and the codes that more than one module needs.

Source: HL7 terminology (THO) 7.0.1, FHIR R4 4.0.1, DICOM PS3.16; where each code was verified says
service/docs/mapping.
"""

from __future__ import annotations

from typing import Final

CANONICAL: Final = "https://fundus-relay.dev/fhir"
"""Root of everything that we define ourselves."""


def profile(id: str) -> str:
    """Canonical of one of the guide's profiles."""
    return f"{CANONICAL}/StructureDefinition/{id}"


RESULT_CODES: Final = f"{CANONICAL}/CodeSystem/netra-dr"
"""CodeSystem of what the analyser says; always sent, beside a standard coding where one is true."""

LESION_BOUNDING_BOX: Final = profile("lesion-bounding-box")
IMAGE_FRAME: Final = profile("image-frame")

KEPT_BLOB: Final = profile("kept-blob")
"""Extension of a Binary's `data` in our own store: the digest of the bytes. It never leaves us."""

HANDLING: Final = f"{CANONICAL}/CodeSystem/handling"
"""CodeSystem of what a sender may say in `meta.tag` of how to handle something."""

PURGED_BLOB: Final = profile("purged-blob")
"""The same of one whose bytes were purged."""

SID_RESULT: Final = f"{CANONICAL}/sid/result"
SID_REPORT: Final = f"{CANONICAL}/sid/report"
SID_IMAGE: Final = f"{CANONICAL}/sid/image"
SID_OVERLAY: Final = f"{CANONICAL}/sid/overlay"
SID_PAGE: Final = f"{CANONICAL}/sid/page"
SID_DEVICE: Final = f"{CANONICAL}/sid/device"
SID_STUDY: Final = f"{CANONICAL}/sid/study"

SNOMED: Final = "http://snomed.info/sct"
DCM: Final = "http://dicom.nema.org/resources/ontology/DCM"

DATA_ABSENT_REASON: Final = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
DICOM_UID: Final = "urn:dicom:uid"
"""System of an identifier that is a DICOM UID, such as that of an ImagingStudy."""
