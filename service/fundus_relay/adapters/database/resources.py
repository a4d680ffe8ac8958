"""FHIR resources in PostgreSQL: every version as JSONB, and what the newest one is found by.

How this works: each version written gets the next `position`. A page is ordered by position and the next one begins
after the position where it ended, so resources that arrive or change in between push nothing off a page: what did not
change is seen exactly once, and what changed comes last when the oldest are asked for first.

Who follows the store by time (`_lastUpdated=gt` the last one seen, or the oldest first) must not be shown a resource
while one with an earlier time is still uncommitted: it would be passed over for good. Every writer holds `WRITING`, so
such a search knows since when the oldest open write may date, and shows only what is older: late by milliseconds, and
nothing is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from psycopg import AsyncConnection, AsyncCursor, DataError
from psycopg.types.json import Jsonb

from fundus_relay.domain.errors import InvalidResource, Issue
from fundus_relay.domain.values import Json, Page
from fundus_relay.fhir.search import parse
from fundus_relay.fhir.search_index import index_values

from .resource_query import page_statement

WRITING = (0x46756E64, 1)
"""Advisory lock, shared, of every transaction that writes resources."""

_HORIZON = """
    select date_trunc('milliseconds', least(clock_timestamp(), min(activity.xact_start)))
    from pg_locks as held join pg_stat_activity as activity using (pid)
    where held.locktype = 'advisory' and (held.classid, held.objid, held.objsubid) = (%s, %s, 2)
      and held.database = (select oid from pg_database where datname = current_database())
"""

_INSERT = f"""
    with writing as materialized (select pg_advisory_xact_lock_shared{WRITING}),
    indexed as (
        insert into resource_index (kind, id, parameter, system, value)
        select %(kind)s, %(id)s, *
        from unnest(%(parameters)s::text[], %(systems)s::text[], %(values)s::text[])
    )
    insert into resource (kind, id, version, updated, content)
    select %(kind)s, %(id)s, %(version)s, date_trunc('milliseconds', clock_timestamp()), %(content)s from writing
    returning updated
"""  # noqa: S608 - of constants
"""The lock is taken before the time is: a row of `writing` is what the time stands beside."""

_GIVEN_BY_STORE = ("versionId", "lastUpdated")


class StoredResources:
    """Port `Resources` on a connection, inside whatever transaction is open there."""

    def __init__(self, connection: AsyncConnection[Any]) -> None:  # Any: rows are read by position, whatever their type
        self._connection = connection

    async def put(self, resource: Json, *, is_fresh: bool = False) -> tuple[Json, bool]:
        kind, id = resource["resourceType"], resource.get("id") or str(uuid4())
        content = _without_store_meta({**resource, "id": id})
        if is_fresh:
            with _storable(kind):
                return complete(content, 1, await self._insert(kind, id, 1, content)), True
        before = await self._newest_locked(kind, id, content)
        if before is not None and before[2]:
            version, updated, _ = before
            return complete(content, version, updated), False
        version = before[0] + 1 if before else 1
        if before:
            await self._connection.execute(
                "update resource set is_newest = false where kind = %s and id = %s and is_newest", (kind, id)
            )
            await self._connection.execute("delete from resource_index where kind = %s and id = %s", (kind, id))
        updated = await self._insert(kind, id, version, content)
        return complete(content, version, updated), True

    async def add(self, resource: Json) -> None:
        kind, id = resource["resourceType"], resource["id"]
        await self._send_insert(kind, id, 1, _without_store_meta(resource))

    async def read(self, kind: str, id: str, version: int | None = None) -> Json | None:
        cursor = await self._connection.execute(
            "select content, version, updated from resource"
            " where kind = %(kind)s and id = %(id)s"
            " and (version = %(version)s or (%(version)s::int is null and is_newest))",
            {"kind": kind, "id": id, "version": version},
        )
        row = await cursor.fetchone()
        return complete(*row) if row else None

    async def lean_on(self, kind: str, id: str) -> Json | None:
        cursor = await self._connection.execute(
            "select content, version, updated from resource where kind = %s and id = %s and is_newest for key share",
            (kind, id),
        )
        row = await cursor.fetchone()
        return complete(*row) if row else None

    async def search(
        self, kind: str, parameters: Sequence[tuple[str, str]], *, count: int = 50, offset: int = 0
    ) -> Page:
        """As the port says; `offset` is 0 or the `next_offset` of a page."""
        query = parse(kind, parameters)
        horizon = await self._horizon() if query.follows_time else None
        cursor = await self._connection.execute(page_statement(kind, query, count=count, after=offset, before=horizon))
        matches, included, positions, total = [], [], [], 0
        async for total, position, content, version, updated in cursor:  # noqa: B007 - the last row's total is every row's
            if content is None:
                continue
            if position is None:
                included.append(complete(content, version, updated))
            else:
                matches.append(complete(content, version, updated))
                positions.append(position)
        is_more = len(matches) > count
        return Page(
            matches=tuple(matches[:count]),
            included=tuple(included),
            total=total,
            next_offset=positions[count - 1] if is_more and count else None,
        )

    async def _horizon(self) -> datetime:
        """Nothing that is uncommitted now, or begins to be written from now on, is older than this.

        A statement of its own: it must be over before the search begins to look.
        """
        cursor = await self._connection.execute(_HORIZON, WRITING)
        row = await cursor.fetchone()
        assert row is not None  # noqa: S101 - an aggregate has one row
        horizon: datetime = row[0]
        return horizon

    async def _newest_locked(self, kind: str, id: str, content: Json) -> tuple[int, datetime, bool] | None:
        """Version, time and whether the content is the same; nobody else writes this resource till the commit."""
        await self._connection.execute(
            "select pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"resource {kind}/{id}",)
        )
        with _storable(kind):
            cursor = await self._connection.execute(
                "select version, updated, content = %s from resource where kind = %s and id = %s and is_newest",
                (Jsonb(content), kind, id),
            )
            return await cursor.fetchone()

    async def _insert(self, kind: str, id: str, version: int, content: Json) -> datetime:
        row = await (await self._send_insert(kind, id, version, content)).fetchone()
        assert row is not None  # noqa: S101 - an insert returns its row
        updated: datetime = row[0]
        return updated

    async def _send_insert(self, kind: str, id: str, version: int, content: Json) -> AsyncCursor[Any]:
        values = index_values(content)
        return await self._connection.execute(
            _INSERT,
            {
                "kind": kind,
                "id": id,
                "version": version,
                "content": Jsonb(content),
                "parameters": [value.parameter for value in values],
                "systems": [value.system for value in values],
                "values": [value.value for value in values],
            },
        )


@contextmanager
def _storable(kind: str) -> Iterator[None]:
    """Refuses what JSONB cannot hold."""
    try:
        yield
    except DataError as exc:
        text = "a text holds U+0000 or half a surrogate pair, or a number is beyond all measure"
        raise InvalidResource(Issue(kind, "value", text, "value-not-storable")) from exc


def _without_store_meta(resource: Json) -> Json:
    meta = {key: value for key, value in resource.get("meta", {}).items() if key not in _GIVEN_BY_STORE}
    rest = {key: value for key, value in resource.items() if key != "meta"}
    return {**rest, "meta": meta} if meta else rest


def complete(content: Json, version: int, updated: datetime) -> Json:
    """The resource as FHIR shows it. `lastUpdated` has the milliseconds that the row has, no more and no fewer."""
    instant = updated.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    meta = {**content.get("meta", {}), "versionId": str(version), "lastUpdated": instant}
    first = {key: content[key] for key in ("resourceType", "id")}
    return {**first, "meta": meta, **{key: value for key, value in content.items() if key not in {*first, "meta"}}}
