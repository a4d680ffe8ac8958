"""What the journey needs from the world. Each port is documented here, once.

`Ledger` has no fake: the real one starts in half a second wherever the tests run. The others have a fake in
`tests/fakes`, proven by the contract suite that the real adapter passes too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

from fundus_relay.domain.credits import Credits, Spent
from fundus_relay.domain.dicom import InstanceName, ListedInstance
from fundus_relay.domain.packed import Packed
from fundus_relay.domain.policy import Kept
from fundus_relay.domain.states import AcquisitionState, DeliveryState, ImageState
from fundus_relay.domain.urgency import Urgency
from fundus_relay.domain.values import (
    Acquisition,
    Answer,
    CreditMark,
    Delivery,
    Image,
    JobStatus,
    Json,
    Page,
    StoredPicture,
    Study,
    Submission,
    Upload,
    Waiting,
    Written,
)
from fundus_relay.tracing import Tracer


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

    async def __call__(self, picture: bytes, media_type: str, label: str) -> Upload:
        """Hand in a picture for analysis; costs a credit.

        Args:
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


class Job(StrEnum):
    """What the engine runs; the argument is one opaque id."""

    ACQUISITION = "acquisition"
    IMAGE = "image"
    STUDY = "study"
    DELIVERY = "delivery"


class Resources(Protocol):
    """FHIR resources by type and id, every version kept, inside the ledger's transaction."""

    async def put(self, resource: Json, *, is_fresh: bool = False) -> tuple[Json, bool]:
        """Store under its `resourceType` and `id` (one is made when absent).

        Args:
            is_fresh: the id was made a moment ago and nothing can be stored under it: spares a look.

        Returns:
            The resource with `id`, `meta.versionId` and `meta.lastUpdated`, and whether a version was added: equal
            content adds none.
        """
        ...

    async def add(self, resource: Json) -> None:
        """Store under its `resourceType` and `id`, which was made a moment ago; nothing is told of it."""
        ...

    async def read(self, kind: str, id: str, version: int | None = None) -> Json | None:
        """One version (the newest by default), or None."""
        ...

    async def lean_on(self, kind: str, id: str) -> Json | None:
        """The newest version, which nobody purges before the commit, or None."""
        ...

    async def search(
        self, kind: str, parameters: Sequence[tuple[str, str]], *, count: int = 50, offset: int = 0
    ) -> Page:
        """Matches of FHIR search parameters, newest first.

        Raises: InvalidResource for a parameter that is not supported or does not parse.
        """
        ...


class Transaction(Protocol):
    """One commit: states, resources and the jobs that follow them. Rolled back on any exception."""

    @property
    def resources(self) -> Resources:
        """FHIR resources inside this commit."""
        ...

    async def hold(self, names: Sequence[str]) -> None:
        """Let nobody else hold any of these names before this transaction ends; waits. Order does not matter."""
        ...

    async def open_study(self, key: str, subject: Json, context: Json, urgency: Urgency = Urgency.ROUTINE) -> Study:
        """The study of that key, made if new, locked till the end of the transaction.

        Args:
            urgency: at least; one that is less urgent so far becomes so with all that belongs to it.
        """
        ...

    async def hurry(self, key: str, urgency: Urgency) -> None:
        """Let the study of that key, if there is one, be so urgent at least; locked, as by `open_study`."""
        ...

    async def study(self, study_id: str) -> Study | None:
        """Locked."""
        ...

    async def save_study(self, study: Study) -> None: ...

    async def add_image(self, image: Image) -> tuple[Image, bool]:
        """Add, or return the one that this study already has with equal bytes; True when added.

        Its pixels are here again then, should they have been purged. Its place, and that of an acquisition, is chosen
        here; see `domain.urgency`.
        """
        ...

    async def image(self, image_id: str) -> Image | None:
        """Locked."""
        ...

    async def images(self, study_id: str) -> Sequence[Image]:
        """In the order of arrival; not locked (lock the study)."""
        ...

    async def image_of_media(self, media_id: str, sha256: str) -> Image | None:
        """The image that this Media brought, as the first or again; not locked (lock the study first)."""
        ...

    async def is_purged(self, sha256: str) -> bool:
        """Whether there are images of these bytes, and the pixels of each of them were purged."""
        ...

    async def condemned(self, sha256s: Sequence[str]) -> Sequence[str]:
        """Those that are to be discarded, or were within the last day; nobody discards them before the commit."""
        ...

    async def twins(self, source: StoredPicture, subject: Json, *, but: Study) -> Sequence[Image]:
        """Images of the same picture of the same patient in other studies, not cancelled; not locked."""
        ...

    async def move_image(
        self,
        image: Image,
        to: ImageState,
        *,
        reason: str | None = None,
        **changes: Any,  # a subset of Image's fields
    ) -> Image | None:
        """Settle `where id, state and attempt` are still those of `image`; journals the move.

        Returns:
            The image as it now is, or None when another got there first (then nothing was changed).

        Raises: ValueError for a move that `IMAGE_MOVES` does not know (staying in a state is allowed).
        """
        ...

    async def add_submission(self, submission: Submission) -> None: ...

    async def save_submission(self, submission: Submission) -> None: ...

    async def submissions(self, study_id: str) -> Sequence[Submission]: ...

    async def open_acquisition(self, acquisition: Acquisition) -> tuple[Acquisition, bool]:
        """Add, or return, locked, the one that this study already has of that archive's study; True when added."""
        ...

    async def acquisition(self, acquisition_id: str) -> Acquisition | None:
        """Locked."""
        ...

    async def acquisitions(self, study_id: str) -> Sequence[Acquisition]:
        """Oldest first; not locked (lock the study)."""
        ...

    async def acquisitions_for(self, imaging_study: str) -> Sequence[Acquisition]:
        """Those that this ImagingStudy asked for; not locked."""
        ...

    async def move_acquisition(
        self,
        acquisition: Acquisition,
        to: AcquisitionState,
        *,
        reason: str | None = None,
        **changes: Any,  # a subset of fields
    ) -> Acquisition | None:
        """As `move_image`, by `ACQUISITION_MOVES`."""
        ...

    async def add_delivery(self, delivery: Delivery, resources: Sequence[Json]) -> None:
        """Add; an earlier revision for the same destination that has not begun becomes superseded.

        Args:
            resources: the report and all that goes with it, with our own ids; see `fhir.report.Report`.
        """
        ...

    async def told(self, delivery_id: str) -> Packed:
        """The resources of a delivery; none when there is no such delivery."""
        ...

    async def delivery(self, delivery_id: str) -> Delivery | None:
        """Locked."""
        ...

    async def deliveries(self, study_id: str) -> Sequence[Delivery]:
        """By revision, oldest first."""
        ...

    async def move_delivery(
        self,
        delivery: Delivery,
        to: DeliveryState,
        *,
        reason: str | None = None,
        **changes: Any,  # a subset of fields
    ) -> Delivery | None:
        """As `move_image`, by `DELIVERY_MOVES`."""
        ...

    async def mark_credits(self) -> CreditMark:
        """The mark for an upload that is about to leave; see `CreditMark`."""
        ...

    async def uploads_confirmed(self) -> int:
        """How many, ever."""
        ...

    async def confirm_upload(self, remaining: int | None) -> None:
        """One more upload that was `sending` until this transaction was confirmed; `remaining` never rises by this.

        A count that is higher than the last is of before it, or of after a top-up: the last one stands, with its time.
        """
        ...

    async def uploads_under_way(self) -> int:
        """How many images are `sending` and not known to be lost; those rest until `due_at`."""
        ...

    async def credits(self) -> Credits:
        """What is known of the account; under way is whatever is `sending`, known to be lost or not."""
        ...

    async def note_exhausted(self) -> None:
        """The analyser said that no credits are left; holds until it tells a count again."""
        ...

    async def forget_credits(self, *, told_before: datetime) -> None:
        """What was told of the account before then is not known any more."""
        ...

    async def images_let_go(self) -> int:
        """How many that waited for credits do not any more, and are not sent yet."""
        ...

    async def let_go(self, urgency: Urgency, most: int) -> int:
        """Let as many images of this urgency as wait for credits go on, the lowest place first; returns how many."""
        ...

    async def count_double_spend(self) -> None:
        """One more credit may have been spent twice."""
        ...

    async def enqueue(self, job: Job, id: str, *, at: datetime | None = None) -> None:
        """Run the job after this transaction committed, the more urgent first, and senders in turn.

        A job for later is not queued at all: the row's `due_at`, set in this transaction too, is the wait, and
        reconcile brings the job when it has passed.
        """
        ...


@dataclass(frozen=True, slots=True)
class Census:
    """How many there are, for the operator.

    Attributes:
        images, deliveries, acquisitions: count by state.
        parked: count by reason.
        credits: that remain, or None; `credits_at` says since when we know.
        possibly_double_spent: credits.
        credits_last_for: at our own pace; None when nobody can tell.
    """

    images: Mapping[str, int]
    deliveries: Mapping[str, int]
    acquisitions: Mapping[str, int]
    parked: Mapping[str, int]
    credits: int | None
    credits_at: datetime | None
    possibly_double_spent: int
    credits_spent: Spent
    credits_last_for: timedelta | None


@dataclass(frozen=True, slots=True)
class Parked:
    """A row that waits for a person.

    Attributes:
        subject: `image`, `delivery` or `acquisition`.
        media, tasks: ids of the Media that it is about, and of the Tasks that tell of it.
    """

    subject: str
    id: str
    state: str
    reason: str
    since: datetime
    media: Sequence[str]
    tasks: Sequence[str]


@dataclass(frozen=True, slots=True)
class PutOff:
    """Rows that wait by themselves, counted by what they wait for.

    Attributes:
        subject: `image`, `delivery` or `acquisition`.
        due_at: when the first of them goes on.
    """

    subject: str
    state: str
    reason: str
    count: int
    due_at: datetime


class Ledger(Protocol):
    """Our tables. Every method raises StoreUnavailable when the database cannot be reached."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]: ...

    async def due_for_poll(self, now: datetime, limit: int) -> Sequence[Waiting]:
        """Images that are `analysing`, not yet seen as ended, with `due_at` passed; urgent first, then oldest due."""
        ...

    async def postpone_polls(self, image_ids: Sequence[str], until: Sequence[datetime], reason: str | None) -> None:
        """Set the next question's time for images that are still `analysing`; one statement, no journal."""
        ...

    async def note_ended(self, ended: Mapping[str, str]) -> None:
        """Image id → job status that was seen; their jobs are enqueued in the same commit."""
        ...

    async def overdue(self, now: datetime, limit: int) -> Sequence[tuple[Job, str]]:
        """Unfinished rows whose time has come and which have no live job: what reconcile enqueues again."""
        ...

    async def is_any_held(self) -> bool:
        """Whether any image waits for credits."""
        ...

    async def unknown_pictures(self, digests: Sequence[str]) -> Sequence[str]:
        """Those that are neither the source of an image, nor what was made of one, nor a page that a report has.

        What was purged of an image or report is not of it any more.
        """
        ...

    async def census(self) -> Census: ...

    async def parked(self) -> Sequence[Parked]:
        """All that waits for a person, longest first."""
        ...

    async def put_off(self, now: datetime) -> Sequence[PutOff]:
        """What waits by itself for a reason, most first."""
        ...

    async def held(self, reason: str | None, now: datetime) -> Sequence[str]:
        """Ids of all that is parked; with a reason's code, of all that is parked or waits for that one."""
        ...


@dataclass(frozen=True, slots=True)
class Old:
    """Where something lies that may be purged.

    Attributes:
        since, id: its place; the next look begins after it.
        study_id: of the study that it belongs to.
    """

    since: datetime
    id: str
    study_id: str


@dataclass(frozen=True, slots=True)
class Condemned:
    """Files that are to be discarded.

    Attributes:
        files: by digest, what each was.
        freed: to be filled: by digest, how many bytes its discarding gave back.
        is_more: whether there was anything to look at, needed or not.
    """

    files: Mapping[str, Kept]
    is_more: bool
    freed: dict[str, int] = field(default_factory=dict)


class Retention(Protocol):
    """What may go, and its going. Every method raises StoreUnavailable when the database cannot be reached.

    A study may lose something when all its images, acquisitions and deliveries have ended, nothing of it changed since
    a moment, no job of it is queued, and nobody holds it.
    """

    async def old(self, kept: Kept, before: datetime, after: Old | None, limit: int) -> Sequence[Old]:
        """What of this class has been as it is since before that moment, oldest first; studies for the ledger.

        Args:
            after: the last one of the look before.
        """
        ...

    async def purge(self, kept: Kept, study_ids: Sequence[str], before: datetime) -> int:
        """Let a class go of those of these studies that may lose it; returns of how many. One commit.

        The files are condemned, not discarded. A study that somebody works on is passed over.
        """
        ...

    async def purge_leftovers(self, kind: str, before: datetime, after: Old | None, limit: int) -> Sequence[Old]:
        """Remove resources of this type that nothing refers to any more and that are older than that.

        Returns:
            Everything of the type that was looked at; `Old.study_id` is empty.
        """
        ...

    async def condemn(self, sha256s: Sequence[str]) -> None:
        """Note files that nothing refers to, to be discarded."""
        ...

    def condemned(self, limit: int) -> AbstractAsyncContextManager[Condemned]:
        """Files that were condemned and that nothing needs; done with when the context ends well.

        Until then whoever is about to need one of them waits; see `Transaction.condemned`.
        """
        ...


@dataclass(frozen=True, slots=True)
class Hold:
    """A study of which nothing is purged.

    Attributes:
        why: as somebody typed it; never logged.
        media, tasks: ids of the Media that are in it, and of the Tasks that tell of it.
    """

    study: str
    at: datetime
    who: str
    why: str
    media: Sequence[str]
    tasks: Sequence[str]


class Holds(Protocol):
    """Studies that are held by order. Every method raises StoreUnavailable when the database cannot be reached."""

    async def studies_of(self, name: str) -> Sequence[str]:
        """Ids of the studies that something is of.

        Args:
            name: id of an image, delivery, acquisition, study, Media, Task, ImagingStudy or DiagnosticReport, also of
                the report at the EHR; or `Type/id`, then of a Patient, ServiceRequest or Encounter, too.
        """
        ...

    async def hold(self, study_ids: Sequence[str], who: str, why: str) -> int:
        """Hold those that are not held yet; returns how many."""
        ...

    async def end(self, study_ids: Sequence[str], who: str) -> int:
        """End the holds of these; returns how many. What is old enough may go at once."""
        ...

    async def standing(self) -> Sequence[Hold]:
        """All that are held, longest first."""
        ...


@dataclass(frozen=True, slots=True)
class Ports:
    """All of them.

    Attributes:
        records: by destination name.
        decoding: held by whoever has a picture's pixels in memory: a photograph of 12 megapixels takes 100 MB.
        tracer: begins a span for each step.
    """

    ledger: Ledger
    blobs: Blobs
    archive: StudyArchive
    analyser: Analyser
    records: Mapping[str, HealthRecord]
    clock: Clock
    retention: Retention
    decoding: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    tracer: Tracer = field(default_factory=Tracer)
