"""Pictures under their SHA-256 in an object store: S3, Google Cloud Storage or Azure. One put keeps a draft."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import ObjectStore, from_url

from fundus_relay.domain.errors import StoreUnavailable

from .blobs import DIGEST, put_as_draft
from .draft import FileDraft, disk

SECTION = 1024 * 1024
"""Bytes that are asked for in one go, by who reads piece by piece."""


class ObjectBlobs:
    """`Blobs` in S3, Google Cloud Storage or Azure; drafts lie in the temporary directory until they are kept."""

    def __init__(self, url: str, store: ObjectStore | None = None) -> None:
        """Use the bucket and prefix of this URL; credentials come from where the cloud's own tools find theirs.

        Args:
            store: to use instead of what the URL names.

        Raises:
            StoreUnavailable: there is no folder for temporary files, as in a container that can write nothing.
        """
        self._store = store if store is not None else from_url(url)
        with disk():
            self._drafts = Path(tempfile.gettempdir())

    def draft(self) -> FileDraft:
        return FileDraft(self._drafts, self._upload)

    async def put(self, data: bytes) -> str:
        return await put_as_draft(self.draft(), data)

    async def get(self, sha256: str) -> bytes:
        with _lookup(sha256):
            answer = await obstore.get_async(self._store, _key(sha256))
            return bytes(await answer.bytes_async())

    async def stream(self, sha256: str) -> AsyncIterator[bytes]:
        """As the port says. Each section is an answer of its own, so that a slow reader keeps none of them waiting.

        The client gives an answer 30 seconds, and all that it asks again for one three minutes, its content included:
        four uploads that share a slow line take longer.

        Source: object_store, ClientOptions and RetryConfig; observed with obstore 0.12.1.
        """
        with _lookup(sha256):
            size = (await obstore.head_async(self._store, _key(sha256)))["size"]
        for start in range(0, size, SECTION):
            with _lookup(sha256):
                end = min(size, start + SECTION)
                section = bytes(await obstore.get_range_async(self._store, _key(sha256), start=start, end=end))
            yield section

    async def kept_before(self, moment: datetime, shelf: str) -> list[str]:
        with _bucket():
            return [
                each["path"].rpartition("/")[2]
                async for page in obstore.list(self._store, prefix=shelf)
                for each in page
                if each["last_modified"] < moment
            ]

    async def has(self, sha256: str) -> bool:
        try:
            with _lookup(sha256):
                await obstore.head_async(self._store, _key(sha256))
        except KeyError:
            return False
        return True

    async def discard(self, sha256: str, *, kept_before: datetime) -> int:
        """As the port says, but for the milliseconds between a look and the deletion: no store deletes on condition.

        Who keeps the same in those finds it in the ledger's list of what is discarded, and looks; see `pipeline.kept`.
        """
        try:
            with _lookup(sha256):
                found = await obstore.head_async(self._store, _key(sha256))
                if found["last_modified"] >= kept_before:
                    return 0
                await obstore.delete_async(self._store, _key(sha256))
        except KeyError:
            return 0
        return found["size"]

    async def _upload(self, _: int, draft: Path, digest: str) -> None:
        with _bucket():
            await obstore.put_async(self._store, _key(digest), draft)


def _key(digest: str) -> str:
    if not DIGEST.match(digest):
        raise KeyError(digest)
    return f"{digest[:2]}/{digest}"


@contextmanager
def _bucket() -> Iterator[None]:
    try:
        yield
    except (BaseError, OSError) as exc:
        raise StoreUnavailable(f"the object store: {type(exc).__name__}") from exc


@contextmanager
def _lookup(digest: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotFoundError) as exc:
        raise KeyError(digest) from exc
    except (BaseError, OSError) as exc:
        raise StoreUnavailable(f"the object store: {type(exc).__name__}") from exc
