"""The result of an analysis, as the document's sample has it: JSON that is not JSON.

    {"drYes":"Detected",...,"eyeOrNot":"YES"}"lesionBbox":[{"bbox":"[959,729,1042,812]","lesionType":"Hard Exudate"}]}

How this works. We read JSON values and members one after the other with Python's own decoder and accept exactly these
shapes: one object; or one object closed too early and followed by further members, with or without a comma between and
with or without a brace at the end. Nothing is searched for, cut out or completed. A key that stands twice with two
values, a word that we do not know, or a box that is not four plain numbers is not understood, and then nothing is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from fundus_relay.domain.analysis import Analysis, Graded, Lesion, NotFundus, Ungradable
from fundus_relay.domain.errors import AnswerNotUnderstood
from fundus_relay.domain.geometry import Box

from .vocabulary import HAS_RETINOPATHY, IS_FUNDUS, IS_GRADABLE, IS_REFERABLE, folded

_TYPOGRAPHIC = str.maketrans({"“": '"', "”": '"', "„": '"', "‟": '"', "″": '"', "‘": "'", "’": "'"})
_SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER = r"[ \t]*(\d{1,6}(?:\.\d{1,6})?)[ \t]*"
_BOX = re.compile(rf"[ \t]*\[{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}\][ \t]*")
_LONGEST = 4_000_000


def read_result(result: object, lesions: object = None) -> Analysis:
    """What the analyser found.

    Args:
        result: the reply's `result`: a string as above, or an object where a server mends it.
        lesions: the reply's own `lesionBbox`, where a server puts it beside `result`; None when absent.

    Raises:
        AnswerNotUnderstood: names the field; never quotes the answer.
    """
    members = _members(result)
    if lesions is not None:
        _put(members, "lesionBbox", _decoded(lesions, "lesionBbox"))
    literals = {key: value for key, value in members.items() if isinstance(value, str)}
    if not _answer(members, "eyeOrNot", IS_FUNDUS):
        return NotFundus(literals)
    if not _answer(members, "imageQuality", IS_GRADABLE):
        return Ungradable(literals)
    has_retinopathy = _answer(members, "drYes", HAS_RETINOPATHY)
    is_referable = _answer(members, "referrableDR", IS_REFERABLE)
    found = _lesions(members.get("lesionBbox", []))
    if not has_retinopathy and is_referable:
        raise AnswerNotUnderstood("referrableDR: referable without retinopathy")
    if not has_retinopathy and found:
        raise AnswerNotUnderstood("lesionBbox: lesions without retinopathy")
    return Graded(has_retinopathy, is_referable, found, literals)


def _answer(members: Mapping[str, Any], field: str, words: Mapping[str, bool]) -> bool:
    literal = members.get(field)
    if not isinstance(literal, str) or folded(literal) not in words:
        raise AnswerNotUnderstood(f"{field}: {'missing' if literal is None else 'a word that we do not know'}")
    return words[folded(literal)]


# ------------------------------------------------------------------------------------------------------------ grammar


def _members(result: object) -> dict[str, Any]:  # Any: JSON
    if isinstance(result, dict):
        members: dict[str, Any] = {}
        for key, value in result.items():
            _put(members, key, value)
        return members
    if not isinstance(result, str) or not 0 < len(result) <= _LONGEST:
        raise AnswerNotUnderstood("result: neither text nor object")
    return _read(result if _is_plain(result) else result.translate(_TYPOGRAPHIC))


def _is_plain(text: str) -> bool:
    """Whether plain quotes do the work; then a typographic one is part of a value."""
    return '"' in text


def _read(text: str) -> dict[str, Any]:  # Any: JSON
    """One object, and the members that may follow it."""
    decoder = json.JSONDecoder(object_pairs_hook=_unique)
    members, at = _value(decoder, text, _skip(text, 0))
    if not isinstance(members, dict):
        raise AnswerNotUnderstood("result: no object")
    at = _skip(text, at)
    has_followers = False
    while at < len(text) and text[at] != "}":
        if text[at] == ",":
            at = _skip(text, at + 1)
        key, at = _value(decoder, text, at)
        at = _skip(text, at)
        if not isinstance(key, str) or at >= len(text) or text[at] != ":":
            raise AnswerNotUnderstood("result: no member where one should follow")
        value, at = _value(decoder, text, _skip(text, at + 1))
        _put(members, key, value)
        at = _skip(text, at)
        has_followers = True
    if at < len(text):  # the brace that belongs after the followers
        at = _skip(text, at + 1)
        if not has_followers or at < len(text):
            raise AnswerNotUnderstood("result: something follows the end")
    elif has_followers and text.rstrip()[-1:] != "}":
        raise AnswerNotUnderstood("result: the end is missing")
    return members


def _value(decoder: json.JSONDecoder, text: str, at: int) -> tuple[Any, int]:  # Any: JSON
    try:
        return decoder.raw_decode(text, at)
    except (ValueError, RecursionError) as exc:
        raise AnswerNotUnderstood("result: broken in the middle") from exc


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:  # Any: JSON
    members: dict[str, Any] = {}
    for key, value in pairs:
        _put(members, key, value)
    return members


def _put(members: dict[str, Any], key: str, value: Any) -> None:  # Any: JSON
    if key in members and members[key] != value:
        raise AnswerNotUnderstood("result: one key with two values")
    members[key] = value


def _decoded(value: object, field: str) -> object:
    """A list as it is; a string that holds one, decoded."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value if _is_plain(value) else value.translate(_TYPOGRAPHIC))
    except ValueError as exc:
        raise AnswerNotUnderstood(f"{field}: no list") from exc


# ------------------------------------------------------------------------------------------------------------ lesions


def _lesions(value: object) -> tuple[Lesion, ...]:
    listed = _decoded(value, "lesionBbox")
    if not isinstance(listed, list):
        raise AnswerNotUnderstood("lesionBbox: no list")
    return tuple(_lesion(each) for each in listed)


def _lesion(value: object) -> Lesion:
    literal = value.get("lesionType") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(literal, str) or not literal.strip():
        raise AnswerNotUnderstood("lesionBbox: a lesion without a type")
    box, source = _box(value.get("bbox"))
    return Lesion(" ".join(literal.split()), box, source)


def _box(value: object) -> tuple[Box, str]:
    """Four plain numbers in brackets, as text or as a list, x1 < x2 and y1 < y2; anything else is refused."""
    if isinstance(value, list) and all(type(each) in (int, float) for each in value):
        value = json.dumps(value)
    match = _BOX.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise AnswerNotUnderstood("lesionBbox: a box that is not four numbers")
    try:
        return Box(*(float(number) for number in match.groups())), str(value)
    except ValueError as exc:
        raise AnswerNotUnderstood("lesionBbox: a box without extent") from exc
