"""Receiving: from the body on the wire to validated resources and durable pictures.

How this works: pictures go into drafts while the body arrives; what is left is parsed and validated; pictures that a
resource only points to are fetched; every picture is looked at. Only when nothing is wrong are the drafts kept. On any
error, a sender that leaves included, nothing remains.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from types import TracebackType

from fundus_relay.domain.dicom import DicomFacts
from fundus_relay.domain.errors import InvalidResource, Issue, Rejected
from fundus_relay.domain.geometry import Size
from fundus_relay.domain.values import Entry, StoredPicture, Submitted
from fundus_relay.fhir.intake.attachment import check_picture
from fundus_relay.fhir.intake.parsing import parse
from fundus_relay.fhir.intake.skeleton import Cutter
from fundus_relay.fhir.intake.submission import by_entry, position, read_submission
from fundus_relay.fhir.literals import Bases
from fundus_relay.fhir.withdrawn import ENTERED_IN_ERROR
from fundus_relay.imaging.format import PictureFacts, examine_file
from fundus_relay.imaging.sizes import MAX_PIXELS

from .headers import check_sent, completed
from .ports import Blobs, Draft, ImageArchive

SMALL = 4096
"""Bytes of a pixel-free body that is validated in less than a millisecond."""

_NO_BASES = Bases()


@dataclass(frozen=True, slots=True)
class Limits:
    """What is taken at most.

    Attributes:
        max_picture_bytes: of one photograph, decoded.
        max_pixels: of one photograph, columns × rows.
        max_pictures: in one request.
    """

    max_picture_bytes: int = 50_000_000
    max_pixels: int = MAX_PIXELS
    max_pictures: int = 100


async def receive(
    body: AsyncIterator[bytes],
    blobs: Blobs,
    archive: ImageArchive,
    limits: Limits,
    expected: str | None = None,
    bases: Bases = _NO_BASES,
) -> Submitted:
    """Take a request body in.

    Args:
        body: FHIR JSON in chunks, not compressed.
        expected: the resource type that the URL names, or None when any will do.
        bases: under which a reference needs none.

    Returns:
        What the body holds, validated and pixel-free; the pictures are durable.

    Raises:
        InvalidResource: every issue names its element; nothing was kept.
        Unavailable leaf: the store, or a server that a `content.url` points to; nothing was kept.
    """
    async with _Drafts(blobs, limits) as drafts:
        cutter = Cutter(drafts.open)
        async for chunk in body:
            cutter.feed(chunk)
            await drafts.drain()
        submitted = await _read(cutter.finish(), expected, bases)
        pictured = [entry for entry in submitted.entries if _is_photograph(entry)]
        seen, issues = await _seen(pictured, drafts, archive, limits)
        if issues and submitted.bundle != "batch":
            raise InvalidResource(*issues)
        refused = by_entry(issues)
        pictures = await drafts.keep({element: facts for element, (facts, _) in seen.items()})
    return replace(
        submitted,
        entries=tuple(
            _pictured(each, pictures.get(each.element), seen[each.element][1] if each.element in seen else None)
            for each in submitted.entries
            if position(each.element) not in refused
        ),
        refused={**submitted.refused, **refused},
    )


def _pictured(entry: Entry, picture: StoredPicture | None, header: DicomFacts | None) -> Entry:
    resource = completed(entry.resource, header) if header is not None else entry.resource
    return replace(entry, resource=resource, picture=picture, header=header)


async def _read(skeleton: bytes, expected: str | None, bases: Bases) -> Submitted:
    """Parse and validate; a large Bundle in a thread, a Media here: it takes less than the way there and back."""
    if len(skeleton) <= SMALL:
        return read_submission(parse(skeleton), expected, bases)
    return await asyncio.to_thread(lambda: read_submission(parse(skeleton), expected, bases))


def _is_photograph(entry: Entry) -> bool:
    """Whether it brings a picture; a Media that was entered in error takes one back."""
    resource = entry.resource
    return bool(resource["resourceType"] == "Media" and resource["status"] != ENTERED_IN_ERROR)


class _Draft:
    """A draft that ends at the limit, not after it."""

    def __init__(self, draft: Draft, element: str, limit: int) -> None:
        self.draft = draft
        self._element = element
        self._limit = limit

    def write(self, chunk: bytes) -> None:
        if self.draft.byte_count + len(chunk) > self._limit:
            text = f"the picture has more than {self._limit} bytes"
            raise InvalidResource(Issue(self._element, "too-long", text, "picture-too-large"))
        self.draft.write(chunk)


class _Drafts:
    """The pictures of one request by the FHIRPath of their Media; dropped at the end unless kept."""

    def __init__(self, blobs: Blobs, limits: Limits) -> None:
        self._blobs = blobs
        self._limits = limits
        self.by_element: dict[str, Draft] = {}
        self._newest: Draft | None = None

    async def __aenter__(self) -> _Drafts:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for draft in self.by_element.values():
            await draft.drop()

    def open(self, path: str) -> _Draft:
        """A draft for the picture at `path`, e.g. `Media.content.data`."""
        element = path.removesuffix(".content.data").removesuffix(".content.url")
        if element in self.by_element:
            raise InvalidResource(Issue(path, "structure", "the element stands twice in one object", "element-twice"))
        if len(self.by_element) == self._limits.max_pictures:
            text = f"more than {self._limits.max_pictures} pictures in one request"
            raise InvalidResource(Issue(path, "too-costly", text, "too-many-pictures"))
        draft = self._newest = self.by_element[element] = self._blobs.draft()
        return _Draft(draft, path, self._limits.max_picture_bytes)

    async def drain(self) -> None:
        """Wait until the picture that arrives now has room for more."""
        if self._newest is not None:
            await self._newest.drain()

    async def keep(self, facts: dict[str, PictureFacts]) -> dict[str, StoredPicture]:
        """Make the pictures durable, all at once."""
        kept = await asyncio.gather(*(self.by_element[element].keep() for element in facts), return_exceptions=True)
        digests: list[str] = []
        for digest in kept:  # all have ended, so that none is dropped while it is being kept
            if isinstance(digest, BaseException):
                raise digest
            digests.append(digest)
        return {
            element: StoredPicture(digest, fact.media_type, self.by_element[element].byte_count, fact.size)
            for (element, fact), digest in zip(facts.items(), digests, strict=True)
        }


_Seen = tuple[PictureFacts, DicomFacts | None]
"""What a picture file is, and the header if it is DICOM."""


async def _seen(
    entries: list[Entry], drafts: _Drafts, archive: ImageArchive, limits: Limits
) -> tuple[dict[str, _Seen], list[Issue]]:
    """What each good picture is, by the FHIRPath of its Media, and everything that is wrong with the others."""
    seen: dict[str, _Seen] = {}
    issues: list[Issue] = []
    for entry in entries:
        try:
            seen[entry.element] = await _look_at(entry, drafts, archive, limits)
        except InvalidResource as why:
            issues += why.issues
    return seen, issues


async def _look_at(entry: Entry, drafts: _Drafts, archive: ImageArchive, limits: Limits) -> _Seen:
    content = entry.resource["content"]
    path = f"{entry.element}.content.{'url' if 'url' in content else 'data'}"
    try:
        if "url" in content:
            drafts.open(path)
            draft = drafts.by_element[entry.element]
            await archive.fetch(content["url"], draft, limit=limits.max_picture_bytes)
        async with drafts.by_element[entry.element].view() as data:
            return await asyncio.to_thread(_examined, entry, data, limits)
    except InvalidResource:
        raise
    except Rejected as why:
        raise InvalidResource(Issue(path, "value", str(why), why.code)) from why


def _examined(entry: Entry, data: memoryview, limits: Limits) -> _Seen:
    facts, header = examine_file(data, max_pixels=limits.max_pixels)
    check_picture(entry.resource, entry.element, data, facts.media_type, _sizes(facts))
    if header is not None:
        check_sent(header, entry.resource, entry.element)
    return facts, header


def _sizes(facts: PictureFacts) -> list[Size]:
    """As stored and, when EXIF turns it on its side, as shown."""
    stored = facts.size
    return [stored, Size(stored.rows, stored.columns)] if facts.orientation >= 5 else [stored]
