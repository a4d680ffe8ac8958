"""Everything that is here of a study, as lines of JSON: for an auditor, or for the patient who asks.

How this works. One snapshot of the database, read row by row through cursors: no more than some rows are in memory,
however much there is. Resources are those that only the study has, and all that these refer to, in every version.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from psycopg.rows import dict_row

from fundus_relay.fhir.pages import blob_of
from fundus_relay.fhir.search_parameters import PARAMETERS

from .ledger_purge import OWNED
from .pool import Connection, Pool, connected
from .resources import complete

AT_ONCE = 50
"""Rows in memory."""

ROWS = {
    "study": "select to_jsonb(study) as row from study where id = %(study)s",
    "submissions": "select to_jsonb(submission) as row from submission where study_id = %(study)s"
    " order by accepted_at, id",
    "images": "select to_jsonb(image) as row from image where study_id = %(study)s order by arrival",
    "acquisitions": "select to_jsonb(acquisition) as row from acquisition where study_id = %(study)s order by asked_at",
    "deliveries": "select to_jsonb(delivery) - 'resources' as row from delivery where study_id = %(study)s"
    " order by revision, destination",
    "holds": "select to_jsonb(legal_hold) as row from legal_hold where study_id = %(study)s order by id",
    "journal": "select to_jsonb(transition) as row from transition where subject_id in ("
    " select %(study)s::uuid union all select id from image where study_id = %(study)s"
    " union all select id from delivery where study_id = %(study)s"
    " union all select id from acquisition where study_id = %(study)s) order by id",
    "delivered": "select jsonb_build_object('revision', revision, 'destination', destination, 'resource', told) as row"
    " from delivery, jsonb_array_elements(resources) with ordinality as each (told, place)"
    " where study_id = %(study)s order by revision, destination, place",
}
"""Name of a part → what it has."""

REFERENCES = ", ".join(
    f"('{kind}', '{name}')"
    for kind, table in PARAMETERS.items()
    for name, parameter in table.items()
    if parameter.type == "reference"
)
"""What refers to something; an identifier may be any text, such as the name of another patient's report."""

ALONE = "Media,Task,DiagnosticReport,Observation,Provenance,Binary"
"""Types whose resources are of one study: those that it refers to and does not own are another's."""

_RESOURCES = f"""
    with recursive owned as ({OWNED}), named as (
        select kind, id from owned
        union select 'Device', told ->> 'id' from delivery, jsonb_array_elements(resources) as told
         where study_id = %(study)s and told ->> 'resourceType' = 'Device'
        union select 'ImagingStudy', imaging_study from acquisition where study_id = %(study)s
        union select 'ImagingStudy', split_part(part ->> 'reference', '/', 2)
          from owned join resource using (kind, id), jsonb_array_elements(content -> 'partOf') as part
         where kind = 'Media' and is_newest and part ->> 'reference' like 'ImagingStudy/%%'
        union select split_part(value, '/', 1), split_part(value, '/', 2)
          from named join resource_index using (kind, id)
         where (kind, parameter) in ({REFERENCES}) and split_part(value, '/', 1) <> all('{{{ALONE}}}')
    )
    select content, version, updated from named join resource using (kind, id) order by kind, id, version
"""  # noqa: S608 - of constants

_PICTURES = """
    select source_sha256 as sha256, source ->> 'media_type' as media_type from image where study_id = %(study)s
    union select prepared ->> 'sha256', prepared ->> 'media_type' from image
     where study_id = %(study)s and prepared is not null
"""


@dataclass(slots=True)
class History:
    """A snapshot, as long as `opened_history` lasts.

    Attributes:
        files: digest → media type of all pictures and pages that were come across while it was read.
    """

    connection: Connection
    files: dict[str, str] = field(default_factory=dict)

    async def rows(self, part: str, study: str) -> AsyncIterator[str]:
        """A part of a study's history, one JSON object each; see `ROWS`."""
        async for row in self._read(ROWS[part], study):
            yield json.dumps(row["row"], ensure_ascii=False)

    async def resources(self, study: str) -> AsyncIterator[str]:
        """FHIR resources, every version of each, oldest first."""
        async for row in self._read(_RESOURCES, study):
            if row["content"]["resourceType"] == "Binary" and (digest := blob_of(row["content"])) is not None:
                self.files[digest] = row["content"]["contentType"]
            yield json.dumps(complete(row["content"], row["version"], row["updated"]), ensure_ascii=False)

    async def note_pictures(self, study: str) -> None:
        """Let `files` know of the photographs."""
        async for row in self._read(_PICTURES, study):
            self.files[row["sha256"]] = row["media_type"]

    async def _read(self, query: str, study: str) -> AsyncIterator[dict[str, Any]]:  # Any: a row's columns
        async with self.connection.cursor("history", row_factory=dict_row) as cursor:
            cursor.itersize = AT_ONCE
            await cursor.execute(query.encode(), {"study": study})
            async for row in cursor:
                yield row


@asynccontextmanager
async def opened_history(pool: Pool) -> AsyncIterator[History]:
    """The database as it is now, while whatever else goes on. Raises StoreUnavailable."""
    async with connected(pool) as connection:
        await connection.execute("set transaction isolation level repeatable read, read only")
        await connection.execute("set local idle_in_transaction_session_timeout = 0")  # pictures take their time
        yield History(connection)
