"""What the header of a DICOM file says of its photograph."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

from fundus_relay.domain.dicom import DicomFacts, InstanceName
from fundus_relay.domain.geometry import Size
from fundus_relay.domain.laterality import LEFT_EYE, RIGHT_EYE, Laterality

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

_DATE = re.compile(r"(\d{4})(\d{2})(\d{2})")
_TIME = re.compile(r"(\d{2})(\d{2})(\d{2})(?:\.(\d{1,6}))?")
_OFFSET = re.compile(r"([+-])(\d{2})(\d{2})")
_MOMENT = re.compile(r"(\d{8})(\d{6}(?:\.\d{1,6})?)([+-]\d{4})?")

_SRT = {"G-A100": Laterality.RIGHT, "G-A101": Laterality.LEFT}
"""Right and left in DICOM's older coding scheme.

Source: pydicom 3.0.2, sr/_snomed_dict (SRT to SCT), where they are 24028007 and 7771000.
"""


def facts_of(header: FileDataset) -> DicomFacts:
    return DicomFacts(
        name=InstanceName(str(header.StudyInstanceUID), str(header.SeriesInstanceUID), str(header.SOPInstanceUID)),
        sop_class=str(header.get("SOPClassUID", "")),
        modality=_text(header, "Modality"),
        transfer_syntax=str(header.file_meta.TransferSyntaxUID),
        photometric=_text(header, "PhotometricInterpretation"),
        size=Size(int(header.Columns), int(header.Rows)),
        frames=max(1, int(header.get("NumberOfFrames") or 1)),
        patient_id=_text(header, "PatientID"),
        image_laterality=_text(header, "ImageLaterality"),
        series_laterality=_text(header, "Laterality"),
        regions=tuple(sorted(_regions(header.get("AnatomicRegionSequence") or ()))),
        is_burned_in=_text(header, "BurnedInAnnotation") == "YES",
        captured=_captured(header),
        camera=" ".join(filter(None, (_text(header, "Manufacturer"), _text(header, "ManufacturerModelName")))),
        field_of_view=float(header.HorizontalFieldOfView) if header.get("HorizontalFieldOfView") else None,
        is_dilated={"YES": True, "NO": False}.get(_text(header, "PupilDilated")),
    )


def _text(header: Dataset, name: str) -> str:
    value = header.get(name)
    return str(value).strip(" \0") if value is not None else ""


def _regions(sequence: Sequence[Dataset]) -> set[Laterality]:
    """Eyes that anatomic regions and their modifiers name."""
    found: set[Laterality] = set()
    for item in sequence:
        for code in (item, *(item.get("AnatomicRegionModifierSequence") or ())):
            value = _text(code, "CodeValue")
            if _text(code, "CodingSchemeDesignator") == "SCT":
                found |= {Laterality.RIGHT} if value in RIGHT_EYE else set()
                found |= {Laterality.LEFT} if value in LEFT_EYE else set()
            elif value in _SRT:
                found.add(_SRT[value])
    return found


def _captured(header: Dataset) -> str | None:
    """When the photograph was taken, as a FHIR dateTime: a time of day only where its offset is known."""
    stated_offset = _text(header, "TimezoneOffsetFromUTC")
    if moment := _MOMENT.fullmatch(_text(header, "AcquisitionDateTime")):
        return _moment(moment[1], moment[2], moment[3] or stated_offset)
    for name in ("Acquisition", "Content"):
        if found := _moment(_text(header, f"{name}Date"), _text(header, f"{name}Time"), stated_offset):
            return found
    return None


def _moment(on: str, at: str, offset: str) -> str | None:
    day, clock, zone = _DATE.fullmatch(on), _TIME.fullmatch(at), _OFFSET.fullmatch(offset)
    try:
        found = date(*map(int, day.groups())).isoformat() if day else None
    except ValueError:
        return None
    if found is None or clock is None or zone is None or int(clock[1]) > 23 or int(clock[2]) > 59 or int(clock[3]) > 59:
        return found
    fraction = f".{clock[4]}" if clock[4] else ""
    return f"{found}T{clock[1]}:{clock[2]}:{clock[3]}{fraction}{zone[1]}{zone[2]}:{zone[3]}"
