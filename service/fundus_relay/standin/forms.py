"""What callers send: forms in every spelling of the document, base64 in every alphabet."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

from starlette.requests import Request

MAX_BYTES = 5 * 1024 * 1024
"""Source: LC-ERR-0033, "Max Allowed Single Image Size 5 MB"; of the decoded picture, megabytes as powers of two."""

_URL_SAFE = bytes.maketrans(b"-_ ", b"+/+")  # a plus that nobody escaped arrives as a space

Form = Mapping[str, bytes]


async def read_form(request: Request) -> Form:
    """The fields of a url-encoded or multipart form, by lower-case name."""
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        async with request.form(max_part_size=4 * MAX_BYTES) as form:
            return {
                name.lower(): value.encode() if isinstance(value, str) else await value.read()
                for name, value in form.items()
            }
    body = await request.body()
    fields = (pair.partition(b"=") for pair in body.split(b"&") if pair)
    return {_plain(name).decode(errors="replace").lower(): _plain(value) for name, _, value in fields}


def _plain(part: bytes) -> bytes:
    return unquote_to_bytes(part.replace(b"+", b" ")) if b"%" in part or b"+" in part else part


def text(form: Form, name: str) -> str:
    return form.get(name.lower(), b"").decode(errors="replace")


def picture(form: Form) -> bytes | None:
    """The picture's bytes; None when they are no base64."""
    encoded = form.get("image", b"")
    if encoded.startswith(b"data:"):
        encoded = encoded.partition(b",")[2]
    encoded = encoded.translate(_URL_SAFE).rstrip(b"=\r\n")
    try:
        return b64decode(encoded + b"=" * (-len(encoded) % 4), validate=True)
    except binascii.Error:
        return None


def is_jpeg_or_png(data: bytes) -> bool:
    """By the bytes, whatever the prefix claims."""
    return data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"))
