"""One SQL statement per page of a FHIR search."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import assert_never

from psycopg.sql import SQL, Composable, Composed, Literal

from fundus_relay.fhir.search import Chained, Criterion, IdIn, Include, Indexed, Pattern, Query, UpdatedWithin
from fundus_relay.fhir.search_dates import Interval

_STATEMENT = SQL(
    """
    with recursive matching as materialized (
        select position from resource r where r.kind = {kind} and r.is_newest and {criteria}
    ),
    page as (
        select r.position, r.kind, r.id, r.content, r.version, r.updated
        from matching join resource r using (position)
        where {beyond} order by position {direction} limit {limit}
    ),
    shown as (select * from page order by position {direction} limit {count}),
    reached (kind, id, depth) as (
        select kind, id, 0 from shown
        union
        select target.kind, target.id, 1
        from reached
        join resource_index i on i.kind = reached.kind and i.id = reached.id and i.system is null and {includes}
        join resource target
            on target.kind = split_part(i.value, '/', 1) and target.id = split_part(i.value, '/', 2)
            and target.is_newest
    ),
    included as (
        select r.content, r.version, r.updated
        from (select distinct kind, id from reached where depth = 1) as target
        join resource r on r.kind = target.kind and r.id = target.id and r.is_newest
        where not exists (select 1 from shown where shown.kind = r.kind and shown.id = r.id)
    )
    select total, shown_or_included.*
    from (select count(*) as total from matching) as counted
    left join (
        (select position, content, version, updated from page order by position {direction})
        union all
        select null, content, version, updated from included
    ) as shown_or_included on true
    """
)


def page_statement(kind: str, query: Query, *, count: int, after: int, before: datetime | None) -> Composed:
    """The statement for a page of `count` matches that begins after position `after` (0: at the beginning).

    With `before`, only versions written before that time. Its rows are total, position, content, version, updated; one
    match more than the page when there is a next page; position is null for what was included, and all but total when
    nothing matches.
    """
    beyond: Composable = SQL("true")
    if after:
        beyond = SQL("position > {}" if query.is_oldest_first else "position < {}").format(Literal(after))
    criteria = [_condition(kind, criterion) for criterion in query.criteria]
    if before is not None:
        criteria.append(_within(Interval(None, before)))
    return _STATEMENT.format(
        kind=Literal(kind),
        criteria=SQL(" and ").join([SQL("true"), *criteria]),
        beyond=beyond,
        direction=SQL("asc" if query.is_oldest_first else "desc"),
        count=Literal(count),
        limit=Literal(count + 1 if count else 0),
        includes=_any([_included(include) for include in query.includes]),
    )


def _condition(kind: str, criterion: Criterion) -> Composable:
    match criterion:
        case IdIn(ids):
            return SQL("r.id = any({})").format(Literal(list(ids)))
        case UpdatedWithin(any_of):
            return _any([_within(interval) for interval in any_of])
        case Indexed():
            return _indexed(criterion)
        case Chained():
            return _chained(kind, criterion)
    assert_never(criterion)


def _within(interval: Interval) -> Composable:
    begin = SQL("r.updated >= {}").format(Literal(interval.begin)) if interval.begin else SQL("true")
    end = SQL("r.updated < {}").format(Literal(interval.end)) if interval.end else SQL("true")
    return SQL("({} and {})").format(begin, end)


def _indexed(criterion: Indexed) -> Composable:
    return SQL(
        "{negation} exists (select 1 from resource_index i"
        " where i.kind = r.kind and i.id = r.id and i.parameter = {parameter} and {patterns})"
    ).format(
        negation=SQL("not" if criterion.is_negated else ""),
        parameter=Literal(criterion.parameter),
        patterns=_any([_like(pattern) for pattern in criterion.any_of]),
    )


def _like(pattern: Pattern) -> Composable:
    value = SQL("true") if pattern.value is None else SQL("i.value = {}").format(Literal(pattern.value))
    if pattern.is_any_system:
        return value
    if pattern.system is None:
        return SQL("({} and i.system is null)").format(value)
    return SQL("({} and i.system = {})").format(value, Literal(pattern.system))


def _chained(kind: str, criterion: Chained) -> Composable:
    """The target is ours and is found by the identifier, or the reference itself states the identifier.

    From the identifier to the resources, not the other way: both halves go by the index on values.
    """
    patterns = _any([_like(pattern) for pattern in criterion.criterion.any_of])
    return SQL(
        "r.id in ("
        "select link.id from resource_index i join resource_index link on link.kind = {kind}"
        " and link.parameter = {parameter} and link.value = {prefix} || i.id and link.system is null"
        " where i.kind = {target} and i.parameter = {found_by} and {patterns}"
        " union all "
        "select i.id from resource_index i where i.kind = {kind} and i.parameter = {stated} and {patterns})"
    ).format(
        kind=Literal(kind),
        parameter=Literal(criterion.parameter),
        prefix=Literal(f"{criterion.target}/"),
        target=Literal(criterion.target),
        found_by=Literal(criterion.criterion.parameter),
        stated=Literal(f"{criterion.parameter}:identifier"),
        patterns=patterns,
    )


def _included(include: Include) -> Composable:
    target: Composable = SQL("true")
    if include.target:
        target = SQL("i.value like {}").format(Literal(f"{include.target}/%"))
    return SQL("(i.kind = {kind} and i.parameter = {parameter} and {target} and {depth})").format(
        kind=Literal(include.kind),
        parameter=Literal(include.parameter),
        target=target,
        depth=SQL("true" if include.is_iterated else "reached.depth = 0"),
    )


def _any(conditions: Sequence[Composable]) -> Composable:
    if not conditions:
        return SQL("false")
    return SQL("({})").format(SQL(" or ").join(conditions))
