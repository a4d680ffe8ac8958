"""What a DICOM header says, held against what is said of the photograph elsewhere.

How this works. A header may contradict its sender, and which of them is right nobody here can know: then the photograph
is refused, or waits. What a Media leaves out (the eye, the moment, the camera), the header tells.
"""

from __future__ import annotations

from fundus_relay.domain.dicom import DicomFacts, InstanceName, is_oid
from fundus_relay.domain.errors import (
    BurnedInAnnotation,
    InvalidResource,
    Issue,
    PatientMismatch,
    SeveralPictures,
    StudyMismatch,
)
from fundus_relay.domain.values import Json
from fundus_relay.fhir import codes
from fundus_relay.fhir.imaging_study import study_uid
from fundus_relay.fhir.intake.rules import eyes, eyes_in_words

from .eyes import eye_of
from .ports import Transaction

_NOBODY: frozenset[str] = frozenset()


async def patient_ids(subject: Json, tx: Transaction) -> frozenset[str]:
    """Values by which a stored resource's patient may be called in DICOM; none when nothing is known."""
    kind, _, id = subject.get("reference", "").partition("/")
    patient = await tx.resources.read("Patient", id) if kind == "Patient" else None
    stated = [*(patient or {}).get("identifier", []), subject.get("identifier", {})]
    return frozenset(each["value"].strip() for each in stated if each.get("value"))


def check_patient(patient_id: str, patient_ids: frozenset[str]) -> None:
    """Raises: PatientMismatch, when both sides name somebody and not the same."""
    if patient_id and patient_ids and patient_id not in patient_ids:
        raise PatientMismatch


def check_study(header: DicomFacts, study: Json) -> None:
    """Raises: StudyMismatch, when file and ImagingStudy both say which study of DICOM they are of, and not the same."""
    named = study_uid(study)
    if named and header.name.study and named != header.name.study:
        raise StudyMismatch


def check_pixels_name_nobody(header: DicomFacts) -> None:
    """Raises: BurnedInAnnotation."""
    if header.is_burned_in:
        raise BurnedInAnnotation


def check_sent(header: DicomFacts, media: Json, element: str) -> None:
    """See that a DICOM file is the one photograph that a Media says it is.

    Args:
        element: FHIRPath of the Media.

    Raises:
        SeveralPictures: it has more than one frame.
        BurnedInAnnotation
        LateralityConflict: the header names two eyes.
        InvalidResource: the Media names another eye than the header.
    """
    if header.frames > 1:
        raise SeveralPictures(
            f"the DICOM file has {header.frames} frames, and a Media is one photograph: send its ImagingStudy, "
            "or each frame as a file of its own"
        )
    check_pixels_name_nobody(header)
    eye = eye_of(header, _NOBODY)
    named = eyes(media) & {"R", "L"} or eyes_in_words(media)
    if eye is not None and named and eye not in named:
        text = "the header of the DICOM file names the other eye; one of them has to be corrected"
        raise InvalidResource(Issue(f"{element}.bodySite", "conflict", text, "dicom-laterality-conflict"))


def completed(media: Json, header: DicomFacts) -> Json:
    """The Media with what it leaves out and the header tells."""
    told: Json = {}
    if (eye := eye_of(header, _NOBODY)) is not None and not eyes(media):
        site = media.get("bodySite", {})
        told["bodySite"] = {**codes.EYES[eye], **site, "coding": [*site.get("coding", []), *codes.EYES[eye]["coding"]]}
    if header.captured is not None and not {"createdDateTime", "createdPeriod"} & media.keys():
        told["createdDateTime"] = header.captured
    if header.camera and "deviceName" not in media:
        told["deviceName"] = header.camera
    return {**media, **told}


def instance_of(header: DicomFacts) -> InstanceName | None:
    """The instance, if FHIR can name it."""
    return header.name if is_oid(header.name.instance) else None
