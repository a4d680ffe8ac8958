"""What a narrative may be written in.

Source: FHIR R4 4.0.1, narrative (txt-1, txt-2): the basic elements of HTML 4.0, chapters 7 to 11 and 15, links, images
and styles; no head, body, scripts, forms, frames, objects and events.
"""

from __future__ import annotations

import re
from html.entities import name2codepoint
from xml.parsers.expat import ExpatError, ParserCreate

_NAMESPACE = "http://www.w3.org/1999/xhtml"
_BASIC = (
    "a abbr acronym address area b bdo big blockquote br caption center cite code col colgroup dd del dfn div dl dt em "
    "font h1 h2 h3 h4 h5 h6 hr i img ins kbd li map ol p pre q s samp small span strike strong sub sup table tbody td "
    "tfoot th thead tr tt u ul var"
)
_ELEMENTS = frozenset(_BASIC.split())
_NAMED = re.compile(r"&([A-Za-z][A-Za-z0-9]*);")
_OF_XML = frozenset({"amp", "lt", "gt", "quot", "apos"})


class _NotBasic(Exception):
    """Something stands in the narrative that has no place there."""


def is_basic(div: str) -> bool:
    """Whether this is a well-formed `div` of what a narrative may hold (txt-1)."""
    try:
        _read(div)
    except (ExpatError, _NotBasic):
        return False
    return True


def has_content(div: str) -> bool:
    """Whether anything can be seen in a `div` that is basic: an image, or a text that is not blank (txt-2)."""
    return _read(div)


def _read(div: str) -> bool:
    """Whether there is anything to see. Raises ExpatError or _NotBasic."""
    parser = ParserCreate(namespace_separator=" ")
    seen: list[bool] = []
    is_inside = False

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal is_inside
        namespace, _, local = name.rpartition(" ")
        has_event = any(each.lower().startswith("on") for each in attributes)
        if namespace != _NAMESPACE or local not in _ELEMENTS or has_event or not (is_inside or local == "div"):
            raise _NotBasic
        is_inside = True
        if local == "img":
            seen.append(True)

    def text(part: str) -> None:
        if part.strip():
            seen.append(True)

    def refuse(*_: object) -> None:
        raise _NotBasic

    parser.StartElementHandler = start
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = refuse
    parser.ProcessingInstructionHandler = refuse
    parser.Parse(_NAMED.sub(_numbered, div), True)
    return bool(seen)


def _numbered(entity: re.Match[str]) -> str:
    """HTML's names for characters, such as `&nbsp;`: R4 has no support for them, and many write them."""
    name = entity[1]
    return f"&#{name2codepoint[name]};" if name in name2codepoint and name not in _OF_XML else entity[0]
