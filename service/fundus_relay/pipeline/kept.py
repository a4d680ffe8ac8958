"""Pictures as they were kept, and as they stay.

How this works. Bytes are kept before the transaction whose rows need them, so equal ones may be discarded in between,
because they were of a study that was purged. A directory notices that; an object store deletes without a condition. So
what is discarded stands in the ledger, from before it goes until a day after: whoever needs the same looks there, and
makes sure of it under a lock that a discard waits for.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence

from fundus_relay.domain.errors import PictureLost, StoreUnavailable

from .ports import Blobs, Ports, Transaction


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


async def make_sure(sha256s: Sequence[str], tx: Transaction, blobs: Blobs) -> None:
    """See that bytes which were kept before this transaction are there, and stay until it has ended.

    Raises: StoreUnavailable when they were discarded meanwhile: kept again, they stay.
    """
    for sha256 in await tx.condemned(sha256s) if sha256s else []:
        if not await blobs.has(sha256):
            raise StoreUnavailable("the same picture was purged in this very moment")
