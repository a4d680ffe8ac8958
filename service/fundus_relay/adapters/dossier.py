"""One ZIP with everything that is here of some studies. It names the patient, by its nature: nobody else may read it.

How this works. It is written beside its place, under a name of its own and readable by its owner alone, and moved
there when it is whole. Each file's SHA-256 is in the manifest, which comes last. Into a stream it goes piece by
piece; one that fails on the way has no directory, so that nobody takes the half of it for the whole.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, cast
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from fundus_relay import __version__
from fundus_relay.domain.errors import StoreUnavailable
from fundus_relay.pipeline.ports import Blobs

from .database.history import ROWS, History

ENDINGS = {
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/tiff": "tif",
    "application/dicom": "dcm",
    "application/pdf": "pdf",
}

ABOUT = """What Fundus Relay holds of one or several studies. It names a patient: keep it as a medical record.

manifest.json                  every file here with its size and SHA-256, which pictures are no longer kept, and which
                               versions of an order, encounter or study are left out, since they name another patient
STUDY/resources.ndjson         FHIR R4 resources, every version of each; one JSON object a line, here and below
STUDY/study.ndjson             the study; its photographs are in images.ndjson, with state, eye, findings and boxes
STUDY/submissions.ndjson       who asked: each is the Task of the same id
STUDY/acquisitions.ndjson      what was asked of an archive, and what came
STUDY/deliveries.ndjson        each revision of the report: when it was delivered, and its id at the EHR (remote_id)
STUDY/delivered.ndjson         what each revision said, resource by resource
STUDY/journal.ndjson           every move of the above: when, from which state to which, and why
STUDY/holds.ndjson             by whom, when and why the study was held
files/SHA256.*                 photographs, what the analyser was sent, and pages of reports, by their digest
"""


@dataclass(frozen=True, slots=True)
class Exported:
    """How much was written; `missing` pictures and pages were purged, or are lost."""

    studies: int
    files: int
    bytes: int
    missing: int


@dataclass(slots=True)
class _Book:
    """A ZIP that is being written, and what the manifest will say of it."""

    zip: ZipFile
    at: datetime
    files: list[dict[str, object]] = field(default_factory=list)

    async def add(self, name: str, pieces: AsyncIterator[bytes], *, is_packed: bool = False) -> None:
        """Write a file piece by piece. Raises what `pieces` does; then the ZIP is of no use any more."""
        info = ZipInfo(name, self.at.timetuple()[:6])
        info.compress_type = ZIP_STORED if is_packed else ZIP_DEFLATED
        info.external_attr = 0o600 << 16
        digest, count = hashlib.sha256(), 0
        with self.zip.open(info, "w", force_zip64=True) as file:
            async for piece in pieces:
                file.write(piece)
                digest.update(piece)
                count += len(piece)
        self.files.append({"name": name, "bytes": count, "sha256": digest.hexdigest()})


async def write_dossier(
    studies: Sequence[str], history: History, blobs: Blobs | None, at: datetime, to: Path | BinaryIO
) -> Exported:
    """Write the ZIP to `to`: a path, where nothing may be yet, or a stream.

    Args:
        blobs: with photographs and pages, too.

    Raises:
        FileExistsError, or another OSError of the place.
        StoreUnavailable: database or blob store went away; nothing is left behind, or of a stream no ZIP.
    """
    if isinstance(to, Path):
        with _placed(to) as file, ZipFile(file, "w") as zip:
            return await _write(studies, history, blobs, _Book(zip, at))
    onward = _Onward(to)
    with ZipFile(cast("BinaryIO", onward), "w") as zip:  # it writes, and finds that it can do nothing else
        try:
            return await _write(studies, history, blobs, _Book(zip, at))
        except BaseException:
            onward.is_given_up = True
            raise


class _Onward:
    """A stream that is only written to, whatever it is: nothing is mended at a place that has gone by."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.is_given_up = False

    def write(self, data: bytes) -> int:
        return len(data) if self.is_given_up else self._stream.write(data)

    def flush(self) -> None:
        if not self.is_given_up:
            self._stream.flush()


@contextmanager
def _placed(to: Path) -> Iterator[BinaryIO]:
    """A file that is at its place, whole and durable, when the context ended well; else there is none."""
    if to.exists():
        raise FileExistsError(errno.EEXIST, "there is a file already")
    descriptor, name = tempfile.mkstemp(dir=to.parent, prefix=".", suffix=".partial")  # its mode is 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(to)
    finally:
        Path(name).unlink(missing_ok=True)


async def _write(studies: Sequence[str], history: History, blobs: Blobs | None, book: _Book) -> Exported:
    await book.add("README.txt", _whole(ABOUT.encode()))
    for study in studies:
        for part in ROWS:
            await book.add(f"{study}/{part}.ndjson", _lines(history.rows(part, study)))
        await book.add(f"{study}/resources.ndjson", _lines(history.resources(study)))
        await history.note_pictures(study)
    missing = await _add_files(history, blobs, book) if blobs is not None else []
    told = {
        "made_at": book.at.isoformat(),
        "made_by": f"Fundus Relay {__version__}",
        "studies": list(studies),
        "has_pictures": blobs is not None,
        "missing": missing,
        "left_out": history.left_out,
        "files": book.files,
    }
    await book.add("manifest.json", _whole(json.dumps(told, indent=1).encode()))
    return Exported(len(studies), len(book.files), sum(int(str(each["bytes"])) for each in book.files), len(missing))


async def _add_files(history: History, blobs: Blobs, book: _Book) -> list[str]:
    """Write all pictures and pages; returns the digests of those that are not there any more."""
    missing = []
    for digest, media_type in sorted(history.files.items()):
        if not await blobs.has(digest):
            missing.append(digest)
            continue
        try:
            name = f"files/{digest}.{ENDINGS.get(media_type, 'bin')}"
            await book.add(name, blobs.stream(digest), is_packed=media_type != "application/dicom")
        except KeyError as exc:
            raise StoreUnavailable("a picture was purged while it was exported: try again") from exc
    return missing


async def _lines(rows: AsyncIterator[str]) -> AsyncIterator[bytes]:
    async for row in rows:
        yield row.encode() + b"\n"


async def _whole(data: bytes) -> AsyncIterator[bytes]:
    yield data
