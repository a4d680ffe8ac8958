"""The parties outside, the store of files, and the time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Protocol

from fundus_relay.domain.dicom import InstanceName, ListedInstance
from fundus_relay.domain.urgency import Urgency
from fundus_relay.domain.values import Answer, JobStatus, Json, Pieces, Upload, Written


class Clock(Protocol):
    """The only source of time."""

    def now(self) -> datetime:
        """The present, in UTC, with time zone."""
        ...

    async def wait(self, span: timedelta) -> None:
        """Return when that much time has passed."""
        ...


class Draft(Protocol):
    """A blob that is being written; gone without a trace unless kept."""

    def write(self, chunk: bytes) -> None:
        """Append; never waits. Raises StoreUnavailable when the disk is full."""
        ...

    async def drain(self) -> None:
        """Wait until more may be written without filling the memory. Raises as `write`."""
        ...

    @property
    def byte_count(self) -> int:
        """How much was written."""
        ...

    def view(self) -> AbstractAsyncContextManager[memoryview]:
        """All bytes written so far, to look at before keeping."""
        ...

    async def keep(self) -> str:
        """Make it durable under its SHA-256 in hexadecimal, which is returned. Equal bytes kept twice are kept once."""
        ...

    async def drop(self) -> None:
        """Forget it. Harmless after `keep`."""
        ...


class Blobs(Protocol):
    """Bytes under their SHA-256; durable when `keep` or `put` returned."""

    def draft(self) -> Draft: ...

    async def put(self, data: bytes) -> str:
        """Store bytes and return their SHA-256."""
        ...

    async def get(self, sha256: str) -> bytes:
        """The bytes. Raises KeyError when there are none, StoreUnavailable when the store cannot be reached."""
        ...

    def stream(self, sha256: str) -> AsyncIterator[bytes]:
        """The bytes in chunks. Raises as `get`."""
        ...

    async def kept_before(self, moment: datetime, shelf: str) -> Sequence[str]:
        """Digests that begin with these two hexadecimal digits and were last kept before then."""
        ...

    async def has(self, sha256: str) -> bool:
        """Whether the bytes are there. Raises StoreUnavailable."""
        ...

    async def discard(self, sha256: str, *, kept_before: datetime) -> int:
        """Remove bytes, unless somebody kept them again since then; how many that were, 0 when nothing went."""
        ...


class ImageArchive(Protocol):
    """Where a picture lies that a resource only points to."""

    async def fetch(self, url: str, draft: Draft, *, limit: int) -> str:
        """Read `url` into `draft` and return the Content-Type that its server claimed (may be empty).

        Raises:
            Rejected leaf: outside the allow list, private or link-local address, redirect, not found, over `limit`.
            Unavailable leaf: the server cannot be reached or has a passing fault.
        """
        ...


class StudyArchive(Protocol):
    """Where the instances of a study lie: DICOMweb."""

    def knows(self, address: str) -> bool:
        """Whether this base URL is one of the archives that the operator listed."""
        ...

    @property
    def default(self) -> str | None:
        """The archive of a study that names none, if the operator listed any."""
        ...

    async def instances(self, address: str, study: str) -> Sequence[ListedInstance]:
        """All instances of a study, in the order of series and instances; empty when the archive has none (yet).

        Raises: as `fetch`, but InstanceNotThere.
        """
        ...

    async def fetch(self, address: str, name: InstanceName, draft: Draft, *, limit: int) -> None:
        """Read one instance, as it is stored there, into `draft`: a DICOM file.

        Raises:
            ArchiveNotAllowed: the operator did not list this archive.
            InstanceNotThere: the archive has none of that name (any more).
            PictureTooLarge: it has more than `limit` bytes.
            ArchiveUnavailable: it cannot be reached, has a passing fault, or broke off; also an answer that is no
                DICOM file.
            ArchiveCredentialsRefused: an operator must mend the account.
        """
        ...


class HandIn(Protocol):
    """See `Analyser.ready`."""

    async def __call__(self, picture: Pieces, media_type: str, label: str) -> Upload:
        """Hand in a picture for analysis; costs a credit.

        Args:
            picture: read while it leaves; what reading it raises is raised, and then it is for certain not taken.
            label: neutral name, no patient data.

        Raises:
            AnalyserUnavailable: for certain not taken (no connection, 503 before the body was read).
            AnalyserDeclined: for certain not taken; it does not say why, or says what nobody knows.
            CredentialsRefused: for certain not taken; an operator must mend the account.
            CreditsExhausted: for certain not taken.
            AnalyserRefused: it does not take this picture (LC-ERR-0033, LC-ERR-0034).
            UploadAmbiguous: the request left and no answer, or none that we understand, came.
        """
        ...


class Analyser(Protocol):
    """Netra, or a stand-in of it."""

    async def credits(self) -> int | None:
        """Credits that remain, asked afresh.

        Raises: AnalyserUnavailable, CredentialsRefused.
        """
        ...

    def ready(self, urgency: Urgency = Urgency.ROUTINE) -> AbstractAsyncContextManager[HandIn]:
        """Wait for a turn and a token, so that the picture leaves at once when it is handed in; for one picture.

        Of those that wait in one process the most urgent gets the next turn, here and below.

        Raises, on entering: AnalyserUnavailable, CredentialsRefused, StoreUnavailable.
        """
        ...

    async def status(self, job_id: str, urgency: Urgency = Urgency.ROUTINE) -> JobStatus:
        """How far the job is. Raises AnalyserUnavailable, AnalyserRefused, AnswerNotUnderstood."""
        ...

    async def result(self, job_id: str, urgency: Urgency = Urgency.ROUTINE) -> Answer:
        """The result of a job that ended. Raises AnalyserUnavailable, AnalyserRefused, AnswerNotUnderstood."""
        ...


class HealthRecord(Protocol):
    """The EHR that gets the reports."""

    async def publish(self, resources: Sequence[Json], *, revision: int) -> Written:
        """Bring a report revision to the EHR exactly once: search by identifier, write, read back.

        Pages for people go along as the destination wants them; see `fhir.carriage`.

        Doing it twice, or eight times at once, is doing it once.

        Raises:
            RecordUnavailable: try the same again later (`retry_after` when told).
            RecordCredentialsRefused: the same, once an operator has mended the token or its rights.
            RecordRefused: waiting does not cure it; its message says what a person must do.
            StoreUnavailable: the pages cannot be read now.
        """
        ...
