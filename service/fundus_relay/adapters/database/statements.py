"""Statements about rows that have states, composed by the names of their columns."""

from __future__ import annotations

from functools import cache

from psycopg.sql import SQL, Composable, Identifier, Placeholder

from fundus_relay.domain.values import Delivery

FOR_CREDITS = "state = 'prepared' and reason in ('analyser-credits-exhausted', 'analyser-credits-reserved')"
"""What waits for credits, or was let go and is not sent yet. As the indexes have it: `domain.errors.HELD`."""

RANKS = """
    select id, urgency, place from image where id = any(%(ids)s)
    union all
    select id, urgency, place from acquisition where id = any(%(ids)s)
    union all
    select study_id, urgency, place from image where study_id = any(%(ids)s)
    union all
    select delivery.id, urgency, place from delivery join image using (study_id) where delivery.id = any(%(ids)s)
"""
"""How urgent images and acquisitions are, and by them their studies and deliveries."""


def _place(table: str, waits: str) -> SQL:
    """The next place of a tenant; two looks at an index, however much there is. See `domain.urgency`."""
    return SQL(
        "greatest("  # noqa: S608 - of constants
        f"coalesce((select min(place) from {table} where {waits} and urgency = %(urgency)s and due_at is null), 0),"
        f"coalesce((select max(place) + 1 from {table} where {waits} and urgency = %(urgency)s"
        "           and tenant = %(tenant)s), 0)"
        ")"
    )


def _hurry_statement(table: str, waits: str, changes: str = "") -> str:
    """Rows of a study become more urgent; each takes the next place of its sender there, as if it came now."""
    return f"""
        with served as (
            select coalesce(min(place), 0) as place from {table}
             where {waits} and urgency = %(urgency)s and due_at is null
        ), hurried as (
            select {table}.id, row_number() over (partition by {table}.tenant order by {table}.place, {table}.id) - 1
                   + greatest(served.place, coalesce((select max(place) + 1 from {table} as own where {waits}
                                                         and own.urgency = %(urgency)s and own.tenant = {table}.tenant
                                                     ), 0)) as place
              from {table}, served where study_id = %(study)s and urgency < %(urgency)s
        )
        update {table} set urgency = %(urgency)s, place = hurried.place{changes}
          from hurried where {table}.id = hurried.id returning {table}.*
    """  # noqa: S608 - of constants


PLACES = {
    "image": _place("image", "state in ('received', 'prepared')"),
    "acquisition": _place("acquisition", "state = 'due'"),
}

HURRY_IMAGES = _hurry_statement(
    "image",
    "state in ('received', 'prepared')",
    f", due_at = case when {FOR_CREDITS} then null else due_at end",
)
HURRY_ACQUISITIONS = _hurry_statement("acquisition", "state = 'due'")


def shown(table: str) -> Composable:
    """What is read of a row: of a delivery, not what it says."""
    return SQL(", ").join(map(Identifier, Delivery.__slots__)) if table == "delivery" else SQL("*")


@cache  # composing a statement costs more than running it
def insertion(table: str, columns: tuple[str, ...], conflict: str = "") -> str:
    return (
        SQL("insert into {} ({}) values ({}) {} returning {}")
        .format(
            Identifier(table),
            SQL(", ").join(map(Identifier, columns)),
            SQL(", ").join(PLACES[table] if name == "place" else Placeholder(name) for name in columns),
            SQL(conflict),
            shown(table),
        )
        .as_string()
    )


@cache
def journalled_insertion(table: str, columns: tuple[str, ...], conflict: str) -> str:
    return (
        SQL(
            "with added as ({}), noted as ("
            " insert into transition (at, subject, subject_id, to_state, reason)"
            " select %(at)s, %(subject)s, id, state, reason from added"
            ") select * from added"
        )
        .format(SQL(insertion(table, columns, conflict)))
        .as_string()
    )


@cache
def settlement(table: str, columns: tuple[str, ...]) -> str:
    assignments = SQL(", ").join(SQL("{} = {}").format(Identifier(name), Placeholder(f"to_{name}")) for name in columns)
    return (
        SQL("update {} set {} where id = %(id)s and state = %(state)s and attempt = %(attempt)s returning {}")
        .format(Identifier(table), assignments, shown(table))
        .as_string()
    )
