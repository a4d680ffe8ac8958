"""Which eye."""

from enum import StrEnum


class Laterality(StrEnum):
    """Right or left eye, in DICOM's letters; an unknown eye is `None`, never guessed.

    Source: DICOM PS3.3 C.8.17.1, Image Laterality (0020,0062).
    """

    RIGHT = "R"
    LEFT = "L"
