"""One commit on PostgreSQL; see `ports.Transaction` for what each method promises."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import uuid4

from psycopg.types.json import Jsonb

from fundus_relay.domain.packed import Packed
from fundus_relay.domain.states import AcquisitionState, DeliveryState, ImageState
from fundus_relay.domain.urgency import Urgency
from fundus_relay.domain.values import Acquisition, Delivery, Image, Json, StoredPicture, Study, Submission
from fundus_relay.pipeline.ports import Job

from .account import PostgresAccount
from .commit import Commit
from .resources import StoredResources
from .rows import acquisition_of, column, delivery_of, image_of, study_of, submission_of
from .statements import HURRY_ACQUISITIONS, HURRY_IMAGES, insertion

_AT_ONCE = 50
"""Resources of a report: of photographs that are crowded with lesions, a megabyte or two."""


class PostgresTransaction:
    """See `ports.Transaction`."""

    def __init__(self, commit: Commit) -> None:
        self.resources = StoredResources(commit.connection)
        self.account = PostgresAccount(commit)
        self._commit = commit

    async def hold(self, names: Sequence[str]) -> None:
        if not names:
            return
        await self._commit.rows(
            "select pg_advisory_xact_lock(key) from (select distinct hashtextextended(name, 0) as key"
            " from unnest(%s::text[]) as name order by key) as keys",
            [list(names)],
        )

    async def open_study(self, key: str, subject: Json, context: Json, urgency: Urgency = Urgency.ROUTINE) -> Study:
        rows = await self._commit.rows(
            "insert into study (id, key, subject, context, state, urgency) values (%s, %s, %s, %s, 'collecting', %s)"
            " on conflict (key) do update set state = study.state returning *",  # an update that only locks
            [str(uuid4()), key, Jsonb(subject), Jsonb(context), urgency],
        )
        study = study_of(rows[0])
        return study if study.urgency >= urgency else await self._hurry(study, urgency)

    async def hurry(self, key: str, urgency: Urgency) -> None:
        rows = await self._commit.rows("select * from study where key = %s for no key update", [key])
        if rows and (study := study_of(rows[0])).urgency < urgency:
            await self._hurry(study, urgency)

    async def _hurry(self, study: Study, urgency: Urgency) -> Study:
        """Make all of a study more urgent; what waits in the queue, or for credits, is called again for it."""
        of_it = {"study": study.id, "urgency": urgency}
        await self._commit.send("update study set urgency = %(urgency)s where id = %(study)s", of_it)
        images = await self._commit.rows(HURRY_IMAGES, of_it)
        acquisitions = await self._commit.rows(HURRY_ACQUISITIONS, of_it)
        self._commit.see(*images, *acquisitions)
        waiting = (ImageState.RECEIVED, ImageState.PREPARED)
        for row in images:
            if row["due_at"] is None and (row["state"] in waiting or row["job_status"] is not None):
                await self.enqueue(Job.IMAGE, str(row["id"]))
        for row in acquisitions:
            if row["due_at"] is None and row["state"] == AcquisitionState.DUE:
                await self.enqueue(Job.ACQUISITION, str(row["id"]))
        for delivery in await self.deliveries(study.id):
            if delivery.due_at is None and delivery.state is DeliveryState.DUE:
                await self.enqueue(Job.DELIVERY, delivery.id)
        await self.enqueue(Job.STUDY, study.id)
        return replace(study, urgency=urgency)

    async def study(self, study_id: str) -> Study | None:
        row = await self._commit.locked("study", study_id)
        return study_of(row) if row else None

    async def save_study(self, study: Study) -> None:
        await self._commit.send(
            "update study set subject = %s, context = %s, state = %s, revision = %s, fingerprint = %s where id = %s",
            [Jsonb(study.subject), Jsonb(study.context), study.state, study.revision, study.fingerprint, study.id],
        )

    async def add_image(self, image: Image) -> tuple[Image, bool]:
        source = image.source
        row = _columns(image) | {"source_sha256": source.sha256, "source_frame": source.frame}
        added = await self._commit.add("image", row, "on conflict (study_id, source_sha256, source_frame) do nothing")
        if added:
            return image_of(added[0]), True
        rows = await self._commit.rows(
            "update image set source_purged_at = null, sent_again_at = %s"
            " where study_id = %s and source_sha256 = %s and source_frame = %s returning *",
            [self._commit.clock.now(), image.study_id, source.sha256, source.frame],
        )
        self._commit.see(rows[0])
        return image_of(rows[0]), False

    async def image(self, image_id: str) -> Image | None:
        row = await self._commit.locked("image", image_id)
        return image_of(row) if row else None

    async def images(self, study_id: str) -> Sequence[Image]:
        rows = await self._commit.of_study("image", study_id, "arrival")
        self._commit.see(*rows)
        return [image_of(row) for row in rows]

    async def image_of_media(self, media_id: str, sha256: str) -> Image | None:
        rows = await self._commit.rows(  # one Media is one frame
            "select image.* from image join submission using (study_id)"
            " where source_sha256 = %s and submission.image_media ->> image.id::text = %s limit 1",
            [sha256, media_id],
        )
        return image_of(rows[0]) if rows else None

    async def is_purged(self, sha256: str) -> bool:
        rows = await self._commit.rows(
            "select bool_and(source_purged_at is not null) as is_so from image where source_sha256 = %s", [sha256]
        )
        return bool(rows[0]["is_so"])

    async def condemned(self, sha256s: Sequence[str]) -> Sequence[str]:
        rows = await self._commit.rows("select sha256 from discard where sha256 = any(%s) for share", [list(sha256s)])
        return list({row["sha256"]: None for row in rows})

    async def twins(self, source: StoredPicture, subject: Json, *, but: Study) -> Sequence[Image]:
        rows = await self._commit.rows(
            "select image.* from image join study on study.id = study_id"
            " where source_sha256 = %s and source_frame = %s and subject ->> 'reference' = %s and study_id <> %s"
            " and image.state <> 'cancelled'",
            [source.sha256, source.frame, subject["reference"], but.id],
        )
        return [image_of(row) for row in rows]

    async def move_image(
        self,
        image: Image,
        to: ImageState,
        *,
        reason: str | None = None,
        **changes: Any,  # as the port says
    ) -> Image | None:
        row = await self._commit.settle("image", image, to, reason, changes)
        return image_of(row) if row else None

    async def note_ended(self, ended: Mapping[str, str]) -> Sequence[str]:
        """Record the job status that was seen; returns the ids of the images that did not know yet."""
        rows = await self._commit.rows(
            "update image set job_status = seen.status, due_at = null, reason = null"
            " from unnest(%s::uuid[], %s::text[]) as seen (id, status)"
            " where image.id = seen.id and state = 'analysing' and job_status is null"
            " returning image.id, study_id, urgency, place",
            [list(ended), list(ended.values())],
        )
        self._commit.see(*rows)
        for row in rows:
            await self._commit.journal(
                "image", str(row["id"]), ImageState.ANALYSING, ImageState.ANALYSING, "analyser-ended"
            )
        return [str(row["id"]) for row in rows]

    async def add_submission(self, submission: Submission) -> None:
        row = _columns(submission)
        await self._commit.send(insertion("submission", tuple(row)), row)

    async def submissions(self, study_id: str) -> Sequence[Submission]:
        return [submission_of(row) for row in await self._commit.of_study("submission", study_id, "accepted_at, id")]

    async def save_submission(self, submission: Submission) -> None:
        await self._commit.send(
            "update submission set image_media = %s, imaging_studies = %s where id = %s",
            [Jsonb(submission.image_media), Jsonb(submission.imaging_studies), submission.id],
        )

    async def open_acquisition(self, acquisition: Acquisition) -> tuple[Acquisition, bool]:
        added = await self._commit.add(
            "acquisition", _columns(acquisition), "on conflict (study_id, address, study_uid) do nothing"
        )
        if added:
            return acquisition_of(added[0]), True
        rows = await self._commit.rows(
            "select * from acquisition where study_id = %s and address = %s and study_uid = %s for no key update",
            [acquisition.study_id, acquisition.address, acquisition.study_uid],
        )
        self._commit.see(rows[0])
        return acquisition_of(rows[0]), False

    async def acquisition(self, acquisition_id: str) -> Acquisition | None:
        row = await self._commit.locked("acquisition", acquisition_id)
        return acquisition_of(row) if row else None

    async def acquisitions(self, study_id: str) -> Sequence[Acquisition]:
        return [acquisition_of(row) for row in await self._commit.of_study("acquisition", study_id, "asked_at, id")]

    async def acquisitions_for(self, imaging_study: str) -> Sequence[Acquisition]:
        rows = await self._commit.rows("select * from acquisition where imaging_study = %s", [imaging_study])
        return [acquisition_of(row) for row in rows]

    async def move_acquisition(
        self,
        acquisition: Acquisition,
        to: AcquisitionState,
        *,
        reason: str | None = None,
        **changes: Any,  # as the port says
    ) -> Acquisition | None:
        row = await self._commit.settle("acquisition", acquisition, to, reason, changes)
        return acquisition_of(row) if row else None

    async def add_delivery(self, delivery: Delivery, resources: Sequence[Json]) -> None:
        superseded = await self._commit.rows(
            "update delivery set state = 'superseded', since = %s, due_at = null, reason = null"
            " where study_id = %s and destination = %s and revision < %s and state = 'due' returning id",
            [self._commit.clock.now(), delivery.study_id, delivery.destination, delivery.revision],
        )
        for row in superseded:
            await self._commit.journal("delivery", str(row["id"]), DeliveryState.DUE, DeliveryState.SUPERSEDED, None)
        await self._commit.add("delivery", {**_columns(delivery), "resources": Jsonb([])})
        self._commit.see_as(delivery.id, delivery.study_id)
        for piece in _pieces(resources):
            await self._commit.rows(
                "update delivery set resources = resources || %s where id = %s returning id",
                [Jsonb(piece), delivery.id],
            )

    async def told(self, delivery_id: str) -> Packed:
        """As the port says. A cursor, so that no more than a piece is in memory, nor stays in the connection's."""
        await self._commit.send(
            "declare told no scroll cursor for select content from delivery,"
            " jsonb_array_elements(resources) with ordinality as each (content, place) where id = %s order by place",
            [delivery_id],
        )
        told = Packed()
        while rows := await self._commit.rows(f"fetch {_AT_ONCE} from told"):
            for row in rows:
                told.append(row["content"])
        await self._commit.send("close told")
        return told

    async def delivery(self, delivery_id: str) -> Delivery | None:
        row = await self._commit.locked("delivery", delivery_id)
        return delivery_of(row) if row else None

    async def deliveries(self, study_id: str) -> Sequence[Delivery]:
        return [delivery_of(row) for row in await self._commit.of_study("delivery", study_id, "revision, destination")]

    async def move_delivery(
        self,
        delivery: Delivery,
        to: DeliveryState,
        *,
        reason: str | None = None,
        **changes: Any,  # as the port says
    ) -> Delivery | None:
        row = await self._commit.settle("delivery", delivery, to, reason, changes)
        return delivery_of(row) if row else None

    async def enqueue(self, job: Job, id: str, *, at: datetime | None = None) -> None:
        await self._commit.enqueue(job, id, at=at)


def _pieces(resources: Sequence[Json]) -> Iterator[Sequence[Json]]:
    """A few at once: what is sent to the database stands in memory as text, and twice."""
    for first in range(0, len(resources), _AT_ONCE):
        yield resources[first : first + _AT_ONCE]


def _columns(value: Image | Submission | Delivery | Acquisition) -> dict[str, object]:
    return {name: column(getattr(value, name)) for name in value.__slots__}
