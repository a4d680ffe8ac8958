"""A request's body as a stream: its type checked, gzip taken off, never longer than allowed."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator

from starlette.requests import Request

from .errors import BodyTooLarge, MalformedRequest, UnsupportedBody
from .negotiation import is_json_body, media_type

PIECE = 256 * 1024
"""Bytes that are inflated in one go."""

RATIO = 200
"""Inflated bytes to received ones; photographs in base64 have 1.4, JSON rarely 30."""

FREE = 1_000_000
"""Inflated bytes that no ratio is asked of."""


MEMBERS = 64
"""Members of a gzip body; whoever compresses one photograph at a time and joins them has fewer."""


def json_body(request: Request, limit: int) -> AsyncIterator[bytes]:
    """The body of a request that must be FHIR JSON.

    Raises:
        UnsupportedBody: not JSON in UTF-8, or an encoding other than gzip.
        BodyTooLarge: more than `limit` bytes, by its own word or when inflated; while reading, too.
    """
    if not is_json_body(request.headers.get("content-type", "")):
        raise UnsupportedBody("send application/fhir+json or application/json, in UTF-8", element="http.Content-Type")
    return _plain(request, limit)


async def form_body(request: Request, limit: int) -> str:
    """The body of a `_search`: a url-encoded form. Raises as `json_body`."""
    if media_type(request.headers.get("content-type", ""))[0] != "application/x-www-form-urlencoded":
        raise UnsupportedBody("send application/x-www-form-urlencoded", element="http.Content-Type")
    data = b"".join([chunk async for chunk in _plain(request, limit)])
    try:
        return data.decode()
    except UnicodeDecodeError as exc:
        raise MalformedRequest("the form is not UTF-8") from exc


def _plain(request: Request, limit: int) -> AsyncIterator[bytes]:
    if request.headers.get("content-length", "0").isdigit() and int(request.headers.get("content-length", "0")) > limit:
        raise BodyTooLarge(f"the body may have {limit} bytes")
    match request.headers.get("content-encoding", "identity").strip().lower():
        case "identity" | "":
            return _limited(request.stream(), limit)
        case "gzip" | "x-gzip":
            return _limited(_inflated(_limited(request.stream(), limit)), limit)
    raise UnsupportedBody(
        "send the body as it is or with gzip", element="http.Content-Encoding", headers={"Accept-Encoding": "gzip"}
    )


async def _limited(chunks: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    length = 0
    async for chunk in chunks:
        length += len(chunk)
        if length > limit:
            raise BodyTooLarge(f"the body may have {limit} bytes")
        if chunk:
            yield chunk


async def _inflated(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """gzip taken off piece by piece, several members in a row included."""
    member = zlib.decompressobj(wbits=31)
    received = inflated = 0
    members, is_begun = 1, False
    async for chunk in chunks:
        received += len(chunk)
        left = chunk
        while left:
            if member.eof:
                members, member, is_begun = members + 1, zlib.decompressobj(wbits=31), False
                if members > MEMBERS:
                    raise BodyTooLarge(f"a gzip body may have {MEMBERS} members", element="http.Content-Encoding")
            is_begun = True
            try:
                piece = member.decompress(left, PIECE)
            except zlib.error as exc:
                raise MalformedRequest("the body is not gzip", element="http.Content-Encoding") from exc
            left = member.unused_data if member.eof else member.unconsumed_tail
            inflated += len(piece)
            if inflated > FREE and inflated > RATIO * received:
                raise BodyTooLarge("the body inflates beyond reason", element="http.Content-Encoding")
            yield piece
    if is_begun and not member.eof:
        raise MalformedRequest("the gzip body ends too early", element="http.Content-Encoding")
