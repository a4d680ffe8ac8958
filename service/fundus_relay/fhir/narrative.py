"""Narratives: what a person reads where no program shows the coded parts. Whatever came from outside is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from fundus_relay.domain.values import Json


def narrative(sentences: Sequence[str], rows: Sequence[tuple[str, str]] = ()) -> Json:
    """Sentences, then a table of names and values."""
    said = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
    told = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows)
    table = f"<table><tbody>{told}</tbody></table>" if told else ""
    return {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{said}{table}</div>'}
