"""What people look at of a report: a picture with boxes for each analysed image, and the PDF.

How this works. Nothing here is under the study's lock. Bytes are kept under their digest, so that drawing the same
twice is drawing it once; what no report comes to name is collected (`collect`). One picture is in memory at a time. One
that is lost or does not decode keeps no report back: the report says that it is not shown.
"""

from __future__ import annotations

import asyncio
import hashlib
from base64 import b64encode
from collections.abc import Mapping

from fundus_relay.domain.analysis import Graded
from fundus_relay.domain.errors import PictureLost, Rejected
from fundus_relay.domain.geometry import Size
from fundus_relay.domain.sheets import Drawn, Marked, Plate
from fundus_relay.domain.strokes import Stroke, strokes_of
from fundus_relay.domain.values import Image, Pages, StoredPage
from fundus_relay.fhir.carriage import LARGEST
from fundus_relay.fhir.report import Report
from fundus_relay.fhir.sheet import caption_of, marked_of, sheet_of
from fundus_relay.imaging.overlay import overlay, plate
from fundus_relay.imaging.viewing import smaller, view
from fundus_relay.paper.pdf import pdf_of, plates_across

from .kept import kept
from .ports import Ports
from .rules import Rules

FOR_TEXT = 120_000
"""Bytes of a sheet that are not pictures: two fonts and the words."""

LARGEST_PLATE = 320_000
PLATE_PIXELS = {1: 1600, 2: 1150, 3: 800}
"""Longer side of a picture on a sheet, by how many stand side by side."""
SMALL_PLATE_PIXELS = 480


async def render(report: Report, revision: int, ports: Ports, rules: Rules) -> Pages:
    """Draw and keep the pages of a report revision. Raises StoreUnavailable."""
    if not (rules.sheet or rules.overlays):
        return Pages()
    strokes = strokes_of(kind for image in report.pictured for kind in _kinds(image))
    across = plates_across(len(report.pictured))
    longest = PLATE_PIXELS.get(across, SMALL_PLATE_PIXELS)
    share = (LARGEST - FOR_TEXT) // max(1, len(report.pictured))
    overlays: dict[str, StoredPage] = {}
    plates: list[Plate] = []
    not_drawn: list[str] = []
    for image in report.pictured:
        try:
            drawn, small = await _drawn(image, report, strokes, longest, min(share, LARGEST_PLATE), ports)
        except (PictureLost, Rejected):
            not_drawn.append(image.id)
            plates.append(Plate(caption_of(image, report), None))
            continue
        plates.append(Plate(caption_of(image, report), small))
        if rules.overlays:
            overlays[image.id] = await _kept(drawn.jpeg, "image/jpeg", drawn.size, ports)
    if not rules.sheet:
        return Pages(None, overlays, tuple(not_drawn))
    async with ports.decoding:
        pdf = await asyncio.to_thread(pdf_of, sheet_of(report, revision), plates, strokes)
    return Pages(await _kept(pdf, "application/pdf", None, ports), overlays, tuple(not_drawn))


async def _drawn(
    image: Image, report: Report, strokes: Mapping[str, Stroke], longest: int, limit: int, ports: Ports
) -> tuple[Drawn, Drawn]:
    """The picture for itself, and the one for the sheet. Raises PictureLost, DamagedPicture, StoreUnavailable."""
    if image.prepared is None:
        raise PictureLost
    async with ports.decoding:
        picture = await kept(image.prepared.sha256, ports)
        return await asyncio.to_thread(
            _draw, picture, image.prepared.size, marked_of(image, report), strokes, longest, limit
        )


def _draw(
    picture: bytes, size: Size, marked: Marked, strokes: Mapping[str, Stroke], longest: int, limit: int
) -> tuple[Drawn, Drawn]:
    seen = view(picture)
    large = overlay(seen, marked, size, strokes, LARGEST)
    at = smaller(Size(*seen.size), longest)
    return large, plate(seen.resize((at.columns, at.rows), reducing_gap=2), marked, size, strokes, limit)


def _kinds(image: Image) -> list[str]:
    return [lesion.literal for lesion in image.analysis.lesions] if isinstance(image.analysis, Graded) else []


async def _kept(data: bytes, media_type: str, size: Size | None, ports: Ports) -> StoredPage:
    sha1 = b64encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode()
    return StoredPage(await ports.blobs.put(data), sha1, media_type, len(data), size)
