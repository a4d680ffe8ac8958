"""Studies that are held by order: nothing of them is purged. Who, when and why stays, also when a hold has ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from fundus_relay.pipeline.ports import Clock, Hold

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

_HOLD = """
    insert into legal_hold (study_id, at, who, why) select id, %s, %s, %s from study where id = any(%s)
        on conflict (study_id) where ended_at is null do nothing returning study_id
"""

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

_HOLDS = """
    select legal_hold.study_id::text as study, at, who, why,
           array(select media_id from image where image.study_id = legal_hold.study_id order by arrival) as media,
           array(select id::text from submission where submission.study_id = legal_hold.study_id
                  order by accepted_at, id) as tasks
      from legal_hold where ended_at is null order by at, id
"""


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

    async def hold(self, study_ids: Sequence[str], who: str, why: str) -> int:
        async with connected(self._pool) as connection:
            # whoever purges one of them has it locked: what is held after this is there, or was gone before
            await connection.execute("select from study where id = any(%s) order by id for update", [list(study_ids)])
            held = await rows_of(connection, _HOLD, [self._clock.now(), who, why, list(study_ids)])
            await _keep_what_is_there(connection, {"studies": list(study_ids)})
            return len(held)

    async def end(self, study_ids: Sequence[str], who: str) -> int:
        async with connected(self._pool) as connection:
            ended = await rows_of(
                connection,
                "update legal_hold set ended_at = %s, ended_by = %s where study_id = any(%s) and ended_at is null"
                " returning id",
                [self._clock.now(), who, list(study_ids)],
            )
            return len(ended)

    async def standing(self) -> Sequence[Hold]:
        async with connected(self._pool) as connection:
            return [Hold(**row) for row in await rows_of(connection, _HOLDS)]


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
