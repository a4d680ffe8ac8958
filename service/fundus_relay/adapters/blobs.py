"""Pictures under their SHA-256: in a directory, or in an object store.

How this works: a draft is a temporary file that is hashed while it is written. Keeping it makes the bytes durable under
their digest: in a directory by fsync, rename, fsync; in an object store by one put. Equal bytes kept twice replace each
other, which changes nothing and mends a damaged copy.

What is discarded is taken off its shelf first, looked at once more, and put back if somebody kept it in that moment;
who reads meanwhile finds it beside the drafts, and what a killed process left there is put back, too.
"""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from fundus_relay.domain.errors import StoreUnavailable

from .draft import FileDraft, disk

PIECE = 256 * 1024
"""Bytes that are read in one go."""

ABANDONED_AFTER_S = 3600
"""A draft this old belongs to a process that died."""

DISCARDED = "-discarded"
"""How the name of what was taken off its shelf ends."""

DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_FAN = [f"{number:02x}" for number in range(256)]


class DirectoryBlobs:
    """`Blobs` in a directory of a file system that honours fsync; several processes may share it."""

    def __init__(self, path: Path) -> None:
        """Use this directory; it is made if absent, and drafts of processes that died are swept out.

        Raises:
            StoreUnavailable: it cannot be made or written.
        """
        self._path = path
        self._drafts = path / "drafts"
        with disk():
            for folder in (self._drafts, *(path / name for name in _FAN)):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sync_directory(path)
            self.sweep()

    def draft(self) -> FileDraft:
        return FileDraft(self._drafts, self._take_in)

    async def put(self, data: bytes) -> str:
        return await put_as_draft(self.draft(), data)

    async def get(self, sha256: str) -> bytes:
        with self._lookup(sha256):
            return await asyncio.to_thread(self._read, sha256)

    async def stream(self, sha256: str) -> AsyncIterator[bytes]:
        with self._lookup(sha256), await asyncio.to_thread(self._open, sha256) as file:
            while piece := await asyncio.to_thread(file.read, PIECE):
                yield piece

    async def kept_before(self, moment: datetime, shelf: str) -> list[str]:
        return await asyncio.to_thread(self._older, self._path / shelf, moment.timestamp())

    @staticmethod
    def _older(folder: Path, moment: float) -> list[str]:
        with disk(), os.scandir(folder) as found:
            return [each.name for each in found if DIGEST.match(each.name) and each.stat().st_mtime < moment]

    async def has(self, sha256: str) -> bool:
        with disk():
            return await asyncio.to_thread(self._place(sha256).is_file)

    async def discard(self, sha256: str, *, kept_before: datetime) -> int:
        """As the port says. It is taken off its shelf first: what somebody keeps from then on lies there untouched."""
        return await asyncio.to_thread(self._discard, self._place(sha256), kept_before.timestamp())

    def _discard(self, place: Path, moment: float) -> int:
        taken = self._drafts / f"{place.name}{DISCARDED}"
        with disk():
            try:
                if place.stat().st_mtime >= moment:
                    return 0
                place.rename(taken)
            except FileNotFoundError:
                return 0
            found = taken.stat()
            if is_kept := found.st_mtime >= moment:  # in the moment between the look and the move
                _put_back(taken, place)
            taken.unlink()
            _sync_directory(place.parent)
            return 0 if is_kept else found.st_size

    async def _take_in(self, file: int, draft: Path, digest: str) -> None:
        await asyncio.to_thread(self._make_durable, file, draft, self._place(digest))

    @staticmethod
    def _make_durable(file: int, draft: Path, place: Path) -> None:
        with disk():
            os.fsync(file)
            draft.replace(place)
            _sync_directory(place.parent)

    @contextmanager
    def _lookup(self, digest: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as exc:
            if self._place(digest).parent.is_dir():
                raise KeyError(digest) from exc
            raise StoreUnavailable("the blob store: its folders are gone; is it mounted?") from exc
        except OSError as exc:
            raise StoreUnavailable(f"the blob store: {type(exc).__name__}") from exc

    def _read(self, digest: str) -> bytes:
        with self._open(digest) as file:
            return file.read()

    def _open(self, digest: str) -> BinaryIO:
        """On its shelf; or beside it, in the moment in which it is looked at whether it may go."""
        place = self._place(digest)
        for path in (place, self._drafts / f"{place.name}{DISCARDED}"):
            with suppress(FileNotFoundError):
                return path.open("rb")
        return place.open("rb")  # it was put back between the two looks, or there is none

    def sweep(self, abandoned_after: timedelta = timedelta(seconds=ABANDONED_AFTER_S)) -> None:
        """Do what processes that died left undone: their drafts go, and what they took off a shelf comes back to it."""
        with tempfile.NamedTemporaryFile(dir=self._drafts) as fresh:  # whose time is the file system's, which all share
            now = os.fstat(fresh.fileno()).st_mtime
        for draft in self._drafts.iterdir():
            with suppress(FileNotFoundError):
                is_taken = draft.name.endswith(DISCARDED)
                left = draft.stat()
                if now - (left.st_ctime if is_taken else left.st_mtime) >= abandoned_after.total_seconds():
                    if is_taken:
                        _put_back(draft, self._place(draft.name.removesuffix(DISCARDED)))
                    draft.unlink()

    def _place(self, digest: str) -> Path:
        if not DIGEST.match(digest):
            raise KeyError(digest)
        return self._path / digest[:2] / digest


async def put_as_draft(draft: FileDraft, data: bytes) -> str:
    try:
        draft.write(data)
        return await draft.keep()
    finally:
        await draft.drop()


def _sync_directory(path: Path) -> None:
    """Make names in a directory durable."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _put_back(taken: Path, place: Path) -> None:
    """Unless the same lies there again."""
    with suppress(FileExistsError):
        place.hardlink_to(taken)
