"""Studies by what happened to them, and the documents that they become.

`python -m tests.golden.stories` writes the golden files anew (they name the service's version): read the difference
before you commit it.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fundus_relay.domain.analysis import Graded, Lesion, NotFundus, Ungradable
from fundus_relay.domain.geometry import IDENTITY, Affine, Box, Size
from fundus_relay.domain.laterality import Laterality
from fundus_relay.domain.policy import Carriage
from fundus_relay.domain.states import ImageState
from fundus_relay.domain.values import Image, Json, Pages, PreparedPicture, StoredPage, StoredPicture, Study
from fundus_relay.fhir.carriage import Manner, carried
from fundus_relay.fhir.report import Report, build_report

FOLDER = Path(__file__).parent
ISSUED = datetime(2026, 11, 23, 9, 30, 15, 250000, tzinfo=UTC)
SOURCE = Size(4288, 2848)

NORMAL = Graded(False, False, (), {"eyeOrNot": "YES", "drYes": "Not Detected", "referrableDR": "NO"})
LESIONS = (
    Lesion("Deep Hemorrhage", Box(479.5, 364.5, 521, 406), "[479.5,364.5,521,406]"),
    Lesion("Hard Exudate", Box(0, 0, 10, 20), "[0,0,10,20]"),
    Lesion("Something New", Box(2134, 1400, 2144, 1424), "[2134,1400,2144,1424]"),
)
REFERABLE = Graded(
    True,
    True,
    LESIONS,
    {"eyeOrNot": "YES", "imageQuality": "Gradable Image", "drYes": "Detected", "referrableDR": "YES"},
)
UNGRADABLE = Ungradable({"eyeOrNot": "YES", "imageQuality": "Ungradable Image"})
HALVED = PreparedPicture(
    sha256="f" * 64,
    media_type="image/jpeg",
    size=Size(2144, 1424),
    to_source=Affine(2, 0, 0, 0, 2, 0),
    steps=("metadata stripped", "scaled to 2144 x 1424", "jpeg quality 92"),
)


@dataclass(frozen=True, slots=True)
class Story:
    """A study and its images, in order of arrival."""

    study: Study
    images: Sequence[Image]
    revision: int = 1
    issued: datetime = ISSUED
    pages: Pages | None = None

    @property
    def made(self) -> Pages:
        """Pages as if they had been drawn, or those of the story."""
        if self.pages is not None:
            return self.pages
        size = Size(2000, 1762)
        pictures = {image.id: a_page(number, "image/jpeg", size) for number, image in enumerate(self.images)}
        return Pages(a_page(99, "application/pdf"), pictures)

    @property
    def media(self) -> Mapping[str, Json]:
        return {image.media_id: a_media(image, self.study) for image in self.images}

    def told(self, *, revision: int | None = None, issued: datetime | None = None) -> Report:
        return build_report(
            self.study,
            self.images,
            self.media,
            revision=revision or self.revision,
            issued=issued or self.issued,
            public_url="https://relay.example/fhir",
            organization="Screening service <North>",
            made=self.made,
        )

    def linked(self, *, revision: int | None = None, issued: datetime | None = None) -> tuple[Json, ...]:
        """As an EHR gets it that takes links to pages."""
        told = self.told(revision=revision, issued=issued).resources
        return tuple(carried(told, Manner(Carriage.LINK, Carriage.LINK), {}))


def a_page(number: int, media_type: str, size: Size | None = None) -> StoredPage:
    data = page_bytes(number)
    sha1 = b64encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode()
    return StoredPage(hashlib.sha256(data).hexdigest(), sha1, media_type, len(data), size)


def page_bytes(number: int) -> bytes:
    """What such a page would be."""
    return f"page {number}".encode().ljust(100_000 + number)


def a_study(**fields: Any) -> Study:
    return replace(
        Study("study-1", "key-of-study-1", {"reference": "Patient/demo-patient"}, {}),
        **fields,
    )


def an_image(number: int = 1, eye: Laterality | None = Laterality.RIGHT, **fields: Any) -> Image:
    """An answered image, normal unless overridden."""
    image = Image(
        id=f"image-{number}",
        study_id="study-1",
        media_id=f"media-{number}",
        source=StoredPicture(f"{number:x}" * 64, "image/jpeg", 1_000_000 + number, SOURCE),
        laterality=eye,
        state=ImageState.ANSWERED,
        since=ISSUED,
        captured="2026-11-20T10:15:00+05:30",
        prepared=PreparedPicture("e" * 64, "image/jpeg", SOURCE, IDENTITY, ("metadata stripped",)),
        analysis=NORMAL,
    )
    return replace(image, **fields)


def a_media(image: Image, study: Study) -> Json:
    """As our store has it."""
    return {
        "resourceType": "Media",
        "id": image.media_id,
        "meta": {"versionId": "1"},
        "status": "completed",
        "subject": study.subject,
        **({"createdDateTime": image.captured} if image.captured else {}),
        "width": image.source.size.columns,
        "height": image.source.size.rows,
        "content": {"contentType": "image/jpeg", "size": image.source.byte_count, "url": "http://elsewhere/Binary/9"},
    }


def parked(image: Image) -> Image:
    """Answered in words that nobody understands."""
    return replace(image, state=ImageState.PARKED, analysis=None, reason="answer-not-understood")


RIGHT, LEFT = Laterality.RIGHT, Laterality.LEFT
STORIES: Mapping[str, Story] = {
    "normal-eye": Story(a_study(), [an_image()]),
    "normal-eye-by-the-stand-in": Story(a_study(), [an_image(is_standin=True)]),
    "right-referable-left-ungradable": Story(
        a_study(
            context={
                "basedOn": [{"reference": "ServiceRequest/order-7"}],
                "encounter": {"reference": "Encounter/visit-7"},
                "imagingStudy": [{"reference": "ImagingStudy/study-7"}],
            }
        ),
        [an_image(1, RIGHT, analysis=REFERABLE, prepared=HALVED), an_image(2, LEFT, analysis=UNGRADABLE)],
    ),
    "not-a-fundus": Story(a_study(), [an_image(analysis=NotFundus({"eyeOrNot": "NO"}))]),
    "laterality-missing": Story(a_study(), [an_image(1, None, captured=None)]),
    "two-images-per-eye": Story(
        a_study(subject={"reference": "Patient?identifier=urn%3Aclinic%7C4711"}),
        [
            an_image(1, RIGHT),
            an_image(2, RIGHT, analysis=UNGRADABLE),
            an_image(3, LEFT),
            an_image(4, LEFT, analysis=REFERABLE),
        ],
    ),
    "partial-with-parked": Story(a_study(), [an_image(1, RIGHT), parked(an_image(2, LEFT))]),
    "one-eye-missing": Story(
        a_study(context={"basedOn": [{"reference": "ServiceRequest/order-7"}]}), [an_image(2, LEFT, analysis=REFERABLE)]
    ),
    "amended-after-a-late-image": Story(
        a_study(),
        [an_image(1, RIGHT), an_image(2, LEFT, captured="2026-11-22T16:40:00+05:30", analysis=REFERABLE)],
        revision=2,
        issued=ISSUED + timedelta(days=2),
    ),
}


def golden(name: str) -> Path:
    return FOLDER / f"{name}.json"


def write(named: Callable[[str], Path] = golden) -> None:
    """Write every story's document."""
    for name, story in STORIES.items():
        named(name).write_text(json.dumps(story.linked(), indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    write()
