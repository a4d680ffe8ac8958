"""FHIR search without a database: what a query asks.

How this works: `index_values` lists everything that a resource may be found by; `parse` turns the parameters of a query
into criteria over the same lists. Both read one table, `PARAMETERS`, and so does the CapabilityStatement: what is not
in it is neither stored, understood nor promised.

Source: FHIR R4 4.0.1, search (parameter types, prefixes, modifiers, escaping, chaining, _include), and the search
parameter registry for names and paths.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

from fundus_relay.domain.errors import InvalidResource, Issue

from .search_dates import Interval, intervals
from .search_index import LITERAL
from .search_parameters import EVERYWHERE, MANNERS, META, PARAMETERS, Parameter


@dataclass(frozen=True, slots=True)
class Pattern:
    """What an index value must be like: None in `value` is any; `system` counts unless `is_any_system`."""

    value: str | None
    system: str | None = None
    is_any_system: bool = False


@dataclass(frozen=True, slots=True)
class IdIn:
    """The resource has one of these ids."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UpdatedWithin:
    """The newest version's time lies in one of these intervals."""

    any_of: tuple[Interval, ...]


@dataclass(frozen=True, slots=True)
class Indexed:
    """An index value of this parameter is like one of these patterns; with `is_negated`, none is."""

    parameter: str
    any_of: tuple[Pattern, ...]
    is_negated: bool = False


@dataclass(frozen=True, slots=True)
class Chained:
    """The parameter refers to a `target` for which the criterion holds, or names it by that identifier."""

    parameter: str
    target: str
    criterion: Indexed


Criterion = IdIn | UpdatedWithin | Indexed | Chained


@dataclass(frozen=True, slots=True)
class Include:
    """Bring along what a parameter of `kind` refers to; from what was brought along too, with `is_iterated`."""

    kind: str
    parameter: str
    target: str | None = None
    is_iterated: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """All criteria hold."""

    criteria: tuple[Criterion, ...]
    includes: tuple[Include, ...]
    is_oldest_first: bool

    @property
    def follows_time(self) -> bool:
        """Whether its asker means to go on from here later, where this answer ends."""
        return self.is_oldest_first or any(isinstance(criterion, UpdatedWithin) for criterion in self.criteria)


LONGEST_QUERY = 100_000
MOST_PARAMETERS = 100

_UNESCAPED = re.compile(r"\\(.)", re.DOTALL)
_SAYABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_:.-]{0,63}")


def parse(kind: str, parameters: Sequence[tuple[str, str]]) -> Query:
    """What a query asks. Parameters of manner are passed over.

    Raises:
        InvalidResource: a parameter is not supported or does not parse; each issue names it as `http.<name>`.
    """
    criteria: list[Criterion] = []
    includes: list[Include] = []
    is_oldest_first = False
    for name, value in parameters:
        if name in MANNERS:
            continue
        if name == "_sort":
            is_oldest_first = _is_oldest_first(value)
        elif name in ("_include", "_include:iterate", "_include:recurse"):
            includes.append(_include(name, value))
        else:
            criteria.append(_criterion(kind, name, value))
    return Query(tuple(criteria), tuple(includes), is_oldest_first)


def canonical_criteria(kind: str, text: str) -> str | None:
    """The criteria of a conditional create as `If-None-Exist`, `ifNoneExist` or a URL's query states them.

    Returns:
        One spelling for all ways to write the same (url-encoded, sorted, without manners); None when nothing is asked.

    Raises: InvalidResource as `parse`, and when what is asked would not narrow the search.
    """
    stated = text.strip().removeprefix(kind).removeprefix("?")
    parameters = sorted({(name, value) for name, value in decode(stated) if name not in MANNERS})
    if not parameters:
        return None
    if not parse(kind, parameters).criteria:
        raise refused(parameters[0][0], "value", "does not say which resource is meant")
    return urlencode(parameters)


def decode(query: str) -> list[tuple[str, str]]:
    """Names and values of a query string. Raises InvalidResource when it is none, or one that would take seconds."""
    if len(query) > LONGEST_QUERY or query.count("&") >= MOST_PARAMETERS:
        text = f"a query may have {LONGEST_QUERY} characters and {MOST_PARAMETERS} parameters"
        raise InvalidResource(Issue("http.parameter", "too-costly", text, "search-parameter"))
    try:
        return parse_qsl(query, keep_blank_values=True, errors="strict")
    except ValueError as exc:
        raise refused("parameter", "value", "is not url-encoded UTF-8") from exc


def is_supported(kind: str, name: str) -> bool:
    """Whether a query may use this parameter; its value is not looked at."""
    plain = re.split(r"[:.]", name, maxsplit=1)[0]
    return name in MANNERS or plain in {"_sort", "_include", *EVERYWHERE} or plain in PARAMETERS.get(kind, {})


def _criterion(kind: str, name: str, value: str) -> Criterion:
    if not value or "\0" in value:
        raise refused(name, "value", "has no value")
    if name == "_lastUpdated":
        try:
            return UpdatedWithin(tuple(each for part in _split(value, ",") for each in intervals(_plain(part))))
        except ValueError as exc:
            raise refused(name, "value", "is no date that we can compare with") from exc
    if name == "_id":
        return IdIn(tuple(_plain(part) for part in _split(value, ",")))
    name, _, chain = name.partition(".")
    name, _, modifier = name.partition(":")
    parameter = {**PARAMETERS.get(kind, {}), **META}.get(name)
    if parameter is None:
        raise refused(name, "not-supported", f"is no search parameter of {kind} that we support")
    parts = _split(value, ",")
    if parameter.type == "reference":
        return _reference_criterion(name, parameter, modifier, chain, parts)
    if chain or modifier not in ("", "not"):
        raise refused(name, "not-supported", "has a modifier or chain that we do not support")
    patterns = tuple(_token_pattern(part, name, is_code=parameter.type == "code") for part in parts)
    return Indexed(name, patterns, is_negated=modifier == "not")


def _reference_criterion(
    name: str, parameter: Parameter, modifier: str, chain: str, parts: Sequence[str]
) -> Indexed | Chained:
    """After the name: nothing, `:Patient`, `:identifier`, `.identifier` or `:Patient.identifier`."""
    if modifier == "identifier" and not chain:
        return Indexed(f"{name}:identifier", tuple(_token_pattern(part, name) for part in parts))
    if modifier and not re.fullmatch("[A-Z][A-Za-z]+", modifier):
        raise refused(name, "not-supported", "has a modifier that we do not support")
    targets = (modifier,) if modifier else parameter.targets
    if not chain:
        return Indexed(name, tuple(pattern for part in parts for pattern in _reference_patterns(part, name, targets)))
    if chain != "identifier":
        raise refused(name, "not-supported", "may be chained to identifier only")
    return Chained(name, targets[0], Indexed("identifier", tuple(_token_pattern(part, name) for part in parts)))


def _reference_patterns(part: str, name: str, targets: Sequence[str]) -> Iterator[Pattern]:
    plain = _plain(part)
    if literal := LITERAL.fullmatch(plain):
        yield Pattern(literal["local"], literal["base"])
    elif re.fullmatch(r"[A-Za-z0-9.-]{1,64}", plain):
        yield from (Pattern(f"{target}/{plain}") for target in targets)
    else:
        raise refused(name, "value", "is no reference: write Type/id, an id or a URL")


def _token_pattern(part: str, name: str, *, is_code: bool = False) -> Pattern:
    """`v` any system; `s|v`; `|v` no system; `s|` any value of the system. A bare code's system is implied."""
    pieces = [_plain(piece) for piece in _split(part, "|")]
    match pieces:
        case [value] if value:
            return Pattern(value, is_any_system=True)
        case [_, value] if value and is_code:
            return Pattern(value, is_any_system=True)
        case [system, value] if system or value:
            return Pattern(value or None, system or None)
    raise refused(name, "value", "is no token: write value, system|value, |value or system|")


def _include(name: str, value: str) -> Include:
    kind, _, rest = value.partition(":")
    parameter, _, target = rest.partition(":")
    known = PARAMETERS.get(kind, {}).get(parameter)
    if known is None or known.type != "reference":
        raise refused("_include", "not-supported", "names no reference parameter that we support")
    if target and not re.fullmatch("[A-Z][A-Za-z]+", target):
        raise refused("_include", "value", "names no resource type after the parameter")
    return Include(kind, parameter, target or None, is_iterated=name != "_include")


def _is_oldest_first(value: str) -> bool:
    if value not in ("_lastUpdated", "-_lastUpdated"):
        raise refused("_sort", "not-supported", "can be _lastUpdated or -_lastUpdated only")
    return value == "_lastUpdated"


def _split(text: str, separator: str) -> list[str]:
    """Cut at separators that no backslash precedes; escapes stay."""
    return re.findall(rf"(?:^|{re.escape(separator)})((?:\\.|[^\\{re.escape(separator)}]|\\$)*)", text, re.DOTALL)


def _plain(text: str) -> str:
    return _UNESCAPED.sub(r"\1", text)


def refused(name: str, kind: str, why: str) -> InvalidResource:
    """A search parameter that is not taken; a name that is none is not repeated."""
    said = name if _SAYABLE.fullmatch(name) else "parameter"
    return InvalidResource(Issue(f"http.{said}", kind, f"search parameter {said} {why}", "search-parameter"))
