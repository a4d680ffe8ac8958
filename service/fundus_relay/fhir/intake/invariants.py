"""R4's invariants of the types that we take and of what these are made of, by their keys.

How this works. Each rule stands under the class of the part that it is about, as the models of `fhir.resources` name
it, and is asked when the structure is known to be right. It says where the part breaks it: nowhere, as a whole (an
empty text), or at elements below. Keys without a rule here are seen to elsewhere: ele-1 by the structure, ref-1 with
the references, the others of a Bundle with its entries.

Source: FHIR R4 4.0.1, the constraints of the definitions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from fundus_relay.domain.errors import Issue
from fundus_relay.domain.values import Json

from .xhtml import has_content, is_basic

RESOURCE = "DomainResource"
"""The class under which the rules of every resource stand."""

UCUM = "http://unitsofmeasure.org"
_MEALS = frozenset({"C", "CM", "CD", "CV"})


@dataclass(frozen=True, slots=True)
class Invariant:
    """A rule of R4.

    Attributes:
        key: R4's name of it.
        advice: what to change.
        broken_at: the places where a part breaks it, as FHIRPath below the part.
        code: of the issue.
    """

    key: str
    advice: str
    broken_at: Callable[[Json], Iterable[str]]
    code: str = "invariant"


def check_invariants(kind: str, part: Json, element: str) -> Iterator[Issue]:
    """What a part of right structure breaks.

    Args:
        kind: its class.
        element: FHIRPath of it.
    """
    for rule in _OF.get(kind, ()):
        for place in rule.broken_at(part):
            yield Issue(f"{element}{place}", "invariant", f"{rule.key}: {rule.advice}", rule.code)


def has_invariants(kind: str) -> bool:
    """Whether there is anything to ask of a class."""
    return kind in _OF


def keys() -> frozenset[str]:
    """Of all rules."""
    return frozenset(rule.key for rules in _OF.values() for rule in rules)


def _whole(key: str, advice: str, holds: Callable[[Json], bool]) -> Invariant:
    """A rule that a part breaks as a whole."""
    return Invariant(key, advice, lambda part: () if holds(part) else ("",))


def _has(part: Json, *names: str) -> bool:
    """Whether any of these elements is there; one without a value may still have extensions."""
    return any(name in part or f"_{name}" in part for name in names)


def _has_choice(part: Json, name: str) -> bool:
    return any(key.lstrip("_").startswith(name) for key in part)


def _needs(one: str, other: str) -> Callable[[Json], bool]:
    """Where one element is, the other must be."""
    return lambda part: not _has(part, one) or _has(part, other)


def _not_below_zero(name: str) -> Callable[[Json], bool]:
    return lambda part: bool(part.get(name, 0) >= 0)


# --- resources


def _unreferenced(resource: Json) -> Iterator[str]:
    """Contained resources that nothing in the resource names, and that do not name the resource either."""
    if "contained" not in resource:
        return
    named = set(_local_names(resource))
    for index, each in enumerate(resource["contained"]):
        if f"#{each.get('id', '')}" not in named and "#" not in _local_names(each):
            yield f".contained[{index}]"


def _local_names(part: object) -> Iterator[str]:
    """Every text that may be a reference to a contained resource."""
    if isinstance(part, str) and part.startswith("#"):
        yield part
    elif isinstance(part, dict):
        for each in part.values():
            yield from _local_names(each)
    elif isinstance(part, list):
        for each in part:
            yield from _local_names(each)


def _contained_with(*path: str) -> Callable[[Json], Iterator[str]]:
    """Contained resources in which this element stands."""

    def places(resource: Json) -> Iterator[str]:
        for index, each in enumerate(resource.get("contained", [])):
            part = each
            for step in path[:-1]:
                part = part.get(step, {})
            if _has(part, path[-1]):
                yield f".contained[{index}].{'.'.join(path)}"

    return places


_RESOURCE = (
    Invariant("dom-2", "move it out: a contained resource contains no other", _contained_with("contained")),
    Invariant("dom-3", "refer to the contained resource, or leave it out", _unreferenced),
    Invariant("dom-4", "leave it out: a contained resource has no version", _contained_with("meta", "versionId")),
    Invariant("dom-4", "leave it out: a contained resource has no version", _contained_with("meta", "lastUpdated")),
    Invariant("dom-5", "label the whole resource: a contained one has no label", _contained_with("meta", "security")),
)


def _used_at_home(name: str) -> Callable[[Json], Iterator[str]]:
    return lambda part: (f".{name}[{at}]" for at, each in enumerate(part.get(name, [])) if each.get("use") == "home")


_ORGANIZATION = (
    _whole("org-1", "give an identifier or a name", lambda part: _has(part, "identifier", "name")),
    Invariant("org-2", "an organization has no home address: change `use`", _used_at_home("address")),
    Invariant("org-3", "an organization has no home number: change `use`", _used_at_home("telecom")),
)
_CONTACT = _whole(
    "pat-1",
    "give name, telecom, address or organization of the contact",
    lambda part: _has(part, "name", "telecom", "address", "organization"),
)
_ORDER = _whole("prr-1", "say what is ordered in `code`, or leave `orderDetail` out", _needs("orderDetail", "code"))
_BUNDLE = _whole(
    "bdl-1", "leave `total` out: it counts what a search or a history found", lambda part: not _has(part, "total")
)


# --- parts of resources


def _is_one_of_two(part: Json) -> bool:
    return ("extension" in part) != _has_choice(part, "value")


def _ends_after_start(period: Json) -> bool:
    """Compared as precisely as both are written. Source: FHIRPath N1, "Comparison", and per-1."""
    start, end = period.get("start"), period.get("end")
    if start is None or end is None:
        return True
    if "T" in start and "T" in end:
        return _moment(start) <= _moment(end)
    known = min(len(start), len(end), len("2024-05-02"))
    return bool(start[:known] <= end[:known])


def _moment(text: str) -> datetime:
    """Python knows no leap second; it is taken for the one before."""
    return datetime.fromisoformat(text.replace(":60", ":59"))


def _low_first(part: Json) -> bool:
    """Quantities of different units are not compared."""
    low, high = part.get("low", {}), part.get("high", {})
    is_comparable = all(low.get(name) == high.get(name) for name in ("system", "code", "unit"))
    if not (is_comparable and "value" in low and "value" in high):
        return True
    return bool(low["value"] <= high["value"])


def _is_ratio(part: Json) -> bool:
    whole = _has(part, "numerator")
    return whole == _has(part, "denominator") and (whole or "extension" in part)


def _offset_has_event(repeat: Json) -> bool:
    return not _has(repeat, "offset") or (_has(repeat, "when") and not _MEALS.intersection(repeat.get("when", [])))


def _is_in_ucum(part: Json) -> bool:
    return bool(part.get("system", UCUM) == UCUM)


def _has_unit(part: Json) -> bool:
    return _has(part, "code") or not _has(part, "value")


_TIMING = (
    _whole("tim-1", "give `durationUnit` with `duration`", _needs("duration", "durationUnit")),
    _whole("tim-2", "give `periodUnit` with `period`", _needs("period", "periodUnit")),
    _whole("tim-4", "`duration` must not be below zero", _not_below_zero("duration")),
    _whole("tim-5", "`period` must not be below zero", _not_below_zero("period")),
    _whole("tim-6", "give `period` with `periodMax`", _needs("periodMax", "period")),
    _whole("tim-7", "give `duration` with `durationMax`", _needs("durationMax", "duration")),
    _whole("tim-8", "give `count` with `countMax`", _needs("countMax", "count")),
    _whole("tim-9", "give `offset` only with `when`, and not with C, CM, CD or CV", _offset_has_event),
    _whole("tim-10", "give `timeOfDay` or `when`", lambda part: not (_has(part, "timeOfDay") and _has(part, "when"))),
)
_NARRATIVE = (
    Invariant("txt-1", "write well-formed XHTML of basic elements in a <div xmlns=…>, without scripts, forms, frames "
              "and events", lambda part: () if is_basic(part.get("div", "")) else (".div",)),
    Invariant("txt-2", "write something in the narrative, or leave it out",
              lambda part: (".div",) if is_basic(part.get("div", "")) and not has_content(part["div"]) else ()),
)  # fmt: skip
_ATTACHMENT = Invariant(
    "att-1",
    "say of what media type `data` is",
    lambda part: () if _needs("data", "contentType")(part) else (".contentType",),
    "element-missing",
)
_QUANTITY = _whole("qty-3", "give the `system` of the unit's `code`", _needs("code", "system"))

_OF: dict[str, tuple[Invariant, ...]] = {
    RESOURCE: _RESOURCE,
    "Organization": _ORGANIZATION,
    "ServiceRequest": (_ORDER,),
    "PatientContact": (_CONTACT,),
    "Bundle": (_BUNDLE,),
    "Extension": (_whole("ext-1", "an extension has either a value or extensions", _is_one_of_two),),
    "Narrative": _NARRATIVE,
    "Attachment": (_ATTACHMENT,),
    "ContactPoint": (_whole("cpt-2", "say in `system` what `value` is, such as phone", _needs("value", "system")),),
    "Period": (_whole("per-1", "`start` must not be after `end`", _ends_after_start),),
    "Range": (_whole("rng-2", "`low` must not be above `high`", _low_first),),
    "Ratio": (_whole("rat-1", "give numerator and denominator", _is_ratio),),
    "TimingRepeat": _TIMING,
    "Quantity": (_QUANTITY,),
    "Age": (
        _QUANTITY,
        _whole("age-1", "give a unit of UCUM, and more than zero of it",
               lambda part: _has_unit(part) and _is_in_ucum(part) and part.get("value", 1) > 0),
    ),
    "Count": (
        _QUANTITY,
        _whole("cnt-3", "give a whole number with the code 1 of UCUM",
               lambda part: _has_unit(part) and _is_in_ucum(part) and part.get("code", "1") == "1"
               and float(part.get("value", 0)).is_integer()),
    ),
    "Distance": (
        _QUANTITY, _whole("dis-1", "give a unit of UCUM", lambda part: _has_unit(part) and _is_in_ucum(part)),
    ),
    "Duration": (
        _whole("drt-1", "a unit must be of UCUM, and with a value",
               lambda part: not _has(part, "code") or (part.get("system") == UCUM and _has(part, "value"))),
    ),
    "Expression": (
        _whole("exp-1", "give `expression` or `reference`", lambda part: _has(part, "expression", "reference")),
    ),
}  # fmt: skip
