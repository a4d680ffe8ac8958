"""The result of an analysis: from the analyser's string to what may be concluded from it.

How this works. The document's own sample is no JSON: `{"drYes": ... }"lesionBbox":[ ... ]`. We read

    result  = [ "{" ] object [ [","] boxes [ "}" ] ]          the first brace only before another
    boxes   = member  |  "{" member "}"
    member  = '"lesionBbox"' ":" array

value by value, and everything up to the end of the text must be part of it: a text that was cut short is no shorter
result. What was read is then judged: each word must be known, the answers must agree with each other, and each box
must be readable for sure. Nothing is repaired; the whole answer is refused, for we do not know which part is wrong.

Source: "Get Result for DR Analysis", Netra API 1.0. Not stated there, so decided here, in favour of a person's look:
- DR that is not detected with boxes, or that is referable, contradicts itself.
- Detected without any `lesionBbox` is incomplete (it looks like the sample, cut after the first object); `[]` is not.
- What comes with an ungradable image, or with no fundus, is not read: it cannot be used.
"""

from __future__ import annotations

import json

from fundus_relay.domain.analysis import Analysis, Graded, Lesion, NotFundus, Ungradable
from fundus_relay.domain.errors import AnswerNotUnderstood
from fundus_relay.domain.geometry import Box, Size

from .notation import Members, Reader, Value, is_word, read_value
from .vocabulary import HAS_RETINOPATHY, IS_FUNDUS, IS_GRADABLE, IS_REFERABLE, QUESTIONS

BOXES = "lesionBbox"
EDGES = 4
LARGEST_EDGE = 2**31
"""No picture is larger; PNG's limit."""


def understand(result: Value, *, boxes: Value = None, sent: Size | None = None) -> Analysis:
    """What the analyser concluded about one image.

    Args:
        result: the string of the reply, or an object where a server sends one.
        boxes: `lesionBbox` where it stands beside `result` in the reply, as the document's table has it.
        sent: size of the picture that was sent, when known: no box may leave it.

    Raises:
        AnswerNotUnderstood: names the field, does not show what it holds.
    """
    members = _members(result)
    if boxes is not None:
        members = Members((*members.pairs, (BOXES, boxes)))
    literals = {question.field: word for question in QUESTIONS if (word := question.literal(members)) is not None}
    if not IS_FUNDUS.answer(members):
        return NotFundus(literals)
    if not IS_GRADABLE.answer(members):
        return Ungradable(literals)
    has_retinopathy, is_referable = HAS_RETINOPATHY.answer(members), IS_REFERABLE.answer(members)
    lesions = _lesions(members.one(BOXES), sent)
    if not has_retinopathy and is_referable:
        raise AnswerNotUnderstood("referrableDR: referable without retinopathy")
    if not has_retinopathy and lesions:
        raise AnswerNotUnderstood(f"{BOXES}: lesions without retinopathy")
    if has_retinopathy and lesions is None:
        raise AnswerNotUnderstood(f"{BOXES}: missing")
    return Graded(has_retinopathy, is_referable, lesions or (), literals)


def _members(result: Value) -> Members:
    """All that the result says, whichever of the shapes it has."""
    if isinstance(result, Members):
        return result
    if not isinstance(result, str):
        raise AnswerNotUnderstood("result: missing" if result is None else "result: neither text nor object")
    reader = Reader(result, "result")
    is_wrapped = reader.next_marks() == "{{" and reader.take("{")
    members = reader.value()
    if not isinstance(members, Members):
        raise AnswerNotUnderstood("result: not an object")
    if is_wrapped or not reader.is_at_end:
        reader.take(",")
        members = Members((*members.pairs, (BOXES, _member(reader))))
        reader.take("}")  # a brace of its own, of the wrapping, or none: what was read is the same
    reader.end()
    return members


def _member(reader: Reader) -> Value:
    """The array after `"lesionBbox":`, with or without braces around it."""
    has_braces = reader.take("{")
    if reader.value() != BOXES:
        raise reader.broken()
    reader.expect(":")
    value = reader.value()
    if not isinstance(value, list):
        raise AnswerNotUnderstood(f"{BOXES}: not a list")
    if has_braces:
        reader.expect("}")
    return value


def _lesions(value: Value, sent: Size | None) -> tuple[Lesion, ...] | None:
    """Each lesion; None when nothing is said about them."""
    if value is None:
        return None
    if isinstance(value, str):  # a list within a string, as `result` itself is an object within one
        value = read_value(value, BOXES)
    if not isinstance(value, list):
        raise AnswerNotUnderstood(f"{BOXES}: not a list")
    return tuple(_lesion(one, f"{BOXES}[{index}]", sent) for index, one in enumerate(value))


def _lesion(value: Value, field: str, sent: Size | None) -> Lesion:
    if not isinstance(value, Members):
        raise AnswerNotUnderstood(f"{field}: not an object")
    literal, said = value.one("lesionType"), value.one("bbox")
    if not is_word(literal):
        raise AnswerNotUnderstood(f"{field}.lesionType: not a word")
    box = _box(said, f"{field}.bbox", sent)
    return Lesion(literal.strip(), box, said if isinstance(said, str) else json.dumps(said))


def _box(said: Value, field: str, sent: Size | None) -> Box:
    """Source: "Bbox format: [x1, y1, x2, y2]", Netra API 1.0; pixels, x1 < x2 and y1 < y2 in its samples."""
    if isinstance(said, str) and not is_word(said):
        raise AnswerNotUnderstood(f"{field}: not four numbers")
    edges = read_value(said, field) if isinstance(said, str) else said
    if not isinstance(edges, list) or len(edges) != EDGES:
        raise AnswerNotUnderstood(f"{field}: not four numbers")
    try:
        box = Box(*(_edge(edge) for edge in edges))
    except ValueError as exc:
        raise AnswerNotUnderstood(f"{field}: not four numbers from 0 on with x1 < x2 and y1 < y2") from exc
    if sent is not None and not box.lies_in(sent):
        raise AnswerNotUnderstood(f"{field}: outside the picture that was sent")
    return box


def _edge(value: Value) -> float:
    """A number; strictly: `true` is none, nor is `"7"`. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > LARGEST_EDGE:
        raise ValueError
    return value
