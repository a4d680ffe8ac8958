"""Pixels never enter the JSON parser: they are cut out of the body while it arrives.

How this works: the cutter knows three places, outside of strings, inside of a string, inside of a picture. Outside, one
regular expression finds the next brace, bracket, comma or string, and a small stack tells where in the document that
is. A string at `content.data`, of the root or of a Bundle's entry, is base64-decoded into a sink; the skeleton keeps an
empty string in its place and every other byte as it was. So the skeleton is JSON exactly when the body is, and whatever
is wrong outside of pictures the parser finds later. Each byte is looked at once, in C.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from fundus_relay.domain.errors import InvalidResource, Issue

from .attachment import Base64Decoder, Sink

MAX_SKELETON_BYTES = 2_000_000
MAX_DEPTH = 32
"""Twice as deep as an extension of an extension in a contained resource of a Bundle."""
MAX_TOKENS = 200_000
"""Braces, brackets, commas and strings; ten thousand make a Bundle of a hundred photographs."""

_TOKEN = re.compile(rb'"[^"\\]{0,256}+"|["{}\[\],]')
_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_QUOTE, _OPEN_OBJECT, _OPEN_ARRAY, _COMMA = b'"{[,'
_BOM = b"\xef\xbb\xbf"


class Cutter:
    """Takes a body in chunks of any size, gives pictures to sinks, and returns what remains."""

    __slots__ = (
        "_carry",
        "_decoder",
        "_is_begun",
        "_keys",
        "_open_sink",
        "_place",
        "_skeleton",
        "_spelling",
        "_tokens",
        "_wants_key",
    )

    def __init__(self, open_sink: Callable[[str], Sink]) -> None:
        """Cut pictures into what `open_sink` gives for their FHIRPath, e.g. `Bundle.entry[1].resource.content.data`."""
        self._open_sink = open_sink
        self._place = self._outside
        self._skeleton = bytearray()
        self._carry = b""  # what cannot be judged before the next chunk; a few bytes
        self._keys: list[bytes | int] = []  # of every open object its last key, of every open array its index
        self._wants_key = False  # whether the next string is a key
        self._spelling: bytearray | None = None  # of a key whose end was not seen yet
        self._decoder: Base64Decoder | None = None
        self._tokens = 0
        self._is_begun = False

    def feed(self, chunk: bytes) -> None:
        """Take the next part of the body.

        Raises:
            InvalidResource: broken base64, too deep, too large, or certainly not JSON.
            Whatever a sink raises.
        """
        data = self._carry + chunk if self._carry else chunk
        self._carry = b""
        if not self._is_begun:
            if len(data) < len(_BOM):
                self._carry = data
                return
            self._is_begun = True
            data = data.removeprefix(_BOM)
        at = 0
        while at < len(data):
            at = self._place(data, at)

    def finish(self) -> bytes:
        """The body ends here; returns the JSON that is left, not parsed yet. Raises as `feed`."""
        if not self._is_begun:
            self._keep(self._carry)
        if self._decoder is not None:
            raise malformed("the body ends within a picture")
        return bytes(self._skeleton)

    def _keep(self, part: bytes | memoryview) -> None:
        self._skeleton += part
        if len(self._skeleton) > MAX_SKELETON_BYTES:
            raise InvalidResource(
                Issue(
                    "",
                    "too-long",
                    f"without its pictures the body has more than {MAX_SKELETON_BYTES} bytes",
                    "body-too-large",
                )
            )

    def _outside(self, data: bytes, start: int) -> int:
        for token in _TOKEN.finditer(data, start):
            at, end = token.span()
            first = data[at]
            self._tokens += 1
            if first == _QUOTE:
                if not self._wants_key and self._is_picture():
                    self._keep(data[start:at] + b'""')
                    self._begin_picture()
                    return at + 1
                if end - at == 1:  # it goes on in the next chunk, or is long, or has escapes
                    self._keep(data[start:end])
                    self._spelling = bytearray() if self._wants_key else None
                    self._place = self._inside
                    return end
                if self._wants_key:
                    self._set_key(data[at + 1 : end - 1])
            elif first == _COMMA:
                self._next_member()
            elif first in (_OPEN_OBJECT, _OPEN_ARRAY):
                self._open(is_object=first == _OPEN_OBJECT)
            else:
                self._close()
        if self._tokens > MAX_TOKENS:
            raise malformed("the document has too many elements")
        self._keep(data[start:])
        return len(data)

    def _inside(self, data: bytes, start: int) -> int:
        """Within a string that is no picture."""
        part = _STRING.match(data, start)
        assert part is not None  # noqa: S101 - it matches the empty string
        end = part.end()
        self._keep(data[start:end])
        if self._spelling is not None:
            self._spelling += data[start:end]
        if end == len(data):
            return end
        if data[end] != _QUOTE:  # a backslash at the very end
            self._carry = data[end:]
            return len(data)
        self._keep(b'"')
        if self._spelling is not None:
            self._set_key(_unescaped(bytes(self._spelling)))
        self._place = self._outside
        return end + 1

    def _picture(self, data: bytes, start: int) -> int:
        assert self._decoder is not None  # noqa: S101 - _begin_picture made it
        end = data.find(b'"', start)
        if end < 0:
            self._decoder.feed(data[start:])
            return len(data)
        self._decoder.feed(data[start:end])  # an escaped quote leaves a backslash behind, which `finish` refuses
        self._decoder.finish()
        self._decoder = None
        self._place = self._outside
        return end + 1

    def _begin_picture(self) -> None:
        element = "Media.content.data"
        if len(self._keys) == 5:
            element = f"Bundle.entry[{self._keys[1]!s}].resource.content.data"
        self._decoder = Base64Decoder(self._open_sink(element), element)
        self._place = self._picture

    def _is_picture(self) -> bool:
        keys = self._keys
        if not keys or keys[-1] != b"data":
            return False
        if len(keys) == 2:
            return keys[0] == b"content"
        return (
            len(keys) == 5
            and keys[0] == b"entry"
            and isinstance(keys[1], int)
            and keys[2:4] == [b"resource", b"content"]
        )

    def _set_key(self, key: bytes) -> None:
        if self._keys:
            self._keys[-1] = key
        self._wants_key = False
        self._spelling = None

    def _open(self, *, is_object: bool) -> None:
        if len(self._keys) == MAX_DEPTH:
            raise malformed(f"the document is nested more than {MAX_DEPTH} levels deep")
        self._keys.append(b"" if is_object else 0)
        self._wants_key = is_object

    def _close(self) -> None:
        if not self._keys:
            raise malformed("the body is not JSON: a bracket closes nothing")
        self._keys.pop()
        self._wants_key = False

    def _next_member(self) -> None:
        if not self._keys:
            raise malformed("the body is not JSON: it is a list without brackets")
        last = self._keys[-1]
        if isinstance(last, int):
            self._keys[-1] = last + 1
        else:
            self._wants_key = True


def malformed(why: str) -> InvalidResource:
    """The body is no document that FHIR could be spoken about."""
    return InvalidResource(Issue("", "structure", why, "json-malformed"))


def _unescaped(key: bytes) -> bytes:
    """A key as it is meant; ours are ASCII, so any other may stay as it was written."""
    if b"\\" not in key:
        return key
    return re.sub(rb"\\u00([0-7][0-9a-fA-F])", lambda code: bytes.fromhex(code[1].decode()), key)
