"""A page of a search: which part of what is found a caller asks for, and the links by which it goes on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from fundus_relay.domain.errors import InvalidResource, Issue
from fundus_relay.fhir.search_parameters import MANNERS

_HONOURED = frozenset({"_count", "_offset", "_format", "_pretty"})

Stated = Sequence[tuple[str, str]]
"""Names and values of a query, in their order."""


@dataclass(frozen=True, slots=True)
class Window:
    """`count` of what is found after the first `offset`; with `is_count_only`, no more than how many there are."""

    count: int
    offset: int
    is_count_only: bool


def window(stated: Stated, *, most: int, usual: int) -> Window:
    """What a query asks for.

    Args:
        most: that is given at once, whatever is asked for.
        usual: that is given when nothing is asked for.

    Raises:
        InvalidResource: names what is no whole number.
    """
    count, offset = _whole(stated, "_count", usual), _whole(stated, "_offset", 0)
    is_count_only = count == 0 or ("_summary", "count") in stated
    return Window(0 if is_count_only else min(count, most), offset, is_count_only)


def links(address: str, stated: Stated, count: int, next_offset: int | None) -> tuple[str, str | None]:
    """`self`, and `next` when there is more. They name what was honoured, and nothing that was passed over.

    Args:
        address: of the type that is searched.
    """
    honoured = [each for each in stated if _is_honoured(*each)]
    rest = [(name, value) for name, value in honoured if name not in ("_offset", "_count")]
    more = [*rest, ("_count", str(count)), ("_offset", str(next_offset))]
    return _url(address, honoured), _url(address, more) if next_offset is not None else None


def _is_honoured(name: str, value: str) -> bool:
    return name not in MANNERS or name in _HONOURED or (name, value) == ("_summary", "count")


def _url(address: str, stated: Stated) -> str:
    return f"{address}?{urlencode(stated)}" if stated else address


def _whole(stated: Stated, name: str, default: int) -> int:
    values = [value for each, value in stated if each == name]
    if not values:
        return default
    if not re.fullmatch(r"\d{1,18}", values[-1]):
        raise InvalidResource(Issue(f"http.{name}", "value", f"{name} is a whole number", "search-parameter"))
    return int(values[-1])
