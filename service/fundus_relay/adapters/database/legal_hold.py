"""Studies that are held by order: nothing of them is purged. Who, when and why stays, also when a hold has ended.

How this works. A study may be held several times, each with a reference of its own, and is held while any of them
stands. Versions before 0009 know one hold a study, that without an end; so one of several that stand has none, the
others end at infinity, and when that one is lifted another takes its place in the same commit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from fundus_relay.pipeline.ports import Changed, Clock, Hold

from .pool import Connection, Pool, connected, rows_of
from .resources import StoredResources

_STUDIES = """
    with by_uuid as (select %(uuid)s::uuid as id), media as (
        select id, content #>> '{content,url}' as url from resource
         where kind = 'Media' and is_newest
           and (id = any(array(select %(id)s union select id from resource_index
                                where kind = 'Media' and parameter in ('subject', 'based-on', 'encounter')
                                  and value = %(literal)s))
                or content -> 'partOf' @> jsonb_build_array(jsonb_build_object('reference', %(imaging_study)s::text)))
    )
    select study.id from study join by_uuid using (id)
    union select study_id from image join by_uuid using (id)
    union select study_id from delivery join by_uuid using (id)
    union select study_id from submission join by_uuid using (id)
    union select study_id from acquisition join by_uuid using (id)
    union select study_id from delivery where report_id = %(id)s
    union select study_id from delivery where remote_id = %(id)s
    union select study_id from acquisition where imaging_study = %(id)s
    union select study_id from media join image on source_sha256 = replace(media.url, 'Binary/', '')
         where image.media_id = media.id
            or exists (select from submission where submission.study_id = image.study_id
                          and image_media ->> image.id::text = media.id)
"""

STANDS = "coalesce(ended_at, 'infinity') = 'infinity'"

_HOLD = f"""
    insert into legal_hold (study_id, at, who, why, reference, ended_at)
    select id, %(at)s, %(who)s, %(why)s, %(reference)s,
           case when exists (select from legal_hold where study_id = study.id and ended_at is null)
                then 'infinity'::timestamptz end
      from study
     where id = any(%(studies)s)
       and not exists (select from legal_hold where study_id = study.id and reference = %(reference)s and {STANDS})
    returning id
"""  # noqa: S608 - of a constant

_END = f"""
    update legal_hold set ended_at = %(at)s, ended_by = %(who)s
     where study_id = any(%(studies)s) and reference = %(reference)s and {STANDS}
    returning id
"""  # noqa: S608 - of a constant

_NEXT = f"""
    update legal_hold set ended_at = null where id in (
        select min(id) from legal_hold where study_id = any(%(studies)s) and {STANDS}
         group by study_id having bool_and(ended_at is not null))
"""  # noqa: S608 - of a constant

_HELD = f"select count(distinct study_id) as count from legal_hold where study_id = any(%(studies)s) and {STANDS}"  # noqa: S608 - of a constant

_GOING = """
    select discard.sha256 from discard
     where done_at is null and sha256 = any(array(
           select source_sha256 from image where study_id = any(%(studies)s) and source_purged_at is not null
           union select prepared ->> 'sha256' from image
            where study_id = any(%(studies)s) and prepared_purged_at is not null))
     order by id for share
"""
"""Pictures of these studies that are marked as purged and are not discarded yet; waits for a discard under way."""

_STAYS = """
    update image
       set source_purged_at = case when source_sha256 = any(%(going)s) then null else source_purged_at end,
           prepared_purged_at = case when prepared ->> 'sha256' = any(%(going)s) then null else prepared_purged_at end
     where study_id = any(%(studies)s)
"""

_PAGES_GOING = """
    select before.content from delivery
      join lateral jsonb_path_query(resources, '$[*] ? (@.resourceType == "Binary").id') as page on true
      join resource as now on now.kind = 'Binary' and now.id = page #>> '{}' and now.is_newest
      join resource as before on before.kind = 'Binary' and before.id = now.id and before.version = now.version - 1
      join discard on sha256 = before.content #>> '{_data,extension,0,valueString}' and done_at is null
     where study_id = any(%(studies)s) and pages_purged_at is not null and now.content ? '_data'
       for share of discard
"""
"""The same of pages: as they were before they said that they are purged."""

_HOLDS = f"""
    select legal_hold.study_id::text as study, at, who, why, reference,
           array(select media_id from image where image.study_id = legal_hold.study_id order by arrival) as media,
           array(select id::text from submission where submission.study_id = legal_hold.study_id
                  order by accepted_at, id) as tasks
      from legal_hold where {STANDS} order by at, id
"""  # noqa: S608 - of a constant


class PostgresHolds:
    """See `ports.Holds`."""

    def __init__(self, pool: Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock

    async def studies_of(self, name: str) -> Sequence[str]:
        kind, _, id = name.rpartition("/")
        given = {
            "uuid": _uuid_of(id),
            "id": id,
            "literal": name if kind else None,
            "imaging_study": f"ImagingStudy/{id}" if kind in {"", "ImagingStudy"} else None,
        }
        async with connected(self._pool) as connection:
            return sorted(str(row["id"]) for row in await rows_of(connection, _STUDIES, given))

    async def hold(self, study_ids: Sequence[str], who: str, why: str, reference: str) -> Changed:
        given = {"studies": list(study_ids), "at": self._clock.now(), "who": who, "why": why, "reference": reference}
        async with connected(self._pool) as connection:
            # whoever purges one of them has it locked: what is held after this is there, or was gone before
            await _lock(connection, given)
            held = await rows_of(connection, _HOLD, given)
            await _keep_what_is_there(connection, given)
            return Changed(len(held), await _held(connection, given))

    async def end(self, study_ids: Sequence[str], who: str, reference: str) -> Changed:
        given = {"studies": list(study_ids), "at": self._clock.now(), "who": who, "reference": reference}
        async with connected(self._pool) as connection:
            await _lock(connection, given)
            ended = await rows_of(connection, _END, given)
            await connection.execute(_NEXT.encode(), given)
            return Changed(len(ended), await _held(connection, given))

    async def standing(self) -> Sequence[Hold]:
        async with connected(self._pool) as connection:
            return [Hold(**row) for row in await rows_of(connection, _HOLDS)]


async def _lock(connection: Connection, of: Mapping[str, object]) -> None:
    await connection.execute("select from study where id = any(%(studies)s) order by id for update", of)


async def _held(connection: Connection, of: Mapping[str, object]) -> int:
    return int((await rows_of(connection, _HELD, of))[0]["count"])


async def _keep_what_is_there(connection: Connection, of: Mapping[str, object]) -> None:
    """Take the mark from what was purged and is not discarded yet."""
    if going := await rows_of(connection, _GOING, of):
        await connection.execute(_STAYS.encode(), {**of, "going": [row["sha256"] for row in going]})
    if pages := {row["content"]["id"]: row["content"] for row in await rows_of(connection, _PAGES_GOING, of)}:
        resources = StoredResources(connection)
        for page in pages.values():
            await resources.put(page)
        await connection.execute("update delivery set pages_purged_at = null where study_id = any(%(studies)s)", of)


def _uuid_of(id: str) -> UUID | None:
    try:
        return UUID(id)
    except ValueError:
        return None
