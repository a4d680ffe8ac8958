"""Pictures as they were kept, and as they stay.

How this works. Bytes are kept before the transaction whose rows need them, so equal ones may be discarded in between,
because they were of a study that was purged. A directory notices that; an object store deletes without a condition. So
what is discarded stands in the ledger, from before it goes until a day after: whoever needs the same looks there, and
makes sure of it under a lock that a discard waits for.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence

from fundus_relay.domain.errors import PictureLost, StoreUnavailable

from .ports import Blobs, Ports, Transaction

_CHANGED = "a kept picture is not what it was a moment ago"


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


class KeptPicture:
    """A picture as it was kept, for who needs it piece by piece and not whole. See `domain.values.Pieces`.

    It is looked at before, so that a lost one is found in time, and again on its way: its end is not given out before
    the digest of all of it is known to be the right one.

    Attributes:
        byte_count: how long it is.
    """

    def __init__(self, sha256: str, byte_count: int, blobs: Blobs) -> None:
        self.byte_count = byte_count
        self._sha256 = sha256
        self._blobs = blobs

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Raise StoreUnavailable, also when it is not the same any more."""
        last, missing = b"", self.byte_count
        try:
            async for piece in _checked(self._sha256, self._blobs):
                missing -= len(piece)
                if missing < 0:  # whoever was told a length must not be given more
                    break
                yield last
                last = piece
        except PictureLost as why:  # since it was looked at: whoever looks again will see what to do
            raise StoreUnavailable(_CHANGED) from why
        if missing < 0:
            raise StoreUnavailable(_CHANGED)
        yield last


async def looked_at(sha256: str, ports: Ports) -> KeptPicture:
    """A picture that is there, whole and unchanged. Raises: PictureLost, StoreUnavailable."""
    byte_count = 0
    async for piece in _checked(sha256, ports.blobs):
        byte_count += len(piece)
    return KeptPicture(sha256, byte_count, ports.blobs)


async def _checked(sha256: str, blobs: Blobs) -> AsyncIterator[bytes]:
    """The bytes of this digest. Raises PictureLost, at the end at the latest; StoreUnavailable."""
    digest = hashlib.sha256()
    try:
        async for piece in blobs.stream(sha256):
            await asyncio.to_thread(digest.update, piece)
            yield piece
    except KeyError as why:
        raise PictureLost from why
    if digest.hexdigest() != sha256:
        raise PictureLost


async def make_sure(sha256s: Sequence[str], tx: Transaction, blobs: Blobs) -> None:
    """See that bytes which were kept before this transaction are there, and stay until it has ended.

    Raises: StoreUnavailable when they were discarded meanwhile: kept again, they stay.
    """
    for sha256 in await tx.condemned(sha256s) if sha256s else []:
        if not await blobs.has(sha256):
            raise StoreUnavailable("the same picture was purged in this very moment")
