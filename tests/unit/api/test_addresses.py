"""What URLs say."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from fundus_relay.api.addresses import base_url, query_of
from fundus_relay.api.errors import MalformedRequest


def a_request(query: bytes) -> Request:
    return Request(
        {"type": "http", "scheme": "https", "path": "/fhir/Media", "headers": [(b"host", b"x")], "query_string": query}
    )


def test_a_query_that_its_sender_did_not_escape_is_understood() -> None:
    assert query_of(a_request("identifier=é".encode())) == "identifier=é"


def test_a_query_that_is_no_text_is_refused_and_does_not_matter_to_the_base() -> None:
    request = a_request(b"identifier=\xff")

    assert base_url(request, None) == "https://x/fhir"
    with pytest.raises(MalformedRequest):
        query_of(request)
