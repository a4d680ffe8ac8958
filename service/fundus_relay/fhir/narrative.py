"""Narratives: what a person reads where no program shows the coded parts. Whatever came from outside is escaped."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

from fundus_relay.domain.values import Json

_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(?::\d\d(?:\.\d+)?)?(Z|[+-]\d\d:\d\d)?")


def narrative(sentences: Sequence[str], rows: Sequence[tuple[str, str]] = ()) -> Json:
    """Sentences, then a table of names and values."""
    said = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
    told = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows)
    table = f"<table><tbody>{told}</tbody></table>" if told else ""
    return {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{said}{table}</div>'}


def moment(value: str) -> str:
    """A FHIR dateTime as people write it, in the zone in which it was stated."""
    parts = _MOMENT.fullmatch(value)
    if parts is None:
        return value
    zone = {"Z": " UTC", "+00:00": " UTC", None: ""}.get(parts[3], f" {parts[3]}")
    return f"{parts[1]} {parts[2]}{zone}"
