"""Which eye."""

from enum import StrEnum


class Laterality(StrEnum):
    """Right or left eye, in DICOM's letters; an unknown eye is `None`, never guessed.

    Source: DICOM PS3.3 C.8.17.1, Image Laterality (0020,0062).
    """

    RIGHT = "R"
    LEFT = "L"


RIGHT_EYE = frozenset({"362502000", "5597008", "18944008", "1290043002", "24028007", "419465000"})
LEFT_EYE = frozenset({"362503005", "58443009", "8966001", "1290041000", "7771000", "419161000"})
BOTH_EYES = frozenset({"51440002"})
"""SNOMED CT: entire eye, retina, eye structure, eye proper, the bare qualifier right, left, or right and left, and
unilateral.

Source: SNOMED CT, Global Patient Set 2020-09, value sets of DIPS RetinaIntegration, and R4's value set
bodysite-laterality; verified in the mapping.
"""
