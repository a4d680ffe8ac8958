"""Literal references, and the one spelling of those that mean something here or at the EHR.

`Patient/T`, `Patient/T/_history/3` and `https://ehr.test/fhir/Patient/T` are one patient; whoever reads them after the
intake sees `Patient/T`. A reference under any other base stays as it was sent: nobody here knows who that is.

Source: FHIR R4 4.0.1, references ("Literal References"), http ("Conditional References").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

LITERAL = re.compile(
    r"(?:(?P<base>https?://\S+)/)?(?P<kind>[A-Z][A-Za-z]+)"
    r"(?:/(?P<id>(?!\.{1,2}(?:/|\Z))[A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]{1,64})?|\?(?P<query>\S+))"
)
_DEFAULT_PORT = re.compile(r":(?:80|443)$")


@dataclass(frozen=True, slots=True)
class Bases:
    """Base URLs of FHIR endpoints under which a reference means the same as without one.

    Attributes:
        ours: of our own endpoint, as callers know it.
        ehr: of the EHR's, as senders know it.
    """

    ours: tuple[str, ...] = ()
    ehr: tuple[str, ...] = ()

    def applied(self, part: Any) -> Any:  # Any: any part of a FHIR resource
        """The same with every literal reference in its one spelling."""
        if isinstance(part, list):
            return [self.applied(item) for item in part]
        if not isinstance(part, dict):
            return part
        applied = {key: self.applied(value) for key, value in part.items()}
        if isinstance(literal := applied.get("reference"), str):
            applied["reference"] = _short(literal, self.ours + self.ehr)
        return applied

    def at_ehr(self, url: str) -> str:
        """`Type/id` for an absolute URL of the EHR, any other text as it is."""
        return _short(url, self.ehr)

    def elsewhere(self, url: str | None) -> str | None:
        """The base of a URL that is neither ours nor the EHR's; None for every other text."""
        match = LITERAL.fullmatch(url or "")
        if match is None or match["base"] is None:
            return None
        is_known = _place(match["base"]) in map(_place, self.ours + self.ehr)
        return None if is_known else match["base"]


def tail(url: str) -> str:
    """`Type/id` at the end of a literal reference, any other text as it is."""
    match = LITERAL.fullmatch(url)
    return f"{match['kind']}/{match['id']}" if match and match["id"] else url


def _short(literal: str, bases: tuple[str, ...]) -> str:
    match = LITERAL.fullmatch(literal)
    if match is None:
        return literal
    name = f"{match['kind']}/{match['id']}" if match["id"] else f"{match['kind']}?{_canonical(match['query'])}"
    if match["base"] is None or _place(match["base"]) in map(_place, bases):
        return name
    return f"{match['base']}/{name}"


def _place(base: str) -> str:
    """What two spellings of one base have in common.

    The scheme does not tell servers apart. Source: FHIR R4 4.0.1, http ("Service Base URL").
    """
    url = urlsplit(base)
    return f"{_DEFAULT_PORT.sub('', url.netloc.lower())}{url.path.rstrip('/')}"


def _canonical(query: str) -> str:
    """Search criteria, encoded as we encode them ourselves."""
    return "&".join(f"{name}={quote(value, safe='')}" for name, value in parse_qsl(query, keep_blank_values=True))
