"""A list of instances, however it is cut into chunks, and whatever else comes in its place."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundus_relay.adapters.dicomweb.listing import Listing, NotListed

STUDY = "1.2.3"
ENTRIES = [
    {
        "0020000E": {"vr": "UI", "Value": ["1.2.3.1"]},
        "00080018": {"vr": "UI", "Value": [f"1.2.3.1.{number}"]},
        "00080060": {"vr": "CS", "Value": ["OP"]},
        "00100020": {"vr": "LO", "Value": ['Jürgen [{\\"}],']},
    }
    for number in range(3)
]


def outcome(body: bytes, size: int) -> list[str] | None:
    """The instances, or None when that is no list of them."""
    listing, found = Listing(STUDY), []
    try:
        for at in range(0, len(body), size):
            found += [each.name.instance for _, each in listing.feed(body[at : at + size])]
        listing.finish()
    except NotListed:
        return None
    return found


@pytest.mark.parametrize("how", [{}, {"indent": 1}, {"separators": (",", ":")}, {"ensure_ascii": False}])
def test_every_chunking_gives_the_same_list(how: dict[str, object]) -> None:
    body = json.dumps(ENTRIES, **how).encode()  # type: ignore[arg-type]  # its keywords

    for size in range(1, len(body) + 1):
        assert outcome(body, size) == ["1.2.3.1.0", "1.2.3.1.1", "1.2.3.1.2"]


@given(st.data())
def test_no_other_bytes_do_anything_else_than_list_or_not(data: st.DataObject) -> None:
    whole = json.dumps(ENTRIES).encode()
    at = data.draw(st.integers(0, len(whole)))
    body = whole[:at] + data.draw(st.binary(max_size=5)) + whole[at + data.draw(st.integers(0, 5)) :]

    outcome(body, data.draw(st.integers(1, 50)))
