"""Dates in searches: a prefix and a date as precise as its writer made it, as intervals of time.

Source: FHIR R4 4.0.1, search, "date" and "Prefixes".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass(frozen=True, slots=True)
class Interval:
    """From `begin` (inclusive) to `end` (exclusive); None is open."""

    begin: datetime | None
    end: datetime | None


_DATE = re.compile(
    r"(?P<prefix>eq|ne|gt|lt|ge|le|sa|eb)?"
    r"(?P<year>\d{4})(?:-(?P<month>\d\d)(?:-(?P<day>\d\d)"
    r"(?:T(?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>[0-5]\d|60)(?:\.(?P<fraction>\d+))?)?"
    r"(?P<zone>Z|[+ -]\d\d:\d\d)?)?)?)?",
    re.ASCII,
)
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


def intervals(text: str) -> tuple[Interval, ...]:
    """The times that a prefixed date allows; a time without zone is UTC.

    A blank before the zone is a `+` that its sender did not escape.

    Raises:
        ValueError: no such date, or the prefix `ap`, which has no fixed meaning.
    """
    found = _DATE.fullmatch(text)
    if found is None:
        raise ValueError("not a date")
    begin, end = _span(found)
    match found["prefix"]:
        case "ge":
            return (Interval(begin, None),)
        case "gt" | "sa":
            return (Interval(end, None),)
        case "le":
            return (Interval(None, end),)
        case "lt" | "eb":
            return (Interval(None, begin),)
        case "ne":
            return Interval(None, begin), Interval(end, None)
    return (Interval(begin, end),)


def _span(found: re.Match[str]) -> tuple[datetime, datetime]:
    """First moment of the date as written, and first moment after it."""
    year, month, day = int(found["year"]), int(found["month"] or 1), int(found["day"] or 1)
    if found["hour"] is None:
        begin = datetime(year, month, day, tzinfo=UTC)
        try:
            return begin, _after(found, begin)
        except (ValueError, OverflowError):
            return begin, _LAST
    zone = (found["zone"] or "Z").replace(" ", "+")
    whole = f"{found['year']}-{found['month']}-{found['day']}T{found['hour']}:{found['minute']}"
    second = min(int(found["second"] or 0), 59)  # R4 knows leap seconds, Python does not
    local = datetime.fromisoformat(f"{whole}:{second:02}{zone.replace('Z', '+00:00')}")
    begin = _shifted(local.replace(tzinfo=UTC), -(local.utcoffset() or timedelta()))
    if found["second"] is None:
        return begin, _shifted(begin, timedelta(minutes=1))
    if found["fraction"] is None:
        return begin, _shifted(begin, timedelta(seconds=1))
    digits = found["fraction"][:6]
    begin = _shifted(begin, timedelta(microseconds=int(digits.ljust(6, "0"))))
    return begin, _shifted(begin, timedelta(microseconds=10 ** (6 - len(digits))))


def _shifted(moment: datetime, by: timedelta) -> datetime:
    """The first or last moment that there is, when it lies beyond: `9999-12-31T23:59:59Z` often means for ever."""
    try:
        return moment + by
    except OverflowError:
        return _LAST if by > timedelta() else _FIRST


def _after(found: re.Match[str], begin: datetime) -> datetime:
    if found["month"] is None:
        return begin.replace(year=begin.year + 1)
    if found["day"] is None:
        return begin.replace(year=begin.year + begin.month // 12, month=begin.month % 12 + 1)
    return begin + timedelta(days=1)
