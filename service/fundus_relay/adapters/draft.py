"""A picture that is being written: a temporary file of its own, hashed on the way.

How this works: what arrives is gathered, and a thread hashes and writes it while more arrives; so neither takes the
event loop's time, and a sender that is faster than the disk waits in `drain`, alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from mmap import ACCESS_READ, mmap
from pathlib import Path

from fundus_relay.domain.errors import StoreUnavailable

GATHERED = 256 * 1024
"""Bytes that are hashed and written in one go, by a thread: both let others run meanwhile."""

AHEAD = GATHERED // 2
"""Bytes that may wait while the piece before them is being written; then the sender waits."""

_WRITER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="blobs")
"""One thread: more of them are no faster, and take the interpreter's lock from the event loop more often."""


class FileDraft:
    """A draft in a file of its own, readable by nobody else."""

    def __init__(self, folder: Path, settle: Callable[[int, Path, str], Awaitable[None]]) -> None:
        """Begin a file in `folder`.

        Args:
            settle: makes it durable, given its descriptor, its path and its digest.
        """
        with disk():
            self._file, name = tempfile.mkstemp(dir=folder)
        self._path = Path(name)
        self._settle = settle
        self._digest = hashlib.sha256()
        self._byte_count = 0
        self._gathered: list[bytes] = []
        self._gathered_count = 0
        self._writing: Future[None] | None = None
        self._is_open = True

    def write(self, chunk: bytes) -> None:
        self._gathered.append(chunk)
        self._byte_count += len(chunk)
        self._gathered_count += len(chunk)
        if self._gathered_count >= GATHERED and (self._writing is None or self._writing.done()):
            self._hand_over()

    async def drain(self) -> None:
        if self._gathered_count >= AHEAD and self._writing is not None and not self._writing.done():
            await self._handed_over()
        if self._gathered_count >= GATHERED:
            self._hand_over()

    def _hand_over(self) -> None:
        """Let a thread hash and write what was gathered, while more arrives; the piece before it is through."""
        if self._writing is not None:
            self._writing.result()  # raises what kept it from being written
        pieces, self._gathered, self._gathered_count = self._gathered, [], 0
        self._writing = _WRITER.submit(self._append, pieces)

    async def _handed_over(self) -> None:
        if self._writing is not None:
            await asyncio.shield(asyncio.wrap_future(self._writing))

    def _append(self, pieces: list[bytes]) -> None:
        data = b"".join(pieces)  # hashed and written in one go each: every one hands the interpreter's lock over
        self._digest.update(data)
        with disk():
            at = os.write(self._file, data)
            while at < len(data):  # a disk that is nearly full, or a signal
                at += os.write(self._file, memoryview(data)[at:])

    async def _written(self) -> None:
        """Everything so far is in the file. Raises StoreUnavailable when it could not be."""
        await self._handed_over()
        if self._gathered:
            self._hand_over()
            await self._handed_over()

    @property
    def byte_count(self) -> int:
        return self._byte_count

    @asynccontextmanager
    async def view(self) -> AsyncIterator[memoryview]:
        await self._written()
        if not self._byte_count:
            yield memoryview(b"")
            return
        with disk():
            mapped = mmap(self._file, 0, access=ACCESS_READ)
        with mapped, memoryview(mapped) as data:
            yield data

    async def keep(self) -> str:
        await self._written()
        digest = self._digest.hexdigest()
        await self._settle(self._file, self._path, digest)
        self._close()
        return digest

    async def drop(self) -> None:
        self._gathered, self._gathered_count = [], 0
        with suppress(StoreUnavailable):
            await self._written()
        self._close()
        with suppress(OSError):  # what cannot be unlinked now is swept out later
            self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._is_open:
            self._is_open = False
            os.close(self._file)


@contextmanager
def disk() -> Iterator[None]:
    """Whatever a file system refuses may succeed once an operator made room or mended it."""
    try:
        yield
    except OSError as exc:
        raise StoreUnavailable(f"the blob store's file system: {os.strerror(exc.errno or 0)}") from exc
