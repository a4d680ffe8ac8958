"""Which eye a photograph from an archive is of: whatever tells of it must tell the same."""

from __future__ import annotations

from fundus_relay.domain.dicom import DicomFacts
from fundus_relay.domain.errors import LateralityConflict
from fundus_relay.domain.laterality import Laterality

_ONE_EYE = {"R": Laterality.RIGHT, "L": Laterality.LEFT}


def eye_of(facts: DicomFacts, of_series: frozenset[str]) -> Laterality | None:
    """The eye that the image's laterality, its anatomic region, its series or the ImagingStudy's series names.

    `B`, both eyes, names none. Nothing is read from pixels, texts or file names.

    Args:
        of_series: what the codes of ImagingStudy.series say: `R`, `L`, `both`.

    Raises: LateralityConflict. Which of two sources is wrong, nobody here can know.
    """
    stated = {facts.image_laterality, facts.series_laterality, *facts.regions, *of_series} & _ONE_EYE.keys()
    if len(stated) > 1:
        raise LateralityConflict("what tells of the eye names both eyes")
    return _ONE_EYE[stated.pop()] if stated else None
