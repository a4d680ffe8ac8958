"""What HL7's R4 definitions say of single elements: which codes they take and what their references may point to.

How this works. `profiles/r4_tables.py` writes the tables that are read here, out of HL7's own definitions. An element
is named as the models of `fhir.resources` name it: the class of the part that holds it, and its name there.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from re import Pattern

_VALUE_SET = "http://hl7.org/fhir/ValueSet/"
_LANGUAGE = re.compile(r"[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*")
_MEDIA_TYPE = re.compile(r"[^\s/;]+/[^\s/;]+( ?;.*)?")
_UNLISTED = {
    f"{_VALUE_SET}all-languages": (_LANGUAGE, "write a language, such as de-CH"),
    f"{_VALUE_SET}currencies": (re.compile("[A-Z]{3}"), "write a currency, such as CHF"),
    f"{_VALUE_SET}mimetypes": (_MEDIA_TYPE, "write a media type, such as image/jpeg"),
    "http://www.rfc-editor.org/bcp/bcp13.txt": (_MEDIA_TYPE, "write a media type, such as image/jpeg"),
}
"""Of the value sets that R4 does not list the form is known. Source: RFC 5646, ISO 4217, RFC 6838."""

_UUID = r"urn:uuid:(?i:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})"
_URI = re.compile(rf"urn:oid:[0-2](\.(0|[1-9][0-9]*))+|{_UUID}|(?!urn:oid:|urn:uuid:)\S+")
_URI_TYPES = frozenset({"uri", "url", "canonical"})


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the text of an element may be.

    Attributes:
        values: the codes, or the form of what cannot be listed.
        advice: what to write instead of anything else.
        code: of the issue when it is none of these.
    """

    values: frozenset[str] | Pattern[str]
    advice: str
    code: str = "code-unknown"

    def has(self, text: str) -> bool:
        """Whether the element may be this."""
        return text in self.values if isinstance(self.values, frozenset) else bool(self.values.fullmatch(text))


def is_type(name: object) -> bool:
    """Whether R4 has resources of this type."""
    return name in _tables().resource_types


def allowed(element: str, primitive: str | None) -> Allowed | None:
    """What the definitions allow; None when the models of the library see to that.

    Args:
        element: as in `PatientContact.gender`.
        primitive: its FHIR type.
    """
    value_set = _tables().bound.get(element)
    if value_set in _UNLISTED:
        return Allowed(*_UNLISTED[value_set])
    if value_set is not None:
        codes = _tables().codes[value_set]
        return Allowed(codes, f"the code must be one of {', '.join(sorted(codes))}")
    if primitive in _URI_TYPES and element != "BundleEntry.fullUrl":  # a label for the other entries, whatever it is
        return Allowed(_URI, "write a URI, without white space, and after urn:oid: or urn:uuid: one", "value-invalid")
    if element == "Extension.valueUuid":
        return Allowed(re.compile(_UUID), "write a UUID after urn:uuid:", "value-invalid")
    return None


def targets(element: str) -> frozenset[str]:
    """Types that a reference may point to; `Resource` is any."""
    return _tables().targets.get(element) or frozenset({"Resource"})


@dataclass(frozen=True, slots=True)
class _Tables:
    codes: dict[str, frozenset[str]]
    bound: dict[str, str]
    targets: dict[str, frozenset[str]]
    resource_types: frozenset[str]


@cache
def _tables() -> _Tables:
    read = json.loads(files(__package__).joinpath("r4_tables.json").read_text())
    codes = {url: frozenset(listed) for url, listed in read["codes"].items()}
    return _Tables(
        codes=codes,
        bound=read["bound"],
        targets={name: frozenset(types) for name, types in read["targets"].items()},
        resource_types=codes[f"{_VALUE_SET}resource-types"] - {"Resource", "DomainResource"},
    )
