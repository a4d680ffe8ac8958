"""Pictures that lie here already.

A client that read a Media from us, changed it and saves it sends `content.url` back as we wrote it: our own Binary. We
look it up rather than call ourselves, and no operator has to list our own address.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fundus_relay.adapters.image_archive import ImageNotThere
from fundus_relay.domain.errors import PictureTooLarge
from fundus_relay.pipeline.ports import Blobs, Draft, ImageArchive, Ledger


@dataclass(frozen=True, slots=True)
class OwnPictures:
    """`ImageArchive` for what lies at our own Binary addresses; another is asked for everything else.

    Attributes:
        base: of the FHIR endpoint as this caller knows it, without a slash at its end.
    """

    base: str
    ledger: Ledger
    blobs: Blobs
    elsewhere: ImageArchive

    async def fetch(self, url: str, draft: Draft, *, limit: int) -> str:
        found = re.fullmatch(re.escape(self.base) + r"/Binary/([A-Za-z0-9\-.]{1,64})", url)
        if found is None:
            return await self.elsewhere.fetch(url, draft, limit=limit)
        async with self.ledger.transaction() as tx:
            media = await tx.resources.read("Media", found[1])
        if media is None:
            raise ImageNotThere("there is no such Binary here")
        content = media["content"]
        if content["size"] > limit:
            raise PictureTooLarge(f"the picture has more than {limit} bytes")
        async for chunk in self.blobs.stream(content["url"].removeprefix("Binary/")):
            draft.write(chunk)
        return str(content["contentType"])
