"""One commit on PostgreSQL; see `ports.Transaction` for what each method promises.

How this works. Every settle says `where id, state and attempt` are still those that were read, so of two that settle
the same thing one changes nothing. Jobs are gathered and handed to the engine in the last moment before the commit,
each once and in one order: transactions that want the same jobs wait for each other rather than lock each other out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID, uuid4

from psycopg.rows import DictRow, dict_row
from psycopg.sql import SQL, Identifier
from psycopg.types.json import Jsonb

from fundus_relay import tracing
from fundus_relay.domain.credits import Credits
from fundus_relay.domain.packed import Packed
from fundus_relay.domain.states import (
    ACQUISITION_MOVES,
    DELIVERY_MOVES,
    IMAGE_MOVES,
    AcquisitionState,
    DeliveryState,
    ImageState,
)
from fundus_relay.domain.urgency import Urgency, priority
from fundus_relay.domain.values import Acquisition, CreditMark, Delivery, Image, Json, StoredPicture, Study, Submission
from fundus_relay.pipeline.ports import Clock, Job

from .account import FOR_CREDITS, KNOWN, SPEND
from .moves import Move
from .pool import Connection
from .resources import StoredResources
from .rows import acquisition_of, column, delivery_of, image_of, study_of, submission_of
from .statements import (
    HURRY_ACQUISITIONS,
    HURRY_IMAGES,
    PLACES,
    RANKS,
    insertion,
    journalled_insertion,
    settlement,
    shown,
)


class Enqueue(Protocol):
    """Hands jobs to the engine on our connection: they exist when, and only when, our transaction commits."""

    async def __call__(
        self, connection: Connection, jobs: Mapping[tuple[Job, str], int], *, is_first: bool = False
    ) -> None:
        """Queue jobs by priority; with `is_first`, their rows are new, so nobody can have asked for them before."""


_AT_ONCE = 50
"""Resources of a report: of photographs that are crowded with lesions, a megabyte or two."""

_MARK = """
    select coalesce(shared.mark, jsonb_build_object('remaining', remaining, 'confirmed', confirmed)) as mark
      from account left join
           (select coalesce(credit_mark, '{"remaining": null, "confirmed": 0}') as mark
              from image where state = 'sending'
             order by credit_mark->>'remaining' is null, (credit_mark->>'confirmed')::bigint desc limit 1
           ) as shared on true
     where name = 'analyser'
"""
"""One statement, so that an upload which ends meanwhile is either under way or counted as confirmed, never neither."""


class PostgresTransaction:
    """See `ports.Transaction`."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self.resources = StoredResources(connection)
        self._connection = connection
        self._clock = clock
        self.moves: list[Move] = []
        self._jobs: set[tuple[Job, str]] = set()
        self._added: set[str] = set()  # ids of rows that exist since this transaction
        self._priorities: dict[str, int] = {}  # of jobs, by the id of a row that was seen here

    async def hold(self, names: Sequence[str]) -> None:
        if not names:
            return
        await self._run(
            "select pg_advisory_xact_lock(key) from (select distinct hashtextextended(name, 0) as key"
            " from unnest(%s::text[]) as name order by key) as keys",
            [list(names)],
        )

    async def open_study(self, key: str, subject: Json, context: Json, urgency: Urgency = Urgency.ROUTINE) -> Study:
        rows = await self._run(
            "insert into study (id, key, subject, context, state, urgency) values (%s, %s, %s, %s, 'collecting', %s)"
            " on conflict (key) do update set state = study.state returning *",  # an update that only locks
            [str(uuid4()), key, Jsonb(subject), Jsonb(context), urgency],
        )
        study = study_of(rows[0])
        return study if study.urgency >= urgency else await self._hurry(study, urgency)

    async def hurry(self, key: str, urgency: Urgency) -> None:
        rows = await self._run("select * from study where key = %s for no key update", [key])
        if rows and (study := study_of(rows[0])).urgency < urgency:
            await self._hurry(study, urgency)

    async def _hurry(self, study: Study, urgency: Urgency) -> Study:
        """Make all of a study more urgent; what waits in the queue, or for credits, is called again for it."""
        of_it = {"study": study.id, "urgency": urgency}
        await self._do("update study set urgency = %(urgency)s where id = %(study)s", of_it)
        images = await self._run(HURRY_IMAGES, of_it)
        acquisitions = await self._run(HURRY_ACQUISITIONS, of_it)
        self._see(*images, *acquisitions)
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
        row = await self._locked("study", study_id)
        return study_of(row) if row else None

    async def save_study(self, study: Study) -> None:
        await self._do(
            "update study set subject = %s, context = %s, state = %s, revision = %s, fingerprint = %s where id = %s",
            [Jsonb(study.subject), Jsonb(study.context), study.state, study.revision, study.fingerprint, study.id],
        )

    async def add_image(self, image: Image) -> tuple[Image, bool]:
        source = image.source
        row = _columns(image) | {"source_sha256": source.sha256, "source_frame": source.frame}
        added = await self._add("image", row, "on conflict (study_id, source_sha256, source_frame) do nothing")
        if added:
            return image_of(added[0]), True
        rows = await self._run(
            "update image set source_purged_at = null, sent_again_at = %s"
            " where study_id = %s and source_sha256 = %s and source_frame = %s returning *",
            [self._clock.now(), image.study_id, source.sha256, source.frame],
        )
        self._see(rows[0])
        return image_of(rows[0]), False

    async def image(self, image_id: str) -> Image | None:
        row = await self._locked("image", image_id)
        return image_of(row) if row else None

    async def images(self, study_id: str) -> Sequence[Image]:
        rows = await self._of_study("image", study_id, "arrival")
        self._see(*rows)
        return [image_of(row) for row in rows]

    async def image_of_media(self, media_id: str, sha256: str) -> Image | None:
        rows = await self._run(  # one Media is one frame
            "select image.* from image join submission using (study_id)"
            " where source_sha256 = %s and submission.image_media ->> image.id::text = %s limit 1",
            [sha256, media_id],
        )
        return image_of(rows[0]) if rows else None

    async def is_purged(self, sha256: str) -> bool:
        rows = await self._run(
            "select bool_and(source_purged_at is not null) as is_so from image where source_sha256 = %s", [sha256]
        )
        return bool(rows[0]["is_so"])

    async def condemned(self, sha256s: Sequence[str]) -> Sequence[str]:
        rows = await self._run("select sha256 from discard where sha256 = any(%s) for share", [list(sha256s)])
        return list({row["sha256"]: None for row in rows})

    async def twins(self, source: StoredPicture, subject: Json, *, but: Study) -> Sequence[Image]:
        rows = await self._run(
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
        _check(image.state, to, IMAGE_MOVES)
        row = await self._move("image", image, to, reason, changes)
        return image_of(row) if row else None

    async def note_ended(self, ended: Mapping[str, str]) -> Sequence[str]:
        """Record the job status that was seen; returns the ids of the images that did not know yet."""
        rows = await self._run(
            "update image set job_status = seen.status, due_at = null, reason = null"
            " from unnest(%s::uuid[], %s::text[]) as seen (id, status)"
            " where image.id = seen.id and state = 'analysing' and job_status is null"
            " returning image.id, study_id, urgency, place",
            [list(ended), list(ended.values())],
        )
        self._see(*rows)
        for row in rows:
            await self._journal("image", str(row["id"]), ImageState.ANALYSING, ImageState.ANALYSING, "analyser-ended")
        return [str(row["id"]) for row in rows]

    async def add_submission(self, submission: Submission) -> None:
        row = _columns(submission)
        await self._do(insertion("submission", tuple(row)), row)

    async def submissions(self, study_id: str) -> Sequence[Submission]:
        return [submission_of(row) for row in await self._of_study("submission", study_id, "accepted_at, id")]

    async def save_submission(self, submission: Submission) -> None:
        await self._do(
            "update submission set image_media = %s, imaging_studies = %s where id = %s",
            [Jsonb(submission.image_media), Jsonb(submission.imaging_studies), submission.id],
        )

    async def open_acquisition(self, acquisition: Acquisition) -> tuple[Acquisition, bool]:
        added = await self._add(
            "acquisition", _columns(acquisition), "on conflict (study_id, address, study_uid) do nothing"
        )
        if added:
            return acquisition_of(added[0]), True
        rows = await self._run(
            "select * from acquisition where study_id = %s and address = %s and study_uid = %s for no key update",
            [acquisition.study_id, acquisition.address, acquisition.study_uid],
        )
        self._see(rows[0])
        return acquisition_of(rows[0]), False

    async def acquisition(self, acquisition_id: str) -> Acquisition | None:
        row = await self._locked("acquisition", acquisition_id)
        return acquisition_of(row) if row else None

    async def acquisitions(self, study_id: str) -> Sequence[Acquisition]:
        return [acquisition_of(row) for row in await self._of_study("acquisition", study_id, "asked_at, id")]

    async def acquisitions_for(self, imaging_study: str) -> Sequence[Acquisition]:
        rows = await self._run("select * from acquisition where imaging_study = %s", [imaging_study])
        return [acquisition_of(row) for row in rows]

    async def move_acquisition(
        self,
        acquisition: Acquisition,
        to: AcquisitionState,
        *,
        reason: str | None = None,
        **changes: Any,  # as the port says
    ) -> Acquisition | None:
        _check(acquisition.state, to, ACQUISITION_MOVES)
        row = await self._move("acquisition", acquisition, to, reason, changes)
        return acquisition_of(row) if row else None

    async def add_delivery(self, delivery: Delivery, resources: Sequence[Json]) -> None:
        superseded = await self._run(
            "update delivery set state = 'superseded', since = %s, due_at = null, reason = null"
            " where study_id = %s and destination = %s and revision < %s and state = 'due' returning id",
            [self._clock.now(), delivery.study_id, delivery.destination, delivery.revision],
        )
        for row in superseded:
            await self._journal("delivery", str(row["id"]), DeliveryState.DUE, DeliveryState.SUPERSEDED, None)
        await self._add("delivery", {**_columns(delivery), "resources": Jsonb([])})
        if (as_urgent := self._priorities.get(delivery.study_id)) is not None:
            self._priorities[delivery.id] = as_urgent
        for piece in _pieces(resources):
            await self._run(
                "update delivery set resources = resources || %s where id = %s returning id",
                [Jsonb(piece), delivery.id],
            )

    async def told(self, delivery_id: str) -> Packed:
        """As the port says. A cursor, so that no more than a piece is in memory, nor stays in the connection's."""
        await self._do(
            "declare told no scroll cursor for select content from delivery,"
            " jsonb_array_elements(resources) with ordinality as each (content, place) where id = %s order by place",
            [delivery_id],
        )
        told = Packed()
        while rows := await self._run(f"fetch {_AT_ONCE} from told"):
            for row in rows:
                told.append(row["content"])
        await self._do("close told")
        return told

    async def delivery(self, delivery_id: str) -> Delivery | None:
        row = await self._locked("delivery", delivery_id)
        return delivery_of(row) if row else None

    async def deliveries(self, study_id: str) -> Sequence[Delivery]:
        return [delivery_of(row) for row in await self._of_study("delivery", study_id, "revision, destination")]

    async def move_delivery(
        self,
        delivery: Delivery,
        to: DeliveryState,
        *,
        reason: str | None = None,
        **changes: Any,  # as the port says
    ) -> Delivery | None:
        _check(delivery.state, to, DELIVERY_MOVES)
        row = await self._move("delivery", delivery, to, reason, changes)
        return delivery_of(row) if row else None

    async def mark_credits(self) -> CreditMark:
        rows = await self._run(_MARK)
        return CreditMark(**rows[0]["mark"])

    async def uploads_confirmed(self) -> int:
        rows = await self._run("select confirmed from account where name = 'analyser'")
        return int(rows[0]["confirmed"])

    async def confirm_upload(self, remaining: int | None) -> None:
        await self._do(
            "update account set confirmed = confirmed + 1, remaining = least(remaining, %(told)s::int),"
            " remaining_at = case when remaining < %(told)s::int or %(told)s::int is null then remaining_at"
            " else %(now)s end"
            " where name = 'analyser'",
            {"told": remaining, "now": self._clock.now()},
        )
        await self._do(SPEND, {"now": self._clock.now()})

    async def uploads_under_way(self) -> int:
        rows = await self._run("select count(*) as sending from image where state = 'sending' and due_at is null")
        return int(rows[0]["sending"])

    async def credits(self) -> Credits:
        rows = await self._run(
            f"select {KNOWN} as remaining, (select count(*) from image where state = 'sending') as under_way"  # noqa: S608 - of a constant
            " from account where name = 'analyser'"
        )
        return Credits(**rows[0])

    async def note_exhausted(self) -> None:
        await self._do("update account set exhausted_at = %s where name = 'analyser'", [self._clock.now()])

    async def forget_credits(self, *, told_before: datetime) -> None:
        await self._do(
            "update account set remaining = null, remaining_at = null, exhausted_at = null"
            " where name = 'analyser' and greatest(remaining_at, exhausted_at) < %s",
            [told_before],
        )

    async def images_let_go(self) -> int:
        rows = await self._run(f"select count(*) as number from image where {FOR_CREDITS} and due_at is null")  # noqa: S608 - constant
        return int(rows[0]["number"])

    async def let_go(self, urgency: Urgency, most: int) -> int:
        rows = await self._run(
            "update image set due_at = null where id in (select id from image"  # noqa: S608 - of a constant
            f" where {FOR_CREDITS} and due_at is not null and urgency = %s order by place limit %s"
            " for no key update skip locked) returning *",
            [urgency, most],
        )
        self._see(*rows)
        for row in rows:
            await self.enqueue(Job.IMAGE, str(row["id"]))
        return len(rows)

    async def count_double_spend(self) -> None:
        await self._do("update account set possibly_double_spent = possibly_double_spent + 1 where name = 'analyser'")

    async def enqueue(self, job: Job, id: str, *, at: datetime | None = None) -> None:
        """As the port says. What is to run later is a row that waits, and reconcile brings it when it is due."""
        if at is None or at <= self._clock.now():
            self._jobs.add((job, id))

    async def hand_over(self, enqueue: Enqueue) -> None:
        """The last thing before the commit: the jobs go to the engine, and what a study has to look at is noted."""
        if not self._jobs:
            return
        jobs = sorted(self._jobs)
        if studies := [id for job, id in jobs if job is Job.STUDY]:
            await self._do("insert into study_look (study_id) select * from unnest(%s::uuid[])", [studies])
        if unseen := [id for _, id in jobs if id not in self._priorities and _is_uuid(id)]:
            self._see(*await self._run(RANKS, {"ids": unseen}))
        if first := {each: self._priorities.get(each[1], 0) for each in jobs if each[1] in self._added}:
            await enqueue(self._connection, first, is_first=True)
        if others := {each: self._priorities.get(each[1], 0) for each in jobs if each[1] not in self._added}:
            await enqueue(self._connection, others)

    def _see(self, *rows: DictRow) -> None:
        """Remember how urgent rows are: their jobs, and those of their studies, are queued by that."""
        for row in rows:
            as_urgent = priority(Urgency(row["urgency"]), row["place"])
            for id in filter(None, (row["id"], row.get("study_id"))):
                self._priorities[str(id)] = max(as_urgent, self._priorities.get(str(id), as_urgent))

    async def _move(
        self,
        table: str,
        before: Image | Delivery | Acquisition,
        to: str,
        reason: str | None,
        changes: Mapping[str, Any],
    ) -> DictRow | None:
        """Settle, if state and attempt are still those of `before`."""
        values = {name: column(value) for name, value in changes.items()}
        values |= {"state": to, "reason": reason}
        if "prepared" in changes:
            values["prepared_purged_at"] = None
        if to != before.state:
            values["since"] = self._clock.now()
        rows = await self._run(
            settlement(table, tuple(values)),
            {
                **{f"to_{name}": value for name, value in values.items()},
                "id": before.id,
                "state": before.state,
                "attempt": before.attempt,
            },
        )
        if not rows:
            return None
        is_put_off = changes.get("due_at") is not None
        tracing.settled(before.id, to, reason, is_put_off=is_put_off)
        if table in PLACES:
            self._see(rows[0])
        if to != before.state or reason != before.reason:
            await self._journal(table, before.id, before.state, to, reason)
            self.moves.append(Move(table, before, to, reason, is_put_off))
        return rows[0]

    async def _journal(self, subject: str, id: str, before: str | None, to: str, reason: str | None) -> None:
        await self._do(
            "insert into transition (at, subject, subject_id, from_state, to_state, reason)"
            " values (%s, %s, %s, %s, %s, %s)",
            [self._clock.now(), subject, id, before, to, reason],
        )

    async def _locked(self, table: str, id: str) -> DictRow | None:
        if not _is_uuid(id):
            return None
        query = SQL("select {} from {} where id = %s for no key update").format(shown(table), Identifier(table))
        rows = await self._run(query, [id])
        if table in PLACES:
            self._see(*rows)
        return rows[0] if rows else None

    async def _of_study(self, table: str, study_id: str, order: str) -> Sequence[DictRow]:
        if not _is_uuid(study_id):
            return []
        columns = SQL(", ").join(map(Identifier, order.split(", ")))
        query = SQL("select {} from {} where study_id = %s order by {}").format(
            shown(table), Identifier(table), columns
        )
        return await self._run(query, [study_id])

    async def _add(self, table: str, row: Mapping[str, object], conflict: str = "") -> Sequence[DictRow]:
        """Insert a row that has states, and journal its first one. Returns it, or nothing upon the conflict."""
        added = await self._run(
            journalled_insertion(table, tuple(row), conflict), {**row, "subject": table, "at": self._clock.now()}
        )
        self._added |= {str(each["id"]) for each in added}
        if table in PLACES:
            self._see(*added)
        return added

    async def _run(
        self,
        query: Any,  # str or SQL: psycopg's own union is not exported
        values: Sequence[object] | Mapping[str, object] = (),
    ) -> Sequence[DictRow]:
        """Rows of a statement that gives some."""
        async with self._connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(query, values)
            return await cursor.fetchall()

    async def _do(self, query: str, values: Sequence[object] | Mapping[str, object] = ()) -> None:
        """Send a statement whose answer nobody needs; an error of it comes up with the next answer that is read."""
        await self._connection.execute(query.encode(), values)


def _pieces(resources: Sequence[Json]) -> Iterator[Sequence[Json]]:
    """A few at once: what is sent to the database stands in memory as text, and twice."""
    for first in range(0, len(resources), _AT_ONCE):
        yield resources[first : first + _AT_ONCE]


def _columns(value: Image | Submission | Delivery | Acquisition) -> dict[str, object]:
    return {name: column(getattr(value, name)) for name in value.__slots__}


def _check(before: str, to: str, moves: Mapping[Any, frozenset[Any]]) -> None:  # Any: images' or deliveries' states
    if to != before and to not in moves[before]:
        raise ValueError(f"there is no move from {before} to {to}")


def _is_uuid(id: str) -> bool:
    try:
        UUID(id)
    except ValueError:
        return False
    return True
