"""The codes of what we say: our own always, a standard one beside it where one is true and verified.

What the guide defines is read from the guide: our codes and their words, the standard codes that they are mapped to or
that profiles ask for, and the members of value sets.

Source: SNOMED CT Global Patient Set 2020-09 (hl7.terminology.r4 7.0.1) for every SNOMED code of the guide but
Ophthalmology (394594003: R4 value set c80-practice-codes); LOINC 103592-2: public code pages; other systems: THO 7.0.1.
"""

from __future__ import annotations

from fundus_relay import guide
from fundus_relay.domain.laterality import Laterality
from fundus_relay.domain.values import Json

from . import names

_STANDARD = guide.targets("netra-dr-to-snomed")
_FLAGS = guide.members("judgement-flag")
_ANSWERS = guide.members("yes-no")
_EYES = guide.members("eye")
_AGENTS = guide.members("agent-role")

OPHTHALMOLOGY = guide.fixed("screening-report", "DiagnosticReport.category:ophthalmology")
IMAGING_SECTION = guide.fixed("screening-report", "DiagnosticReport.category:imaging")
SCREENING_REPORT = guide.fixed("screening-report", "DiagnosticReport.code")
EXAM = guide.fixed("dr-presence", "Observation.category:exam")
IMAGING = guide.fixed("dr-presence", "Observation.category:imaging")
AUTOMATED = guide.fixed("dr-presence", "Observation.method")
AI_LABEL = guide.fixed("report-provenance", "Provenance.reason")
AUTHOR, ASSEMBLER = _AGENTS["author"], _AGENTS["assembler"]
ARTIFICIAL_INTELLIGENCE = guide.fixed("analysis-device", "Device.type")

DETECTED, NOT_DETECTED = _STANDARD["dr-detected"], _STANDARD["dr-not-detected"]
RETINOPATHY, QUALITY_ANALYSIS = _STANDARD["dr-presence"], _STANDARD["image-gradability"]
YES, NO = _ANSWERS["373066001"], _ANSWERS["373067005"]
ABNORMAL, NOT_DETECTED_FLAG = _FLAGS["A"], _FLAGS["ND"]

EYES: dict[Laterality | None, Json] = {
    Laterality.RIGHT: {"coding": [_EYES["362502000"]], "text": "Right eye"},
    Laterality.LEFT: {"coding": [_EYES["362503005"]], "text": "Left eye"},
    None: {"coding": [_EYES["81745001"]], "text": "Eye, side not coded"},
}

_TERMS = guide.terms("netra-dr")
_OTHER = "other"
_LESION_OF = {
    word.casefold(): code
    for code in guide.members("lesion-type")
    if code != _OTHER
    for word in (_TERMS[code]["display"], *(each["value"] for each in _TERMS[code].get("designation", [])))
}
"""The analyser's words, folded, for types of lesion that the guide has a code for."""


def local(code: str) -> Json:
    """A coding of our own CodeSystem."""
    return {"system": names.RESULT_CODES, "code": code, "display": _TERMS[code]["display"]}


def concept(code: str, *standard: Json) -> Json:
    """A CodeableConcept: standard codings, then ours; ours is its text."""
    return {"coding": [*standard, local(code)], "text": _TERMS[code]["display"]}


def lesion(literal: str) -> Json:
    """A lesion's type. A word that we do not know is kept as text under `other`: never dropped, never guessed."""
    code = _LESION_OF.get(literal.casefold(), _OTHER)
    standard = [_STANDARD[code]] if code in _STANDARD else []
    return {"coding": [local(code), *standard], "text": literal}


def absent(reason: str, code: str) -> Json:
    """Why there is no value: HL7's reason and ours."""
    return {
        "coding": [{"system": names.DATA_ABSENT_REASON, "code": reason}, local(code)],
        "text": _TERMS[code]["display"],
    }
