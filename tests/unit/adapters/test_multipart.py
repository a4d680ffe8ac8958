"""The one part of a multipart answer, however the answer is cut into chunks, and whatever is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_relay.adapters.dicomweb.multipart import Broken, OnePart, boundary_of

CONTENT = b"\0" * 128 + b"DICM\r\n--B\r\n\r\n-\r\n--\r\n--b" + bytes(range(256))


def read(boundary: bytes, chunks: Sequence[bytes]) -> bytes:
    part = OnePart(boundary)
    content = b"".join(part.feed(each) for each in chunks)
    part.finish()
    return content


def outcome(body: bytes, size: int) -> bytes | None:
    """The part, or None when the answer is broken."""
    try:
        return read(b"bound", [body[at : at + size] for at in range(0, len(body), size)])
    except Broken:
        return None


def a_body(content: bytes = CONTENT, *, head: bytes = b"Content-Type: application/dicom") -> bytes:
    return b"--bound\r\n" + head + b"\r\n\r\n" + content + b"\r\n--bound--\r\n"


@pytest.mark.parametrize(
    "body",
    [
        a_body(),
        a_body(b""),
        a_body(head=b"X: y"),
        b"\r\n" + a_body(),
        b"a preamble\r\n" + a_body() + b"an epilogue\r\n--bound\r\n\r\nmore",
        a_body().replace(b"--bound\r\n", b"--bound  \t\r\n"),
    ],
)
def test_every_chunking_gives_the_same_part(body: bytes) -> None:
    whole = outcome(body, len(body))

    assert whole is not None
    assert {outcome(body, size) for size in range(1, len(body))} == {whole}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--bound",
        b"--bound--\r\n",
        a_body()[:-4],
        a_body().removesuffix(b"--\r\n"),
        a_body()[:-20],
        a_body().replace(b"bound--", b"bound\r\n\r\nsecond\r\n--bound--"),
        a_body(head=b"X: " + b"y" * 20_000),
        b"x" * 20_000 + b"\r\n" + a_body(),
        a_body().replace(b"--bound", b"--other"),
        a_body(CONTENT + b"\r\n--boundary\r\n"),
    ],
)
def test_what_is_not_one_whole_part_is_broken_however_it_is_cut(body: bytes) -> None:
    assert {outcome(body, size) for size in (*range(1, 40), 1000, 16_000, 17_000, 100_000)} == {None}


@given(st.binary(max_size=300), st.data())
def test_no_bytes_do_anything_else_than_give_a_part_or_break(body: bytes, data: st.DataObject) -> None:
    body = data.draw(st.sampled_from([body, b"--bound\r\n" + body, a_body(body), a_body(body) + body]))

    assert len({outcome(body, size) for size in (1, 2, 3, 7, 50, 1000)}) == 1


@given(st.text(max_size=60))
def test_no_content_type_does_anything_else_than_have_a_boundary_or_none(text: str) -> None:
    for stated in (text, f"multipart/related; boundary{text}", f'multipart/related; type="application/dicom"; {text}'):
        found = boundary_of(stated.encode("ascii", "replace").decode())
        assert found is None or len(found) <= 70
