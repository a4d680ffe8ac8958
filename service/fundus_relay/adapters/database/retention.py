"""What may go of what is kept; see `ports.Retention` for what each method promises.

How this works. Each class has an index of what ended and is not purged yet, by age: a look reads a few rows of it from
where the last one stopped, however much history there is. Purging locks the studies (whoever holds one is passed over),
looks at each once more, marks what goes and writes its files down in `discard`, in one commit. Only then are files
discarded: a file that is not needed by anything else, in a transaction that whoever brings the same bytes waits for.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from uuid import UUID

from fundus_relay import metrics
from fundus_relay.domain.policy import Kept
from fundus_relay.fhir.pages import blob_of, purged
from fundus_relay.pipeline.ports import Clock, Condemned, Old

from .ledger_purge import purge_ledger, purge_leftovers
from .legal_hold import STANDS
from .pool import Connection, Pool, connected, rows_of
from .resources import StoredResources
from .retained import condemn, place

REMEMBERED_FOR = timedelta(days=1)
"""That a file was discarded: whoever kept the same bytes before is done with its request by then."""

_ENDED = "('answered', 'rejected', 'cancelled')"
"""States of an image; as the indexes have them."""

UNNEEDED_OF = f"""
    select distinct digest from unnest(%s::text[]) as digest where
        not exists (select from image where source_sha256 = digest
                       and (source_purged_at is null or state not in {_ENDED}))
    and not exists (select from image where prepared ->> 'sha256' = digest
                       and (prepared_purged_at is null or state not in {_ENDED}))
    and not exists (select from resource where kind = 'Binary' and is_newest
                       and content #>> '{{_data,extension,0,valueString}}' = digest)
"""  # noqa: S608 - of a constant
"""Digests of these that nothing has which is not purged.

An image that goes on needs its own whatever its marks say: code before 0008 takes them from nothing that is sent anew.
"""

_TAKEN = "select id, sha256, kept from discard where done_at is null order by id limit %s for update skip locked"

_MAY_GO = f"""
    select id from study
     where id = any(%(studies)s) and opened_at < %(before)s
       and not exists (select from legal_hold where study_id = study.id and {STANDS})
       and not exists (select from study_look where study_id = study.id)
       and not exists (select from submission where study_id = study.id and accepted_at >= %(before)s)
       and not exists (select from image where study_id = study.id
            and (state not in {_ENDED}
                 or greatest(since, answered_at, sent_again_at) >= %(before)s))
       and not exists (select from delivery where study_id = study.id
            and (state not in ('confirmed', 'superseded') or since >= %(before)s))
       and not exists (select from acquisition where study_id = study.id
            and (state not in ('complete', 'rejected', 'cancelled')
                 or greatest(since, asked_at, looked_at) >= %(before)s))
       and not exists (select from submission join resource on kind = 'Task' and resource.id = submission.id::text
            where study_id = study.id and updated >= %(before)s)
       and not exists (
            select from (select 'study:' || study.id::text as lock
                         union all select 'image:' || id::text from image where study_id = study.id
                         union all select 'delivery:' || id::text from delivery where study_id = study.id
                         union all select 'acquisition:' || id::text from acquisition where study_id = study.id) as job
             where exists (select from engine.procrastinate_jobs as queued
                            where queued.queueing_lock = job.lock and queued.status = 'todo')
                or exists (select from engine.procrastinate_jobs as running
                            where running.lock = job.lock and running.status = 'doing'))
"""  # noqa: S608 - of a constant
"""Of locked studies those that have ended, are as old as that, and are not held."""

_OLD: Mapping[Kept, str] = {
    Kept.SOURCE: f"""
        select since, id, study_id from image
         where state in {_ENDED} and source_purged_at is null
    """,  # noqa: S608 - of a constant
    Kept.PREPARED: f"""
        select since, id, study_id from image
         where state in {_ENDED} and prepared is not null and prepared_purged_at is null
    """,  # noqa: S608 - of a constant
    Kept.PAGES: """
        select since, id, study_id from delivery where state in ('confirmed', 'superseded') and pages_purged_at is null
    """,
    Kept.LEDGER: "select opened_at as since, id, id as study_id from study where true",
}

_PICTURES: Mapping[Kept, str] = {
    Kept.SOURCE: """
        update image set source_purged_at = %(now)s where study_id = any(%(studies)s) and source_purged_at is null
        returning study_id, source_sha256 as sha256
    """,
    Kept.PREPARED: """
        update image set prepared_purged_at = %(now)s
         where study_id = any(%(studies)s) and prepared is not null and prepared_purged_at is null
        returning study_id, prepared ->> 'sha256' as sha256
    """,
}

_PAGES = """
    with gone as (
        update delivery set pages_purged_at = %(now)s where study_id = any(%(studies)s) and pages_purged_at is null
        returning id, study_id
    )
    select distinct study_id, page #>> '{}' as id
      from gone left join delivery using (id, study_id)
      left join lateral jsonb_path_query(resources, '$[*] ? (@.resourceType == "Binary").id') as page on true
"""


log = logging.getLogger(__name__)


class PostgresRetention:
    """See `ports.Retention`."""

    def __init__(self, pool: Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock

    async def old(self, kept: Kept, before: datetime, after: Old | None, limit: int) -> Sequence[Old]:
        async with connected(self._pool) as connection:
            rows = await rows_of(connection, old_of(kept), place(before, after, limit))
        return [Old(row["since"], str(row["id"]), str(row["study_id"])) for row in rows]

    async def purge(self, kept: Kept, study_ids: Sequence[str], before: datetime) -> int:
        count = await self._purge(kept, study_ids, before)
        metrics.purged_studies.labels(kept).inc(count)
        return count

    async def _purge(self, kept: Kept, study_ids: Sequence[str], before: datetime) -> int:
        now = self._clock.now()
        async with connected(self._pool) as connection:
            locked = await rows_of(
                connection, "select id from study where id = any(%s) for update skip locked", [list(study_ids)]
            )
            found = await rows_of(connection, _MAY_GO, {"studies": [row["id"] for row in locked], "before": before})
            studies = [row["id"] for row in found]
            if not studies:
                return 0
            if kept is Kept.LEDGER:
                return await purge_ledger(connection, studies)
            if kept is Kept.PAGES:
                return await _purge_pages(connection, studies, now)
            gone = await rows_of(connection, _PICTURES[kept], {"studies": studies, "now": now})
            await condemn(connection, [(row["sha256"], kept) for row in gone])
            return len({row["study_id"] for row in gone})

    async def purge_leftovers(self, kind: str, before: datetime, after: Old | None, limit: int) -> Sequence[Old]:
        async with connected(self._pool) as connection:
            return await purge_leftovers(connection, kind, before, after, limit)

    async def condemn(self, sha256s: Sequence[str]) -> None:
        async with connected(self._pool) as connection:
            await condemn(connection, [(digest, Kept.UNKNOWN) for digest in sha256s])

    @asynccontextmanager
    async def condemned(self, limit: int) -> AsyncIterator[Condemned]:
        now = self._clock.now()
        async with connected(self._pool) as connection:
            await connection.execute("delete from discard where done_at < %s", [now - REMEMBERED_FOR])
            taken = await rows_of(connection, _TAKEN, [limit])
            kept = {row["sha256"]: Kept(row["kept"]) for row in taken}
            unneeded = await rows_of(connection, UNNEEDED_OF, [list(kept)])
            condemned = Condemned({row["digest"]: kept[row["digest"]] for row in unneeded}, is_more=bool(taken))
            yield condemned
            await connection.execute(
                "update discard set done_at = %s where id = any(%s)", [now, [row["id"] for row in taken]]
            )
        _tell(condemned)


def _tell(condemned: Condemned) -> None:
    """Count and log what went."""
    for kept in dict.fromkeys(condemned.files.values()):
        freed = [number for digest, number in condemned.freed.items() if number and condemned.files[digest] is kept]
        metrics.discarded_files.labels(kept).inc(len(freed))
        metrics.discarded_bytes.labels(kept).inc(sum(freed))
        if freed:
            log.info("files-discarded", extra={"kept": kept, "count": len(freed), "bytes": sum(freed)})


def old_of(kept: Kept) -> str:
    """What of a class has ended and is not purged, oldest first, from a place on."""
    age = "opened_at" if kept is Kept.LEDGER else "since"
    return (
        f"{_OLD[kept]} and {age} < %(before)s and ({age}, id) > (%(since)s, %(id)s::uuid)"
        f" order by {age}, id limit %(limit)s"
    )


async def _purge_pages(connection: Connection, studies: Sequence[UUID], now: datetime) -> int:
    """Each Binary says that it is purged, from its next version on; returns of how many studies."""
    pages = await rows_of(connection, _PAGES, {"studies": list(studies), "now": now})
    resources, digests = StoredResources(connection), []
    for id in {row["id"] for row in pages if row["id"] is not None}:
        page = await resources.read("Binary", id)
        if page is not None and (digest := blob_of(page)) is not None:
            await resources.put(purged(page))
            digests.append((digest, Kept.PAGES))
    await condemn(connection, digests)
    return len({row["study_id"] for row in pages})
