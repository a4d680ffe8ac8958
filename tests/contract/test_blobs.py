"""What every blob store promises; and what the directory promises when the disk is full or a process died."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from obstore.store import LocalStore, MemoryStore, S3Store

from fundus_relay.adapters.blobs import ABANDONED_AFTER_S, DISCARDED, PIECE, DirectoryBlobs
from fundus_relay.adapters.draft import GATHERED
from fundus_relay.adapters.object_blobs import SECTION, ObjectBlobs
from fundus_relay.domain.errors import StoreUnavailable
from fundus_relay.pipeline.ports import Blobs

NOTHING = hashlib.sha256(b"never stored").hexdigest()
LARGE = bytes(range(256)) * (3 * PIECE // 256) + b"end"


@pytest.fixture(params=["directory", "memory", "local", "url"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Blobs]:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    match request.param:
        case "directory":
            yield DirectoryBlobs(tmp_path / "blobs")
        case "memory":
            yield ObjectBlobs("memory:///", MemoryStore())
        case "local":
            yield ObjectBlobs("file:///", LocalStore(tmp_path / "objects", mkdir=True))
        case _:
            yield ObjectBlobs("memory:///")


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("data", [b"", b"x", LARGE])
async def test_bytes_are_read_back_under_their_digest(blobs: Blobs, data: bytes) -> None:
    digest = await blobs.put(data)

    assert digest == hashlib.sha256(data).hexdigest()
    assert await blobs.get(digest) == data
    assert b"".join([piece async for piece in blobs.stream(digest)]) == data


async def test_a_large_blob_is_streamed_in_pieces(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    digest = await blobs.put(LARGE)

    assert len([piece async for piece in blobs.stream(digest)]) > 1


async def test_an_object_store_owes_a_slow_reader_nothing_between_two_pieces() -> None:
    data, asked = bytes(2 * SECTION + 1), []
    digest = hashlib.sha256(data).hexdigest()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            while request := await reader.readuntil(b"\r\n\r\n"):
                wanted = re.search(rb"range: bytes=(\d+)-(\d+)", request)
                first, last = map(int, wanted.groups()) if wanted else (0, len(data) - 1)
                if is_content := request.startswith(b"GET"):
                    asked.append(last + 1 - first)
                writer.write(
                    b'HTTP/1.1 %s\r\nContent-Length: %d\r\nContent-Range: bytes %d-%d/%d\r\nETag: "1"\r\n'
                    b"Last-Modified: Mon, 30 Nov 2026 10:00:00 GMT\r\n\r\n"
                    % (b"206 Partial Content" if wanted else b"200 OK", last + 1 - first, first, last, len(data))
                )
                writer.write(data[first : last + 1] if is_content else b"")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        store = S3Store(
            "bucket",
            endpoint=f"http://127.0.0.1:{port}",
            client_options={"allow_http": True},
            skip_signature=True,
            region="one",
        )
        read = 0
        async for piece in ObjectBlobs("s3://bucket", store).stream(digest):
            read += len(piece)
            assert sum(asked) == read
        assert read == len(data)


async def test_a_draft_is_looked_at_and_kept(blobs: Blobs) -> None:
    draft = blobs.draft()
    draft.write(b"one ")
    draft.write(b"two")

    assert draft.byte_count == 7
    async with draft.view() as data:
        assert bytes(data) == b"one two"
    digest = await draft.keep()
    await draft.drop()
    assert await blobs.get(digest) == b"one two"


async def test_an_empty_draft_has_an_empty_view(blobs: Blobs) -> None:
    draft = blobs.draft()

    async with draft.view() as data:
        assert bytes(data) == b""
    await draft.drop()


async def test_a_dropped_draft_leaves_nothing(blobs: Blobs, tmp_path: Path) -> None:
    draft = blobs.draft()
    draft.write(b"gone")
    await draft.drop()
    await draft.drop()

    with pytest.raises(KeyError):
        await blobs.get(hashlib.sha256(b"gone").hexdigest())
    assert files(tmp_path) == []


async def test_equal_bytes_kept_at_once_are_kept_once(blobs: Blobs) -> None:
    digests = await asyncio.gather(*(blobs.put(LARGE) for _ in range(4)))

    assert len(set(digests)) == 1
    assert await blobs.get(digests[0]) == LARGE


@pytest.mark.parametrize("digest", [NOTHING, "../../etc/passwd", "", NOTHING.upper(), f"{NOTHING}\n"])
async def test_what_is_not_there_is_a_key_error(blobs: Blobs, digest: str) -> None:
    with pytest.raises(KeyError):
        await blobs.get(digest)
    with pytest.raises(KeyError):
        [piece async for piece in blobs.stream(digest)]


async def test_a_directory_that_is_not_mounted_has_not_lost_its_pictures(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path / "blobs")
    digest = await blobs.put(b"x")
    (tmp_path / "blobs").rename(tmp_path / "elsewhere")

    with pytest.raises(StoreUnavailable):
        await blobs.get(digest)
    (tmp_path / "elsewhere").rename(tmp_path / "blobs")
    assert await blobs.get(digest) == b"x"


async def test_a_store_that_is_gone_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(StoreUnavailable):
        DirectoryBlobs(tmp_path / "file" / "blobs")
    with pytest.raises(StoreUnavailable):
        await ObjectBlobs("http://127.0.0.1:9/nobody").put(b"x")


async def test_nothing_but_whole_blobs_lies_in_the_directory(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    draft = blobs.draft()
    draft.write(b"half")

    digest = await blobs.put(b"whole")

    assert files(tmp_path / digest[:2]) == [tmp_path / digest[:2] / digest]
    assert len(files(tmp_path / "drafts")) == 1
    await draft.drop()


async def test_what_was_kept_long_ago_is_found_on_its_shelf_and_discarded(blobs: Blobs) -> None:
    digest = await blobs.put(b"whole")
    later = datetime.now(UTC) + timedelta(minutes=1)

    assert await blobs.has(digest)
    assert await blobs.kept_before(later, digest[:2]) == [digest]
    assert await blobs.kept_before(later, f"{int(digest[:2], 16) ^ 1:02x}") == []
    assert await blobs.discard(digest, kept_before=later) == len(b"whole")
    assert await blobs.kept_before(later, digest[:2]) == []
    assert not await blobs.has(digest)
    assert not await blobs.discard(digest, kept_before=later)


async def test_what_was_kept_again_since_is_not_discarded(blobs: Blobs) -> None:
    digest = await blobs.put(b"whole")
    earlier = datetime.now(UTC) - timedelta(minutes=1)

    assert await blobs.kept_before(earlier, digest[:2]) == []
    assert not await blobs.discard(digest, kept_before=earlier)
    assert await blobs.get(digest) == b"whole"


async def test_what_is_kept_in_the_moment_of_its_discarding_stays(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    digest = await blobs.put(LARGE)
    for _ in range(30):
        long_ago = datetime.now(UTC) - timedelta(hours=2)
        os.utime(tmp_path / digest[:2] / digest, (long_ago.timestamp(), long_ago.timestamp()))

        _, freed, read = await asyncio.gather(
            blobs.put(LARGE),
            blobs.discard(digest, kept_before=datetime.now(UTC) - timedelta(hours=1)),
            read_if_there(blobs, digest),
        )

        assert freed in (0, len(LARGE))
        assert read in (None, LARGE)
        assert await blobs.get(digest) == LARGE
    assert files(tmp_path / "drafts") == []


async def read_if_there(blobs: Blobs, digest: str) -> bytes | None:
    try:
        return await blobs.get(digest)
    except KeyError:
        return None


async def test_what_a_killed_process_took_off_its_shelf_is_read_and_comes_back(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    digest = await blobs.put(b"whole")
    (tmp_path / digest[:2] / digest).rename(tmp_path / "drafts" / f"{digest}{DISCARDED}")

    assert await blobs.get(digest) == b"whole"
    assert b"".join([piece async for piece in blobs.stream(digest)]) == b"whole"
    blobs.sweep(abandoned_after=timedelta(0))
    assert files(tmp_path) == [tmp_path / digest[:2] / digest]


async def test_a_draft_that_is_drained_holds_no_more_than_two_pieces_in_memory(tmp_path: Path) -> None:
    draft = DirectoryBlobs(tmp_path).draft()
    chunk = b"x" * 100_000
    for _ in range(100):
        draft.write(chunk)
        await draft.drain()
        (file,) = files(tmp_path / "drafts")
        assert file.stat().st_size >= draft.byte_count - 2 * (GATHERED + len(chunk))

    assert await draft.keep() == hashlib.sha256(chunk * 100).hexdigest()


async def test_a_damaged_copy_is_mended_by_sending_it_again(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    digest = await blobs.put(b"whole")
    (tmp_path / digest[:2] / digest).write_bytes(b"wh")

    await blobs.put(b"whole")

    assert await blobs.get(digest) == b"whole"


async def test_drafts_of_dead_processes_are_swept_out_and_those_of_the_living_are_not(tmp_path: Path) -> None:
    living = DirectoryBlobs(tmp_path).draft()
    dead = tmp_path / "drafts" / "dead"
    dead.write_bytes(b"half")
    long_ago = dead.stat().st_mtime - ABANDONED_AFTER_S - 1
    os.utime(dead, (long_ago, long_ago))

    DirectoryBlobs(tmp_path)

    assert not dead.exists()
    assert len(files(tmp_path / "drafts")) == 1
    await living.drop()


async def test_blobs_are_nobody_elses_to_read(tmp_path: Path) -> None:
    digest = await DirectoryBlobs(tmp_path).put(b"a retina")

    assert (tmp_path / digest[:2] / digest).stat().st_mode & 0o077 == 0


FULL = """
import asyncio, resource, sys
from pathlib import Path
from fundus_relay.adapters.blobs import DirectoryBlobs
from fundus_relay.domain.errors import StoreUnavailable

async def main():
    blobs = DirectoryBlobs(Path(sys.argv[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    kept = await blobs.put(bytes(99_000))
    try:
        await blobs.put(bytes(200_000))
    except StoreUnavailable as why:
        print(kept, why.code)

asyncio.run(main())
"""


def test_a_file_system_that_takes_no_more_is_unavailable_and_keeps_nothing_half(tmp_path: Path) -> None:
    told = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=True)

    kept, code = told.stdout.split()
    assert code == "store-unavailable"
    assert files(tmp_path) == [tmp_path / kept[:2] / kept]
