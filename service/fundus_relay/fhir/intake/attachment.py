"""What an Attachment carries: base64 as FHIR allows it, and what it says about the bytes."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from binascii import Error
from collections.abc import Iterator, Sequence
from typing import Protocol

from pybase64 import b64decode

from fundus_relay.domain.errors import InvalidResource, Issue
from fundus_relay.domain.geometry import Size
from fundus_relay.domain.values import Json

_CUT_ESCAPE = re.compile(rb"\\(?:u[0-9a-fA-F]{0,3})?\Z")
_PADDING = ord("=")
_ALSO_WRITTEN = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/tif": "image/tiff"}


class Sink(Protocol):
    """Where decoded bytes go."""

    def write(self, chunk: bytes) -> object:
        """Append."""
        ...


class Base64Decoder:
    """Decodes the inside of a JSON string that holds base64, while it arrives.

    White space is skipped wherever it stands; JSON escapes are taken for what they mean. The url-safe alphabet, missing
    padding and anything behind the padding are refused.

    Source: FHIR R4 4.0.1, datatypes, base64Binary; RFC 4648 §4; RFC 8259 §7.
    """

    __slots__ = ("_element", "_escape", "_is_padded", "_quad", "_sink")

    def __init__(self, sink: Sink, element: str) -> None:
        """Decode into `sink`; `element` is the FHIRPath that a refusal names."""
        self._sink = sink
        self._element = element
        self._escape = b""  # the beginning of an escape that the next chunk ends
        self._quad = b""  # up to three characters that wait for the rest of their quad
        self._is_padded = False

    def feed(self, chunk: bytes) -> None:
        """Decode the next part.

        Raises:
            InvalidResource: this is no base64.
        """
        if self._escape or b"\\" in chunk:
            chunk = self._unescaped(self._escape + chunk)
        if b" " in chunk:
            chunk = chunk.replace(b" ", b"")
        at = 0
        if self._quad:
            at = 4 - len(self._quad)
            self._quad += chunk[:at]
            if len(self._quad) < 4:
                return
            self._decode(self._quad)
        whole = at + ((len(chunk) - at) & ~3)
        self._quad = chunk[whole:]
        if whole > at:
            self._decode(memoryview(chunk)[at:whole])

    def finish(self) -> None:
        """The string ends here. Raises as `feed`."""
        if self._escape or self._quad:
            raise self._refusal("the base64 is cut off or not padded: its length must be a multiple of four")

    def _decode(self, quads: bytes | memoryview) -> None:
        if self._is_padded:
            raise self._refusal("characters follow the padding of the base64")
        try:
            decoded = b64decode(quads, validate=True)
        except Error as exc:
            raise self._refusal(_what_is_wrong(bytes(quads))) from exc
        self._is_padded = quads[-1] == _PADDING
        self._sink.write(decoded)

    def _unescaped(self, text: bytes) -> bytes:
        """JSON escapes taken for what they mean, by the JSON parser, without white space; one that is cut off waits."""
        cut = _CUT_ESCAPE.search(text, max(0, len(text) - 6))
        self._escape = cut[0] if cut else b""
        text = text[: cut.start()] if cut else text
        try:
            meant: str = json.loads(f'"{text.decode("ascii", "replace")}"')
        except ValueError as exc:
            raise self._refusal("this is no base64") from exc
        return meant.encode("ascii", "replace").translate(None, b" \t\r\n")

    def _refusal(self, why: str) -> InvalidResource:
        return InvalidResource(Issue(self._element, "value", why, "base64-broken"))


def _what_is_wrong(text: bytes) -> str:
    if b"-" in text or b"_" in text:
        return "this is the url-safe alphabet of base64; FHIR wants the standard one, with + and /"
    return "this is no base64"


def stated_media_type(content: Json) -> str:
    """What an Attachment calls its bytes, without parameters; `image/jpg`, which many write, means `image/jpeg`."""
    stated = str(content["contentType"]).partition(";")[0].strip().lower()
    return _ALSO_WRITTEN.get(stated, stated)


def check_picture(media: Json, element: str, data: memoryview, media_type: str, sizes: Sequence[Size]) -> None:
    """See that what a Media says about its picture is true.

    Args:
        element: FHIRPath of the Media.
        data: the picture.
        media_type: by its bytes.
        sizes: of the raster as stored and, where the file says that it is to be turned, as shown.

    Raises:
        InvalidResource: with an issue for each contradiction.
    """
    if issues := tuple(_contradictions(media, element, data, media_type, sizes)):
        raise InvalidResource(*issues)


def _contradictions(
    media: Json, element: str, data: memoryview, media_type: str, sizes: Sequence[Size]
) -> Iterator[Issue]:
    content = media["content"]
    if stated_media_type(content) != media_type:
        yield Issue(f"{element}.content.contentType", "value", f"the bytes are {media_type}", "content-type")
    if content.get("size", len(data)) != len(data):
        yield Issue(f"{element}.content.size", "value", f"the picture has {len(data)} bytes", "size-wrong")
    if "hash" in content and content["hash"] != _sha1(data):
        yield Issue(f"{element}.content.hash", "value", "this is not the picture's SHA-1 in base64", "hash-wrong")
    if not any(_agrees(media, size) for size in sizes):
        text = f"the picture has {sizes[0].columns} x {sizes[0].rows} pixels"
        odd = "width" if "width" in media and media["width"] not in {size.columns for size in sizes} else "height"
        yield Issue(f"{element}.{odd}", "value", text, "dimensions-wrong")


def _agrees(media: Json, size: Size) -> bool:
    return (media.get("width", size.columns), media.get("height", size.rows)) == (size.columns, size.rows)


def _sha1(data: memoryview) -> str:
    """As FHIR writes it. Source: FHIR R4 4.0.1, Attachment.hash (SHA-1, base64)."""
    return b64encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode()
