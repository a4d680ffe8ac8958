"""What people look at of a report: a picture with boxes for each analysed image, and the PDF.

How this works. Nothing here is under the study's lock. Bytes are kept under their digest, so that drawing the same
twice is drawing it once; what no report comes to name is collected (`collect`). One picture is in memory at a time. One
that is lost, purged or does not decode keeps no report back: the overlay that the revision before had stands as long as
it is true, with its bytes if these are kept, and else the report says that the photograph is not shown.
"""

from __future__ import annotations

import asyncio
import hashlib
from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from fundus_relay.domain.analysis import Graded
from fundus_relay.domain.errors import PictureLost, Rejected
from fundus_relay.domain.geometry import Size
from fundus_relay.domain.packed import Packed
from fundus_relay.domain.sheets import Drawn, Marked, Plate
from fundus_relay.domain.strokes import Stroke, strokes_of
from fundus_relay.domain.values import Earlier, Image, Pages, StoredPage
from fundus_relay.fhir.carriage import LARGEST
from fundus_relay.fhir.earlier import earlier_of, stored
from fundus_relay.fhir.pages import AS_BEFORE, shown_instead
from fundus_relay.fhir.report import Report
from fundus_relay.fhir.sheet import caption_of, marked_of, sheet_of
from fundus_relay.imaging.overlay import overlay, plate, shrunk
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


async def render(report: Report, revision: int, said: Packed, ports: Ports, rules: Rules) -> Pages:
    """Draw and keep the pages of a report revision.

    Args:
        said: resources of the revision before; none when this is the first.

    Raises:
        StoreUnavailable
    """
    if not (rules.sheet or rules.overlays):
        return Pages()
    strokes = strokes_of(kind for image in report.pictured for kind in _kinds(image))
    across = plates_across(len(report.pictured))
    longest = PLATE_PIXELS.get(across, SMALL_PLATE_PIXELS)
    share = (LARGEST - FOR_TEXT) // max(1, len(report.pictured))
    limit = min(share, LARGEST_PLATE)
    shown = {
        image.id: await _shown(image, report, said, strokes, longest, limit, ports, rules) for image in report.pictured
    }
    made = Pages(
        overlays={id: each.overlay for id, each in shown.items() if each.overlay},
        not_drawn=tuple(id for id, each in shown.items() if each.plate.picture is None),
        earlier={id: each.earlier for id, each in shown.items() if each.earlier},
    )
    if not rules.sheet:
        return made
    async with ports.decoding:
        plates = [each.plate for each in shown.values()]
        pdf = await asyncio.to_thread(pdf_of, sheet_of(report, revision), plates, strokes)
    return replace(made, sheet=await _kept(pdf, "application/pdf", None, ports))


@dataclass(frozen=True, slots=True)
class _Shown:
    """How an image is shown: on the sheet, and by an overlay or an earlier one."""

    plate: Plate
    overlay: StoredPage | None = None
    earlier: Earlier | None = None


async def _shown(
    image: Image,
    report: Report,
    said: Packed,
    strokes: Mapping[str, Stroke],
    longest: int,
    limit: int,
    ports: Ports,
    rules: Rules,
) -> _Shown:
    caption = caption_of(image, report)
    with suppress(PictureLost, Rejected):
        drawn, small = await _drawn(image, report, strokes, longest, limit, ports)
        page = await _kept(drawn.jpeg, "image/jpeg", drawn.size, ports) if rules.overlays else None
        return _Shown(Plate(caption, small), page)
    earlier = await asyncio.to_thread(earlier_of, image.media_id, said, report.resources) if rules.overlays else None
    if earlier is None:
        return _Shown(Plate(caption, None))
    if (kept_yet := await _kept_yet(earlier, longest, limit, ports)) is not None:
        page, small = kept_yet
        taken = " · ".join(filter(None, (caption.taken, AS_BEFORE)))
        return _Shown(Plate(replace(caption, taken=taken, counts={}), small), page)  # it has a legend of its own
    return _Shown(Plate(caption, None, shown_instead(earlier)), earlier=earlier)


async def _kept_yet(earlier: Earlier, longest: int, limit: int, ports: Ports) -> tuple[StoredPage, Drawn] | None:
    """An earlier overlay whose bytes are here, and the same for the sheet. Raises StoreUnavailable."""
    if (page := stored(earlier)) is None:
        return None
    try:
        async with ports.decoding:
            picture = await kept(page.sha256, ports)
            return page, await asyncio.to_thread(lambda: shrunk(view(picture, longest=longest), limit))
    except (PictureLost, Rejected):
        return None


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
