"""What one commit writes: rows that have states, and the jobs that follow them.

How this works. Every settle says `where id, state and attempt` are still those that were read, so of two that settle
the same thing one changes nothing. Jobs are gathered and handed to the engine in the last moment before the commit,
each once and in one order: transactions that want the same jobs wait for each other rather than lock each other out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from psycopg.rows import DictRow
from psycopg.sql import SQL, Identifier

from fundus_relay import tracing
from fundus_relay.domain.states import ACQUISITION_MOVES, DELIVERY_MOVES, IMAGE_MOVES
from fundus_relay.domain.urgency import Urgency, priority
from fundus_relay.domain.values import Acquisition, Delivery, Image
from fundus_relay.pipeline.ports import Clock, Job

from .moves import Move
from .pool import Connection, rows_of
from .rows import column
from .statements import PLACES, RANKS, journalled_insertion, settlement, shown

MOVES: Mapping[str, Mapping[Any, frozenset[Any]]] = {  # Any: images', deliveries' or acquisitions' states
    "image": IMAGE_MOVES,
    "delivery": DELIVERY_MOVES,
    "acquisition": ACQUISITION_MOVES,
}
"""Table → which state of a row may follow which."""


class Enqueue(Protocol):
    """Hands jobs to the engine on our connection: they exist when, and only when, our transaction commits."""

    async def __call__(
        self, connection: Connection, jobs: Mapping[tuple[Job, str], int], *, is_first: bool = False
    ) -> None:
        """Queue jobs by priority; with `is_first`, their rows are new, so nobody can have asked for them before."""


class Commit:
    """An open transaction on a connection.

    Attributes:
        moves: what was settled so far, to be told of when it is committed.
    """

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self.connection = connection
        self.clock = clock
        self.moves: list[Move] = []
        self._jobs: set[tuple[Job, str]] = set()
        self._added: set[str] = set()  # ids of rows that exist since this transaction
        self._priorities: dict[str, int] = {}  # of jobs, by the id of a row that was seen here

    async def rows(
        self,
        query: Any,  # str or SQL: psycopg's own union is not exported
        values: Sequence[object] | Mapping[str, object] = (),
    ) -> Sequence[DictRow]:
        """Rows of a statement that gives some."""
        return await rows_of(self.connection, query, values)

    async def send(self, query: str, values: Sequence[object] | Mapping[str, object] = ()) -> None:
        """Send a statement whose answer nobody needs; an error of it comes up with the next answer that is read."""
        await self.connection.execute(query.encode(), values)

    async def locked(self, table: str, id: str) -> DictRow | None:
        """One row, which nobody else changes before the commit."""
        if not _is_uuid(id):
            return None
        query = SQL("select {} from {} where id = %s for no key update").format(shown(table), Identifier(table))
        rows = await self.rows(query, [id])
        if table in PLACES:
            self.see(*rows)
        return rows[0] if rows else None

    async def of_study(self, table: str, study_id: str, order: str) -> Sequence[DictRow]:
        """A study's rows, in the order of these columns; not locked."""
        if not _is_uuid(study_id):
            return []
        columns = SQL(", ").join(map(Identifier, order.split(", ")))
        query = SQL("select {} from {} where study_id = %s order by {}").format(
            shown(table), Identifier(table), columns
        )
        return await self.rows(query, [study_id])

    async def add(self, table: str, row: Mapping[str, object], conflict: str = "") -> Sequence[DictRow]:
        """Insert a row that has states, and journal its first one. Returns it, or nothing upon the conflict."""
        added = await self.rows(
            journalled_insertion(table, tuple(row), conflict), {**row, "subject": table, "at": self.clock.now()}
        )
        self._added |= {str(each["id"]) for each in added}
        if table in PLACES:
            self.see(*added)
        return added

    async def settle(
        self,
        table: str,
        before: Image | Delivery | Acquisition,
        to: str,
        reason: str | None,
        changes: Mapping[str, Any],  # a subset of the value's fields
    ) -> DictRow | None:
        """Settle, if state and attempt are still those of `before`; journals the move.

        Returns:
            The row as it now is, or None when another got there first.

        Raises: ValueError for a move that `MOVES` does not know.
        """
        if to != before.state and to not in MOVES[table][before.state]:
            raise ValueError(f"there is no move from {before.state} to {to}")
        values = {name: column(value) for name, value in changes.items()}
        values |= {"state": to, "reason": reason}
        if "prepared" in changes:
            values["prepared_purged_at"] = None
        if to != before.state:
            values["since"] = self.clock.now()
        rows = await self.rows(
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
            self.see(rows[0])
        if to != before.state or reason != before.reason:
            await self.journal(table, before.id, before.state, to, reason)
            self.moves.append(Move(table, before, to, reason, is_put_off))
        return rows[0]

    async def journal(self, subject: str, id: str, before: str | None, to: str, reason: str | None) -> None:
        await self.send(
            "insert into transition (at, subject, subject_id, from_state, to_state, reason)"
            " values (%s, %s, %s, %s, %s, %s)",
            [self.clock.now(), subject, id, before, to, reason],
        )

    def see(self, *rows: DictRow) -> None:
        """Remember how urgent rows are: their jobs, and those of their studies, are queued by that."""
        for row in rows:
            as_urgent = priority(Urgency(row["urgency"]), row["place"])
            for id in filter(None, (row["id"], row.get("study_id"))):
                self._priorities[str(id)] = max(as_urgent, self._priorities.get(str(id), as_urgent))

    def see_as(self, id: str, other_id: str) -> None:
        """The first is as urgent as the second, should that be known."""
        if (as_urgent := self._priorities.get(other_id)) is not None:
            self._priorities[id] = as_urgent

    async def enqueue(self, job: Job, id: str, *, at: datetime | None = None) -> None:
        """As the port says. What is to run later is a row that waits, and reconcile brings it when it is due."""
        if at is None or at <= self.clock.now():
            self._jobs.add((job, id))

    async def hand_over(self, enqueue: Enqueue) -> None:
        """The last thing before the commit: the jobs go to the engine, and what a study has to look at is noted."""
        if not self._jobs:
            return
        jobs = sorted(self._jobs)
        if studies := [id for job, id in jobs if job is Job.STUDY]:
            await self.send("insert into study_look (study_id) select * from unnest(%s::uuid[])", [studies])
        if unseen := [id for _, id in jobs if id not in self._priorities and _is_uuid(id)]:
            self.see(*await self.rows(RANKS, {"ids": unseen}))
        if first := {each: self._priorities.get(each[1], 0) for each in jobs if each[1] in self._added}:
            await enqueue(self.connection, first, is_first=True)
        if others := {each: self._priorities.get(each[1], 0) for each in jobs if each[1] not in self._added}:
            await enqueue(self.connection, others)


def _is_uuid(id: str) -> bool:
    try:
        UUID(id)
    except ValueError:
        return False
    return True
