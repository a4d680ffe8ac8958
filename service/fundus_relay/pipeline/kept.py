"""Pictures as they were kept."""

from __future__ import annotations

import asyncio
import hashlib

from fundus_relay.domain.errors import PictureLost

from .ports import Ports


async def kept(sha256: str, ports: Ports) -> bytes:
    """A picture as it was kept; nothing else is ever analysed or shown in its place.

    Raises: PictureLost, StoreUnavailable.
    """
    try:
        picture = await ports.blobs.get(sha256)
    except KeyError as why:
        raise PictureLost from why
    if (await asyncio.to_thread(hashlib.sha256, picture)).hexdigest() != sha256:
        raise PictureLost
    return picture
