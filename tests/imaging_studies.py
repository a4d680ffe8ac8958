"""ImagingStudies, as an EHR asks with for what an archive has; override what matters."""

from __future__ import annotations

from typing import Any

from tests.dicom_files import STUDY


def an_imaging_study(uid: str = STUDY, **changes: Any) -> dict[str, Any]:  # Any: FHIR; None leaves an element out
    """One whose Study Instance UID is `uid`."""
    study = {
        "resourceType": "ImagingStudy",
        "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}],
        "status": "available",
        "subject": {"reference": "Patient/demo-patient"},
        **changes,
    }
    return {name: value for name, value in study.items() if value is not None}
