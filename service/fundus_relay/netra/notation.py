"""Reading JSON so that nothing is lost or merged in silence.

How this works. `json.JSONDecoder.raw_decode` reads one value at a time; what may follow it is decided by the small
grammar of `result.py`. No text is cut, joined or replaced, but for typographic quotes where there are no others.
Objects become `Members`, which keeps every pair: a key that is there twice is seen, not overwritten.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import NoReturn, TypeAlias, TypeGuard

from fundus_relay.domain.errors import AnswerNotUnderstood

Value: TypeAlias = "bool | int | float | str | list[Value] | Members | None"

LONGEST_TEXT = 4_000_000
LONGEST_WORD = 200

TYPOGRAPHIC_QUOTES = str.maketrans(dict.fromkeys("“”„‟", '"'))
BLANKS = " \t\r\n"


@dataclass(frozen=True, slots=True)
class Members:
    """A JSON object with every pair in it, also those whose key is there twice."""

    pairs: tuple[tuple[str, Value], ...]

    def every(self, *names: str) -> list[Value]:
        """The different values under any of these names, whatever their case; null counts as absent."""
        wanted = {name.lower() for name in names}
        found: list[Value] = []
        for key, value in self.pairs:
            if key.strip().lower() in wanted and value is not None and not any(_same(value, had) for had in found):
                found.append(value)
        return found

    def one(self, *names: str) -> Value:
        """The value under any of these names, or None.

        Raises:
            AnswerNotUnderstood: there are several, and they differ.
        """
        found = self.every(*names)
        if len(found) > 1:
            raise AnswerNotUnderstood(f"{names[0]}: given twice with different values")
        return found[0] if found else None


def _same(one: Value, other: Value) -> bool:
    """Equal in type too: `1`, `1.0` and `true` are three values."""
    return type(one) is type(other) and one == other


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and Infinity are no JSON


_DECODER = json.JSONDecoder(
    object_pairs_hook=lambda pairs: Members(tuple(pairs)), parse_constant=_no_constant, strict=True
)


class Reader:
    """A text that is read value by value.

    Every method raises AnswerNotUnderstood where the text is not what is asked for; `field` names it in the message.
    """

    def __init__(self, text: str, field: str) -> None:
        if len(text) > LONGEST_TEXT:
            raise AnswerNotUnderstood(f"{field}: too long")
        self._text = text if '"' in text else text.translate(TYPOGRAPHIC_QUOTES)
        self._at = 0
        self._field = field
        self._skip()

    def value(self) -> Value:
        """The next JSON value."""
        try:
            value, self._at = _DECODER.raw_decode(self._text, self._at)
        except (ValueError, RecursionError) as exc:
            raise self.broken() from exc
        self._skip()
        return value  # type: ignore[no-any-return] # the decoder makes nothing but `Value`

    def take(self, mark: str) -> bool:
        """Whether `mark` came next; if so, it is passed."""
        if not self._text.startswith(mark, self._at):
            return False
        self._at += len(mark)
        self._skip()
        return True

    def expect(self, mark: str) -> None:
        """Pass `mark`."""
        if not self.take(mark):
            raise self.broken()

    def end(self) -> None:
        """Nothing more may come."""
        if not self.is_at_end:
            raise self.broken()

    @property
    def is_at_end(self) -> bool:
        """Whether all is read."""
        return self._at == len(self._text)

    def next_marks(self) -> str:
        """The next two marks without blanks, to tell the shapes apart."""
        return "".join(self._text[self._at : self._at + 64].split())[:2]

    def broken(self) -> AnswerNotUnderstood:
        """The error to raise; says where, not what."""
        return AnswerNotUnderstood(f"{self._field}: not as documented at character {self._at}")

    def _skip(self) -> None:
        while self._at < len(self._text) and self._text[self._at] in BLANKS:
            self._at += 1


def read_object(text: str, field: str) -> Members:
    """The one JSON object that the whole text is."""
    value = read_value(text, field)
    if not isinstance(value, Members):
        raise AnswerNotUnderstood(f"{field}: not an object")
    return value


def read_value(text: str, field: str) -> Value:
    """The one JSON value that the whole text is."""
    reader = Reader(text, field)
    value = reader.value()
    reader.end()
    return value


def is_word(value: Value) -> TypeGuard[str]:
    """Whether it is a short, printable, not blank string: what may be kept and shown."""
    return isinstance(value, str) and value.strip() != "" and len(value) <= LONGEST_WORD and value.isprintable()
