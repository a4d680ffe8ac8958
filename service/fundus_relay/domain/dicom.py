"""What DICOM says of an instance: its names, what it is of, and how its pixels are kept.

Source: DICOM PS3.3 and PS3.5, 2026; tag numbers stand beside the attributes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .geometry import Size
from .laterality import Laterality

OPHTHALMIC_8_BIT = "1.2.840.10008.5.1.4.1.1.77.1.5.1"
OPHTHALMIC_16_BIT = "1.2.840.10008.5.1.4.1.1.77.1.5.2"

VL_PHOTOGRAPHIC = "1.2.840.10008.5.1.4.1.1.77.1.4"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
PHOTOGRAPHS = frozenset({OPHTHALMIC_8_BIT, OPHTHALMIC_16_BIT, VL_PHOTOGRAPHIC, SECONDARY_CAPTURE})
"""SOP classes that fundus cameras, and the archives that they fill, use for photographs."""

DICOM_START = 132
"""Bytes by which a file is known: a preamble and four letters. Source: DICOM PS3.10 7.1."""

_UID = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*")
_LONGEST_UID = 64


def is_dicom(start: bytes) -> bool:
    """Whether a file that begins with these `DICOM_START` bytes, or more, is DICOM."""
    return start[DICOM_START - 4 : DICOM_START] == b"DICM"


def is_uid(text: str) -> bool:
    """Whether it is a UID, and so may stand in a URL's path.

    Source: DICOM PS3.5 9.1.
    """
    return len(text) <= _LONGEST_UID and _UID.fullmatch(text) is not None


def is_oid(uid: str) -> bool:
    """Whether a UID may stand behind `urn:oid:`.

    Source: FHIR R4 4.0.1, datatypes, oid.
    """
    return is_uid(uid) and uid[0] in "012" and "." in uid


@dataclass(frozen=True, slots=True)
class InstanceName:
    """Where an instance stands: UIDs of its study, its series and itself."""

    study: str  # (0020,000D)
    series: str  # (0020,000E)
    instance: str  # (0008,0018)


@dataclass(frozen=True, slots=True)
class ListedInstance:
    """An instance as an archive lists it, before its pixels are fetched.

    Attributes:
        sop_class, modality, patient_id: or empty when the archive does not say.
        frames: 1 when the archive does not say.
    """

    name: InstanceName
    sop_class: str = ""
    modality: str = ""
    frames: int = 1
    patient_id: str = ""


@dataclass(frozen=True, slots=True)
class DicomFacts:
    """The header of one DICOM file, as far as we use it.

    Attributes:
        size: columns and rows of one frame.
        patient_id: (0010,0020), or empty.
        image_laterality: (0020,0062) as stated: `R`, `L`, `B`, or empty.
        series_laterality: (0020,0060) as stated, or empty.
        regions: eyes that the codes of the anatomic region (0008,2218) and of its modifiers name.
        is_burned_in: (0028,0301) is `YES`.
        captured: FHIR dateTime made of (0008,002A), or of (0008,0022)/(0008,0023) and their times, or None; with the
            offset of (0008,0201) when there is one, without a time of day when the offset is not known.
        camera: manufacturer and model (0008,0070), (0008,1090), or empty.
        field_of_view: horizontal, in degrees (0022,000C), or None.
        is_dilated: (0022,000D), or None.
    """

    name: InstanceName
    sop_class: str  # (0008,0016)
    modality: str  # (0008,0060)
    transfer_syntax: str  # (0002,0010)
    photometric: str  # (0028,0004)
    size: Size
    frames: int = 1  # (0028,0008)
    patient_id: str = ""
    image_laterality: str = ""
    series_laterality: str = ""
    regions: tuple[Laterality, ...] = ()
    is_burned_in: bool = False
    captured: str | None = None
    camera: str = ""
    field_of_view: float | None = None
    is_dilated: bool | None = None
