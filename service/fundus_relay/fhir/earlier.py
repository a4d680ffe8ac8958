"""Overlays of the revision before that still show what this one says.

How this works. An overlay tells of one image: which eye, which of that eye's images, when it was taken, the result,
each box. The image's Observations tell all of it as well, but for its number, which the report's `media` has. While
these are what they were, the overlay is true, whoever has it: that a photograph cannot be drawn again is no reason to
take it back. Each revision is compared with the one before, so that what a chain of them keeps is what was drawn.
"""

from __future__ import annotations

import json
import re
from typing import Any

from fundus_relay.domain.geometry import Size
from fundus_relay.domain.packed import Packed
from fundus_relay.domain.values import Earlier, Json, StoredPage

from .pages import blob_of, is_overlay, page_of

_SHOWN = (
    "subject",
    "effectiveDateTime",
    "valueCodeableConcept",
    "dataAbsentReason",
    "interpretation",
    "bodySite",
    "method",
    "extension",
    "component",
)
"""What of an Observation an overlay shows, in whichever way."""

_NUMBER = re.compile(r", image (\d+) of \d+")


def earlier_of(media_id: str, said: Packed, told: Packed) -> Earlier | None:
    """The overlay that still shows a photograph's result; None when there is none, or it would not be true any more.

    Args:
        media_id: of the photograph in this revision.
        said: the revision before, or nothing.
        told: this revision.
    """
    name = next(_value(each) for each in told.heads if each["resourceType"] == "Media" and each["id"] == media_id)
    of_it = [each for each in said.heads if each["resourceType"] == "Media" and _value(each) == name]
    photograph = next((each for each in of_it if not is_overlay(each)), None)
    overlay = next((each for each in of_it if is_overlay(each) and each["status"] == "completed"), None)
    if photograph is None or overlay is None:
        return None
    is_true = _shown(photograph["id"], said) == _shown(media_id, told)
    pages = (
        each for each in said.heads if each["resourceType"] == "Binary" and each["id"] == page_of(overlay["content"])
    )
    page = next(pages, None)
    return Earlier(overlay, page) if is_true and page is not None else None


def stored(earlier: Earlier) -> StoredPage | None:
    """Where its bytes may lie yet; None when they were let go."""
    digest, content = blob_of(earlier.page), earlier.media["content"]
    if digest is None:
        return None
    size = Size(earlier.media["width"], earlier.media["height"])
    return StoredPage(digest, content["hash"], content["contentType"], content["size"], size)


def _shown(media_id: str, resources: Packed) -> tuple[str, dict[str, str]]:
    """What an overlay of this photograph shows: which image of its eye, and the Observations of it by their names."""
    of_it = f"Media/{media_id}"
    results = resources.where(
        lambda each: each["resourceType"] == "Observation" and each.get("derivedFrom") == [{"reference": of_it}]
    )
    comments = [each["comment"] for each in resources.heads[0]["media"] if each["link"]["reference"] == of_it]
    number = _NUMBER.search(comments[0]) if comments else None
    return number[1] if number else "1", {_value(each): _text(each, of_it) for each in results}


def _text(observation: Json, photograph: str) -> str:
    """Whichever Media of ours brought the photograph: that may be another one now."""
    shown: dict[str, Any] = {name: observation[name] for name in _SHOWN if name in observation}  # Any: FHIR JSON
    return json.dumps(shown, sort_keys=True).replace(f'"{photograph}"', '""')


def _value(resource: Json) -> str:
    return str(resource["identifier"][0]["value"])
