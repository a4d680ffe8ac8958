"""Bodies as streams: gzip in any pieces, limits that hold while reading."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from fundus_relay.api.body import json_body
from fundus_relay.api.errors import BodyTooLarge, MalformedRequest, UnsupportedBody


def a_request(chunks: list[bytes], **headers: str) -> Request:
    """A request whose body arrives in these chunks."""
    left = list(chunks)

    async def receive() -> dict[str, object]:
        chunk = left.pop(0) if left else b""
        return {"type": "http.request", "body": chunk, "more_body": bool(left)}

    stated = {"content-type": "application/fhir+json", **{name.replace("_", "-"): v for name, v in headers.items()}}
    raw = [(name.encode(), value.encode()) for name, value in stated.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw}, receive)


async def whole(stream: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in stream])


@settings(max_examples=30)
@given(data=st.binary(max_size=3000), piece=st.integers(1, 500), members=st.integers(1, 3))
async def test_gzip_comes_off_however_it_is_cut(data: bytes, piece: int, members: int) -> None:
    zipped = gzip.compress(data) * members
    chunks = [zipped[start : start + piece] for start in range(0, len(zipped), piece)]

    assert await whole(json_body(a_request(chunks, content_encoding="gzip"), 100_000)) == data * members


async def test_a_plain_body_may_be_as_long_as_allowed_and_no_longer() -> None:
    assert len(await whole(json_body(a_request([b"x" * 60, b"x" * 40]), 100))) == 100
    with pytest.raises(BodyTooLarge):
        await whole(json_body(a_request([b"x" * 60, b"x" * 41]), 100))


async def test_a_body_that_says_it_is_too_long_is_not_read() -> None:
    with pytest.raises(BodyTooLarge):
        json_body(a_request([], content_length="101"), 100)


async def test_an_inflated_body_counts_as_long_as_it_becomes() -> None:
    with pytest.raises(BodyTooLarge):
        await whole(json_body(a_request([gzip.compress(b"x" * 101)], content_encoding="gzip"), 100))


async def test_a_bomb_goes_off_in_the_first_megabytes() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    seen = 0
    with pytest.raises(BodyTooLarge, match="beyond reason"):
        async for chunk in json_body(a_request([bomb], content_encoding="gzip"), 100_000_000):
            seen += len(chunk)

    assert seen < 12_000_000


async def test_what_arrives_compressed_counts_as_well_as_what_becomes_of_it() -> None:
    empty = gzip.compress(b"")
    with pytest.raises(BodyTooLarge):
        await whole(json_body(a_request([empty] * 10, content_encoding="gzip"), 9 * len(empty)))


async def test_a_body_of_countless_members_is_refused() -> None:
    with pytest.raises(BodyTooLarge, match="members"):
        await whole(json_body(a_request([gzip.compress(b"") * 10_000], content_encoding="gzip"), 1_000_000))


@pytest.mark.parametrize(
    "spoilt",
    [b"plain", gzip.compress(b"x" * 5000)[:-9], gzip.compress(b"x") + b"more"],
    ids=["none", "cut off", "with more behind it"],  # not by its bytes, in which is the time
)
async def test_spoilt_gzip_is_refused(spoilt: bytes) -> None:
    with pytest.raises(MalformedRequest):
        await whole(json_body(a_request([spoilt], content_encoding="gzip"), 100_000))


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/fhir+xml", "application/json; charset=utf-16", "application/json;fhirVersion=3.0"],
)
async def test_only_json_in_utf8_of_our_version_is_read(content_type: str) -> None:
    with pytest.raises(UnsupportedBody):
        json_body(a_request([b"{}"], content_type=content_type), 100)
