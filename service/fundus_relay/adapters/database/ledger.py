"""Our tables on PostgreSQL; see `ports.Ledger` for what each method promises."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from psycopg.rows import DictRow

from fundus_relay.domain.credits import Spent
from fundus_relay.domain.errors import StoreUnavailable
from fundus_relay.domain.urgency import Urgency
from fundus_relay.domain.values import Waiting
from fundus_relay.pipeline.ports import Census, Clock, Job, Parked, PutOff

from .account import ACCOUNT
from .commit import Commit, Enqueue
from .moves import tell
from .pool import Pool, connected, rows_of
from .retention import UNNEEDED_OF
from .statements import FOR_CREDITS
from .transaction import PostgresTransaction

_OVERDUE = """
    with due as (
        (select 1 as turn, 'delivery' as job, id, null as urgency, 0 as place, due_at, since from delivery
          where state in ('due', 'writing') and (due_at is null or due_at <= %(now)s))
        union all
        (select 2, 'image', id, urgency, place, due_at, since from image
          where (state in ('received', 'prepared', 'sending') or (state = 'analysing' and job_status is not null))
            and (due_at is null or due_at <= %(now)s))
        union all
        (select 3, 'acquisition', id, urgency, place, due_at, since from acquisition
          where state = 'due' and (due_at is null or due_at <= %(now)s))
        union all
        (select 0, 'study', study_id, null, 0, null, min(at) from study_look group by study_id)
    )
    select job, id from due
     where not exists (select from engine.procrastinate_jobs as queued
                        where queued.queueing_lock = due.job || ':' || due.id::text and queued.status = 'todo')
       and not exists (select from engine.procrastinate_jobs as running
                        where running.lock = due.job || ':' || due.id::text and running.status = 'doing')
     order by turn, urgency desc, place, coalesce(due_at, since)
     limit %(limit)s
"""
"""Job and id of every row that could go on and has no live job; the two probes use the engine's own unique indexes.

Source: Procrastinate 3.10 schema, procrastinate_jobs_queueing_lock_idx_v1 and procrastinate_jobs_lock_idx_v1.
"""

_DUE_FOR_POLL = """
    select due.* from unnest(array['urgent', 'routine', 'backfill']) with ordinality as asked (urgency, turn),
           lateral (select id, job_id, analysing_since, trace, urgency, due_at from image
                     where state = 'analysing' and job_status is null
                       and image.urgency = asked.urgency and due_at <= %(now)s
                     order by due_at limit %(limit)s) as due
     order by turn, due_at limit %(limit)s
"""
"""Each by the index, so that a backlog of one urgency is not sorted for another."""

_PARKED = """
    select 'image' as subject, image.id, state, reason, since, array[media_id] as media,
           array(select submission.id::text from submission
                  where submission.study_id = image.study_id and image_media ->> image.id::text is not null
                  order by accepted_at, submission.id) as tasks
      from image where state = 'parked'
    union all
    select 'delivery', delivery.id, state, reason, since,
           array(select media_id from image where image.study_id = delivery.study_id order by arrival),
           array(select submission.id::text from submission where submission.study_id = delivery.study_id
                  order by accepted_at, submission.id)
      from delivery where state = 'parked'
    union all
    select 'acquisition', acquisition.id, state, reason, since, '{}', array[submission_id::text]
      from acquisition where state = 'parked'
     order by since
"""

_WAITING = """
    with waiting as (
        select 'image' as subject, id, state, reason, since, due_at from image
         where state in ('received', 'prepared', 'sending', 'analysing', 'parked')
        union all
        select 'delivery', id, state, reason, since, due_at from delivery where state in ('due', 'writing', 'parked')
        union all
        select 'acquisition', id, state, reason, since, due_at from acquisition where state in ('due', 'parked')
    )
"""

_PUT_OFF = f"""{_WAITING}
    select subject, state, reason, count(*) as count, case when {FOR_CREDITS} then null else min(due_at) end as due_at
      from waiting
     where reason is not null and due_at > %(now)s
     group by 1, 2, 3 order by count(*) desc, 1, 2, 3
"""  # noqa: S608 - of constants

_HELD = f"""{_WAITING}
    select id from waiting
     where (%(reason)s::text is null and state = 'parked')
        or (split_part(reason, ': ', 1) = %(reason)s and (state = 'parked' or due_at > %(now)s))
     order by since, id
"""  # noqa: S608 - of constants


class PostgresLedger:
    """See `ports.Ledger`."""

    def __init__(self, pool: Pool, clock: Clock, enqueue: Enqueue) -> None:
        self._pool = pool
        self._clock = clock
        self._enqueue = enqueue

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[PostgresTransaction]:
        async with connected(self._pool) as connection:
            commit = Commit(connection, self._clock)
            async with connection.pipeline():  # a statement whose answer nobody reads waits for none
                yield PostgresTransaction(commit)
                await commit.hand_over(self._enqueue)
                ended = await connection.execute("commit")
            if ended.statusmessage != "COMMIT":
                raise StoreUnavailable("the database rolled back what it was to commit")
        tell(commit.moves)

    async def due_for_poll(self, now: datetime, limit: int) -> Sequence[Waiting]:
        rows = await self._run(
            _DUE_FOR_POLL,
            {"now": now, "limit": limit},
        )
        return [
            Waiting(str(row["id"]), row["job_id"], row["analysing_since"], row["trace"], Urgency(row["urgency"]))
            for row in rows
        ]

    async def postpone_polls(self, image_ids: Sequence[str], until: Sequence[datetime], reason: str | None) -> None:
        await self._do(
            "update image set due_at = later.until, reason = %s"
            " from unnest(%s::uuid[], %s::timestamptz[]) as later (id, until)"
            " where image.id = later.id and state = 'analysing' and job_status is null",
            [reason, list(image_ids), list(until)],
        )

    async def note_ended(self, ended: Mapping[str, str]) -> None:
        async with self.transaction() as tx:
            for image_id in await tx.note_ended(ended):
                await tx.enqueue(Job.IMAGE, image_id)

    async def overdue(self, now: datetime, limit: int) -> Sequence[tuple[Job, str]]:
        rows = await self._run(_OVERDUE, {"now": now, "limit": limit})
        return [(Job(row["job"]), str(row["id"])) for row in rows]

    async def is_any_held(self) -> bool:
        rows = await self._run(f"select exists (select from image where {FOR_CREDITS} and due_at is not null) as is_so")  # noqa: S608 - constant
        return bool(rows[0]["is_so"])

    async def unknown_pictures(self, digests: Sequence[str]) -> Sequence[str]:
        rows = await self._run(UNNEEDED_OF, [list(digests)])
        return [row["digest"] for row in rows]

    async def census(self) -> Census:
        images = await self._run("select state, count(*) as count from image group by state")
        deliveries = await self._run("select state, count(*) as count from delivery group by state")
        acquisitions = await self._run("select state, count(*) as count from acquisition group by state")
        parked = await self._run(
            "select coalesce(reason, '') as reason, count(*) as count from"
            " (select reason from image where state = 'parked'"
            "  union all select reason from delivery where state = 'parked'"
            "  union all select reason from acquisition where state = 'parked') as parked group by 1"
        )
        account = (await self._run(ACCOUNT))[0]
        spent = Spent(account["spent_in_a_day"], account["spent_in_a_week"])
        return Census(
            images={row["state"]: row["count"] for row in images},
            deliveries={row["state"]: row["count"] for row in deliveries},
            acquisitions={row["state"]: row["count"] for row in acquisitions},
            parked={row["reason"]: row["count"] for row in parked},
            credits=account["remaining"],
            credits_at=account["remaining_at"],
            possibly_double_spent=account["possibly_double_spent"],
            credits_spent=spent,
            credits_last_for=spent.lasts(account["remaining"]),
        )

    async def parked(self) -> Sequence[Parked]:
        rows = await self._run(_PARKED)
        return [Parked(**{**row, "id": str(row["id"]), "reason": row["reason"] or ""}) for row in rows]

    async def put_off(self, now: datetime) -> Sequence[PutOff]:
        return [PutOff(**row) for row in await self._run(_PUT_OFF, {"now": now})]

    async def held(self, reason: str | None, now: datetime) -> Sequence[str]:
        return [str(row["id"]) for row in await self._run(_HELD, {"reason": reason, "now": now})]

    @asynccontextmanager
    async def looking_at(self, study_id: str) -> AsyncIterator[None]:
        """A study's job is at work: what was noted for it before is done with when the context ends well.

        A note says that a study has to look at its images again. It is written with the move that asked for it, so
        reconcile finds it even when the queue was lost.
        """
        noted = await self._run("select id from study_look where study_id = %s", [study_id])
        yield
        if noted:
            await self._do("delete from study_look where id = any(%s)", [[row["id"] for row in noted]])

    async def _run(
        self,
        query: Any,  # str: psycopg wants a literal
        values: Sequence[object] | Mapping[str, object] = (),
    ) -> Sequence[DictRow]:
        async with connected(self._pool) as connection:
            return await rows_of(connection, query, values)

    async def _do(self, query: str, values: Sequence[object]) -> None:
        async with connected(self._pool) as connection:
            await connection.execute(query.encode(), values)
