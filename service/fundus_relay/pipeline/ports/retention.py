"""What may go, and what is held by order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from fundus_relay.domain.policy import Kept


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
        why, reference: as somebody typed them; never logged. A study is held once by each reference.
        media, tasks: ids of the Media that are in it, and of the Tasks that tell of it.
    """

    study: str
    at: datetime
    who: str
    why: str
    reference: str
    media: Sequence[str]
    tasks: Sequence[str]


@dataclass(frozen=True, slots=True)
class Changed:
    """How many holds were placed, or ended, and how many of the studies are held now, by whatever reference."""

    count: int
    held: int


class Holds(Protocol):
    """Studies that are held by order. Every method raises StoreUnavailable when the database cannot be reached."""

    async def studies_of(self, name: str) -> Sequence[str]:
        """Ids of the studies that something is of.

        Args:
            name: id of an image, delivery, acquisition, study, Media, Task, ImagingStudy or DiagnosticReport, also of
                the report at the EHR; or `Type/id`, then of a Patient, ServiceRequest or Encounter, too.
        """
        ...

    async def hold(self, study_ids: Sequence[str], who: str, why: str, reference: str) -> Changed:
        """Hold those that are not held by this reference yet. A study that is not there any more is not held."""
        ...

    async def end(self, study_ids: Sequence[str], who: str, reference: str) -> Changed:
        """End the holds of these by this reference. Of what nothing else holds, what is old enough may go at once."""
        ...

    async def standing(self) -> Sequence[Hold]:
        """All holds that stand, longest first."""
        ...
