"""Everything that is here of a study, as lines of JSON: for an auditor, or for the patient who asks.

How this works. One snapshot of the database, read row by row through cursors: no more than some rows are in memory,
however much there is. Resources are those that only the study has, and all that these refer to, in every version. An
order, encounter or study may be given to another patient after a photograph came for it: a version that names somebody
else is passed over, and nothing that it refers to is followed.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from psycopg.rows import dict_row

from fundus_relay.domain.values import Json
from fundus_relay.fhir.pages import blob_of
from fundus_relay.fhir.search import Indexed, parse
from fundus_relay.fhir.search_parameters import PARAMETERS

from .ledger_purge import OWNED
from .pool import Connection, Pool, connected
from .resources import StoredResources, complete

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
    "holds": "select to_jsonb(legal_hold) || jsonb_build_object('ended_at', nullif(ended_at, 'infinity')) as row"
    " from legal_hold where study_id = %(study)s order by id",
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

_SUBJECTS = f"""
    with owned as ({OWNED})
    select subject from study where id = %(study)s
    union select context -> 'subject' from study where id = %(study)s
    union select content -> 'subject' from owned join resource using (kind, id) where kind = 'Media'
"""  # noqa: S608 - of constants
"""By what names the study's patient was sent."""

_SUBJECT = "coalesce(content -> 'subject', content -> 'patient', content -> 'for')"

_IS_THEIRS = f"""({_SUBJECT} is null or coalesce({_SUBJECT} ->> 'reference',
    concat({_SUBJECT} #>> '{{identifier,system}}', '|', {_SUBJECT} #>> '{{identifier,value}}')) = any(%(patient)s))"""
"""Whether a version of a resource names nobody else than the study's patient."""

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
          from named join resource using (kind, id) join resource_index using (kind, id)
         where is_newest and {_IS_THEIRS}
           and (kind, parameter) in ({REFERENCES}) and split_part(value, '/', 1) <> all('{{{ALONE}}}')
           and (split_part(value, '/', 1) <> 'Patient' or value = any(%(patient)s))
    )
    select content, version, updated, {_IS_THEIRS} as is_theirs
      from named join resource using (kind, id) order by kind, id, version
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
        left_out: versions of resources that name another patient than their study's.
    """

    connection: Connection
    files: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    async def rows(self, part: str, study: str) -> AsyncIterator[str]:
        """A part of a study's history, one JSON object each; see `ROWS`."""
        async for row in self._read(ROWS[part], study):
            yield json.dumps(row["row"], ensure_ascii=False)

    async def resources(self, study: str) -> AsyncIterator[str]:
        """FHIR resources, every version of each that is of the study's patient, oldest first."""
        async for row in self._read(_RESOURCES, study, patient=list(await self._patient(study))):
            if not row["is_theirs"]:
                self.left_out.append(
                    f"{row['content']['resourceType']}/{row['content']['id']}/_history/{row['version']}"
                )
                continue
            if row["content"]["resourceType"] == "Binary" and (digest := blob_of(row["content"])) is not None:
                self.files[digest] = row["content"]["contentType"]
            yield json.dumps(complete(row["content"], row["version"], row["updated"]), ensure_ascii=False)

    async def note_pictures(self, study: str) -> None:
        """Let `files` know of the photographs."""
        async for row in self._read(_PICTURES, study):
            self.files[row["sha256"]] = row["media_type"]

    async def _patient(self, study: str) -> Collection[str]:
        """What the study's patient is called here: literal references, and identifiers."""
        names: set[str] = set()
        async for row in self._read(_SUBJECTS, study):
            subject: Json = row["subject"] or {}
            if (literal := subject.get("reference")) is not None:
                names.add(literal)
                kind, _, query = literal.partition("?")
                names |= await self._found(query) if kind == "Patient" and query else set()
            elif "identifier" in subject:
                names.add(_name(subject["identifier"]))
        return names

    async def _found(self, query: str) -> set[str]:
        """Whoever the EHR would take for one by this search, which is by one identifier, and that."""
        criteria = parse_qsl(query)
        names = {
            _name({"system": each.system or "", "value": each.value})
            for criterion in parse("Patient", criteria).criteria
            if isinstance(criterion, Indexed)
            for each in criterion.any_of
        }
        resources, at = StoredResources(self.connection), 0
        while True:
            page = await resources.search("Patient", criteria, count=AT_ONCE, offset=at)
            for each in page.matches:
                names |= {f"Patient/{each['id']}", *map(_name, each["identifier"])}
            if page.next_offset is None:
                return names
            at = page.next_offset

    async def _read(
        self, query: str, study: str, **values: object
    ) -> AsyncIterator[dict[str, Any]]:  # Any: a row's columns
        async with self.connection.cursor("history", row_factory=dict_row) as cursor:
            cursor.itersize = AT_ONCE
            await cursor.execute(query.encode(), {"study": study, **values})
            async for row in cursor:
                yield row


def _name(identifier: Json) -> str:
    return f"{identifier.get('system', '')}|{identifier.get('value', '')}"


@asynccontextmanager
async def opened_history(pool: Pool) -> AsyncIterator[History]:
    """The database as it is now, while whatever else goes on. Raises StoreUnavailable."""
    async with connected(pool) as connection:
        await connection.execute("set transaction isolation level repeatable read, read only")
        await connection.execute("set local idle_in_transaction_session_timeout = 0")  # pictures take their time
        yield History(connection)
