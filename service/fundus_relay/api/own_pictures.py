"""Photographs that a caller only points to, because they are here already.

A client that reads a Media, changes it and saves it sends our own `content.url` back: that is the picture as it was.
"""

from __future__ import annotations

from dataclasses import dataclass

from fundus_relay.adapters.image_archive import ImageNotThere
from fundus_relay.domain.errors import PicturePurged, PictureTooLarge
from fundus_relay.fhir.pages import digest_of, is_overlay
from fundus_relay.pipeline.ports import Blobs, Draft, ImageArchive, Ledger


@dataclass(frozen=True, slots=True)
class OwnPictures:
    """An `ImageArchive` that knows our own Binary endpoint, and asks another one for everything else.

    Attributes:
        base: of our FHIR endpoint as this caller sees it.
    """

    elsewhere: ImageArchive
    ledger: Ledger
    blobs: Blobs
    base: str

    async def fetch(self, url: str, draft: Draft, *, limit: int) -> str:
        own = f"{self.base}/Binary/"
        if not url.startswith(own):
            return await self.elsewhere.fetch(url, draft, limit=limit)
        async with self.ledger.transaction() as tx:
            media = await tx.resources.read("Media", url.removeprefix(own))
            is_gone = media is not None and not is_overlay(media) and await tx.is_purged(digest_of(media))
        if media is None or is_overlay(media):
            raise ImageNotThere("there is no photograph of ours at this URL")
        if is_gone:
            raise PicturePurged("the photograph at this URL was purged: send its bytes")
        if media["content"]["size"] > limit:
            raise PictureTooLarge(f"the picture has more than {limit} bytes")
        async for chunk in self.blobs.stream(digest_of(media)):
            draft.write(chunk)
            await draft.drain()
        return str(media["content"]["contentType"])
