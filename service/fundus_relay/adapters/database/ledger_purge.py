"""A study that is wholly forgotten, and what is left of several when no study needs it any more.

How this works. What only a study has goes with it: its rows, Tasks, photographs' Media, journal, and all that its
reports said. Patients, orders, encounters and ImagingStudies may be of several studies; they go by themselves, once
they are old enough and nothing that is stored refers to them. Whoever accepts something that refers to one leans on its
row till the commit (`Resources.lean_on`). Devices, practitioners, organizations and endpoints stay: they tell of no
patient.

A `PUT` takes the lock of its resource's name before it looks, so whoever deletes one tries for that lock, and leaves to
the next round what somebody writes just now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from fundus_relay.domain.policy import Kept
from fundus_relay.fhir.search_parameters import PARAMETERS
from fundus_relay.pipeline.ports import Old

from .pool import Connection, rows_of
from .retained import condemn, place

_MEDIA = """
    select media_id as id from image where study_id = %(study)s
    union select value from submission, json_each_text(image_media) where study_id = %(study)s
"""

_ALONE = f"""
    select coalesce(bool_and(pg_try_advisory_xact_lock(hashtextextended('resource Media/' || id, 0))), true) as is_so
      from ({_MEDIA}) as media
"""  # noqa: S608 - of constants

_FILES = """
    select source_sha256 as sha256, 'source' as kept from image
     where study_id = %(study)s and source_purged_at is null
    union select prepared ->> 'sha256', 'prepared' from image
     where study_id = %(study)s and prepared is not null and prepared_purged_at is null
    union select content #>> '{_data,extension,0,valueString}', 'pages'
      from delivery, jsonb_path_query(resources, '$[*] ? (@.resourceType == "Binary").id') as page
      join resource on kind = 'Binary' and resource.id = page #>> '{}' and is_newest
     where study_id = %(study)s and content #> '{_data,extension,0,valueString}' is not null
"""

OWNED = f"""
    select 'Task' as kind, id::text from submission where study_id = %(study)s
    union select 'Media', id from ({_MEDIA}) as media
    union select told ->> 'resourceType', told ->> 'id' from delivery, jsonb_array_elements(resources) as told
     where study_id = %(study)s and told ->> 'resourceType' <> 'Device'
"""  # noqa: S608 - of constants
"""Type and id of the resources that only this study has."""

_RESOURCES = f"""
    with named as ({OWNED}), unfound as (
        delete from resource_index using named where (resource_index.kind, resource_index.id) = (named.kind, named.id)
    )
    delete from resource using named where (resource.kind, resource.id) = (named.kind, named.id)
"""  # noqa: S608 - of constants

_JOURNAL = """
    delete from transition where subject_id in (
        select %(study)s union all select id from image where study_id = %(study)s
        union all select id from delivery where study_id = %(study)s
        union all select id from acquisition where study_id = %(study)s
    )
"""

_UNREFERRED = """
    with gone as (
        select named.id from unnest(%(ids)s::text[]) as named (id)
         where not exists (
               select from unnest(%(kinds)s::text[], %(parameters)s::text[]) as by (kind, parameter)
                 join resource_index as referring on referring.kind = by.kind and referring.parameter = by.parameter
                  and referring.value = %(kind)s || '/' || named.id)
           and not exists (
               select from resource as media where %(kind)s = 'ImagingStudy' and media.kind = 'Media' and is_newest
                  and content -> 'partOf'
                      @> jsonb_build_array(jsonb_build_object('reference', 'ImagingStudy/' || named.id)))
    ), unfound as (
        delete from resource_index using gone where resource_index.kind = %(kind)s and resource_index.id = gone.id
    )
    delete from resource using gone where resource.kind = %(kind)s and resource.id = gone.id
"""
"""A Media's `partOf` is no search parameter, and has an index of its own."""

_ROWS = ("study_look", "submission", "delivery", "acquisition", "image", "legal_hold")


async def purge_ledger(connection: Connection, studies: Sequence[UUID]) -> int:
    """Forget studies that are locked; those that somebody writes to just now are left. Returns how many are gone."""
    return sum([await _purge(connection, study) for study in studies])


async def _purge(connection: Connection, study: UUID) -> bool:
    it: Mapping[str, object] = {"study": study}
    if not (await rows_of(connection, _ALONE, it))[0]["is_so"]:
        return False
    files = await rows_of(connection, _FILES, it)
    await condemn(connection, [(row["sha256"], Kept(row["kept"])) for row in files])
    for statement in (_RESOURCES, _JOURNAL):
        await connection.execute(statement.encode(), it)
    for table in _ROWS:
        await connection.execute(f"delete from {table} where study_id = %(study)s".encode(), it)  # noqa: S608 - of ours
    await connection.execute("delete from study where id = %(study)s", it)
    return True


async def purge_leftovers(
    connection: Connection, kind: str, before: datetime, after: Old | None, limit: int
) -> Sequence[Old]:
    """As `ports.Retention` says."""
    looked_at = await rows_of(
        connection,
        "select updated as since, id from resource where kind = %(kind)s and is_newest and updated < %(before)s"
        " and (updated, id) > (%(since)s, %(id)s) order by updated, id limit %(limit)s",
        {"kind": kind, **place(before, after, limit)},
    )
    locked = await rows_of(
        connection,
        "select id from resource where kind = %(kind)s and id = any(%(ids)s) and is_newest and updated < %(before)s"
        " and pg_try_advisory_xact_lock(hashtextextended('resource ' || kind || '/' || id, 0))"
        " for update skip locked",
        {"kind": kind, "ids": [row["id"] for row in looked_at], "before": before},
    )
    if locked:
        of_kind = [
            (of, name) for of, table in PARAMETERS.items() for name, each in table.items() if kind in each.targets
        ]
        await connection.execute(
            _UNREFERRED.encode(),
            {
                "kind": kind,
                "ids": [row["id"] for row in locked],
                "kinds": [of for of, _ in of_kind],
                "parameters": [name for _, name in of_kind],
            },
        )
    return [Old(row["since"], row["id"], "") for row in looked_at]
