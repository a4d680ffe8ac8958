"""The codes of what we say: our own always, a standard one beside it where one is true and verified.

Source: SNOMED CT Global Patient Set 2020-09 (hl7.terminology.r4 7.0.1) for every SNOMED code here but Ophthalmology
(394594003: R4 value set c80-practice-codes); LOINC 103592-2: public code pages; other systems: THO 7.0.1.
"""

from __future__ import annotations

from fundus_relay.domain.laterality import Laterality
from fundus_relay.domain.values import Json

from . import names

OPHTHALMOLOGY = {"system": names.SNOMED, "code": "394594003", "display": "Ophthalmology"}
IMAGING_SECTION = {"system": names.V2_0074, "code": "IMG", "display": "Diagnostic Imaging"}
SCREENING_REPORT = {"system": names.LOINC, "code": "103592-2", "display": "Retinal eye screening report"}
EXAM = {"system": names.OBSERVATION_CATEGORY, "code": "exam", "display": "Exam"}
IMAGING = {"system": names.OBSERVATION_CATEGORY, "code": "imaging", "display": "Imaging"}
DETECTED = {"system": names.SNOMED, "code": "260373001", "display": "Detected"}
NOT_DETECTED = {"system": names.SNOMED, "code": "260415000", "display": "Not detected"}
YES = {"system": names.SNOMED, "code": "373066001", "display": "Yes"}
NO = {"system": names.SNOMED, "code": "373067005", "display": "No"}
AUTOMATED = {"system": names.SNOMED, "code": "8359006", "display": "Automated"}
RETINOPATHY = {"system": names.SNOMED, "code": "4855003", "display": "Retinopathy due to diabetes mellitus"}
QUALITY_ANALYSIS = {
    "system": names.SNOMED,
    "code": "133887000",
    "display": "Computer assisted image analysis for image quality",
}
ABNORMAL = {"system": names.V3_OBSERVATION_INTERPRETATION, "code": "A", "display": "Abnormal"}
NOT_DETECTED_FLAG = {"system": names.V3_OBSERVATION_INTERPRETATION, "code": "ND", "display": "Not detected"}
AI_LABEL = {
    "system": names.V3_OBSERVATION_VALUE,
    "code": names.AI_ASSERTED,
    "display": "Artificial Intelligence asserted",
}

EYES: dict[Laterality | None, Json] = {
    Laterality.RIGHT: {
        "coding": [{"system": names.SNOMED, "code": "362502000", "display": "Entire right eye"}],
        "text": "Right eye",
    },
    Laterality.LEFT: {
        "coding": [{"system": names.SNOMED, "code": "362503005", "display": "Entire left eye"}],
        "text": "Left eye",
    },
    None: {
        "coding": [{"system": names.SNOMED, "code": "81745001", "display": "Eye"}],
        "text": "Eye, side not coded",
    },
}

_LOCAL = {
    "image-gradability": "Gradability of the image",
    "gradable": "Gradable",
    "ungradable": "Ungradable",
    "is-fundus-image": "Is a fundus image",
    "dr-presence": "Diabetic retinopathy",
    "dr-detected": "Diabetic retinopathy detected",
    "dr-not-detected": "Diabetic retinopathy not detected",
    "referable-dr": "Referable diabetic retinopathy",
    "lesion-regions": "Retinal lesion regions",
    "eye-panel": "Findings of one eye",
    "image-ungradable": "The image cannot be graded",
    "not-a-fundus-image": "The image is not a fundus photograph",
    "answer-not-understood": "The analyser's answer was not understood",
}

_LESIONS: dict[str, tuple[str, str, tuple[str, str] | None]] = {
    "deep hemorrhage": ("deep-hemorrhage", "Deep Hemorrhage", ("28998008", "Retinal hemorrhage")),
    "hemorrhage": ("hemorrhage", "Hemorrhage", ("28998008", "Retinal hemorrhage")),
    "superficial hemorrhage": ("superficial-hemorrhage", "Superficial Hemorrhage", None),
    "hard exudate": ("hard-exudate", "Hard Exudate", None),
    "soft exudate": ("soft-exudate", "Soft Exudate", None),
    "cotton wool spot": ("soft-exudate", "Soft Exudate", None),
    "microaneurysm": ("microaneurysm", "Microaneurysm", None),
    "neovascularization": ("neovascularization", "Neovascularization", ("61267008", "Retinal neovascularization")),
    "neovascularisation": ("neovascularization", "Neovascularization", ("61267008", "Retinal neovascularization")),
    "vitreous hemorrhage": ("vitreous-hemorrhage", "Vitreous Hemorrhage", ("31341008", "Vitreous hemorrhage")),
    "preretinal hemorrhage": ("preretinal-hemorrhage", "Preretinal Hemorrhage", None),
    "drusen": ("drusen", "Drusen", ("247153005", "Retinal drusen")),
}


def local(code: str) -> Json:
    """A coding of our own CodeSystem."""
    return {"system": names.RESULT_CODES, "code": code, "display": _LOCAL[code]}


def concept(code: str, *standard: Json) -> Json:
    """A CodeableConcept: standard codings, then ours; ours is its text."""
    return {"coding": [*standard, local(code)], "text": _LOCAL[code]}


def lesion(literal: str) -> Json:
    """A lesion's type. A word that we do not know is kept as text under `other`: never dropped, never guessed."""
    known = _LESIONS.get(literal.casefold())
    if known is None:
        return {"coding": [{"system": names.RESULT_CODES, "code": "other", "display": "Other lesion"}], "text": literal}
    code, display, standard = known
    codings = [{"system": names.RESULT_CODES, "code": code, "display": display}]
    if standard is not None:
        codings.append({"system": names.SNOMED, "code": standard[0], "display": standard[1]})
    return {"coding": codings, "text": literal}


def absent(reason: str, code: str) -> Json:
    """Why there is no value: HL7's reason and ours."""
    return {"coding": [{"system": names.DATA_ABSENT_REASON, "code": reason}, local(code)], "text": _LOCAL[code]}
