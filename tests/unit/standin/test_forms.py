"""What callers may send: every base64, every spelling, and nonsense without harm."""

from __future__ import annotations

from base64 import standard_b64encode, urlsafe_b64encode
from collections.abc import Callable
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from fundus_relay.standin.forms import is_jpeg_or_png, picture, read_form, text

Encode = Callable[[bytes], bytes]


def a_request(body: bytes, content_type: bytes = b"application/x-www-form-urlencoded") -> Request:
    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request({"type": "http", "method": "POST", "headers": [(b"content-type", content_type)]}, receive)


@given(
    data=st.binary(),
    encode=st.sampled_from([standard_b64encode, urlsafe_b64encode]),
    prefix=st.sampled_from([b"", b"data:image/png;base64,", b"data:None;base64,"]),
    is_padded=st.booleans(),
    is_escaped=st.booleans(),
)
async def test_a_picture_arrives_as_it_was_by_every_base64(
    data: bytes, encode: Encode, prefix: bytes, is_padded: bool, is_escaped: bool
) -> None:
    encoded = prefix + (encode(data) if is_padded else encode(data).rstrip(b"="))
    body = b"image=" + (quote_plus(encoded).encode() if is_escaped else encoded)  # unescaped, a plus becomes a space

    assert picture(await read_form(a_request(body))) == data


@given(st.binary())
async def test_no_body_is_an_exception(body: bytes) -> None:
    form = await read_form(a_request(body))

    picture(form)
    text(form, "token")


@pytest.mark.parametrize("spelling", ["jobId", "jobid", "JobID"])
async def test_a_field_is_found_by_every_spelling(spelling: str) -> None:
    form = await read_form(a_request(f"{spelling}=caf%C3%A9+1&x".encode()))

    assert text(form, "jobId") == "café 1"


@pytest.mark.parametrize("encoded", [b"@@@@", b"AAAAA", b"AA\nAA", b"data:image/png;base64,%"])
def test_what_is_no_base64_is_no_picture(encoded: bytes) -> None:
    assert picture({"image": encoded}) is None


@pytest.mark.parametrize(
    ("data", "is_one"),
    [(b"\xff\xd8\xff\xe0", True), (b"\x89PNG\r\n\x1a\n", True), (b"II*\0", False), (b"\xff\xd8", False), (b"", False)],
)
def test_the_kind_of_picture_is_told_by_its_bytes(data: bytes, is_one: bool) -> None:
    assert is_jpeg_or_png(data) is is_one
