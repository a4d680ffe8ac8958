"""Our tables: what one commit can do, and what is asked of all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

from fundus_relay.domain.credits import Spent
from fundus_relay.domain.packed import Packed
from fundus_relay.domain.states import AcquisitionState, DeliveryState, ImageState
from fundus_relay.domain.urgency import Urgency
from fundus_relay.domain.values import (
    Acquisition,
    Delivery,
    Image,
    Json,
    Page,
    StoredPicture,
    Study,
    Submission,
    Waiting,
)

from .account import Account


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

    @property
    def account(self) -> Account:
        """The analyser's account inside this commit."""
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
        due_at: when the first goes on; None of those that wait for credits, which are let go when there are some.
    """

    subject: str
    state: str
    reason: str
    count: int
    due_at: datetime | None


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
