"""Headers as callers really send them."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from fundus_relay.api.negotiation import Prefer, prefer, takes_json, takes_picture, version_named

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
MEDPLUM = "application/fhir+json, */*; q=0.1"


def a_request(query: str = "", **headers: str) -> Request:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "GET", "path": "/", "query_string": query.encode(), "headers": raw})


@pytest.mark.parametrize(
    ("accept", "is_json"),
    [
        (BROWSER, True),
        (MEDPLUM, True),
        ("application/json", True),
        ("Application/FHIR+JSON;charset=utf-8", True),
        ("application/fhir+json; fhirVersion=4.0", True),
        ("application/fhir+json; fhirVersion=5.0", False),
        ("application/fhir+xml", False),
        ("application/fhir+xml, application/fhir+json;q=0.000", False),
        ("image/*", False),
        (" , ", True),
    ],
)
def test_json_is_taken_or_not(accept: str, is_json: bool) -> None:
    assert takes_json(a_request(accept=accept)) is is_json


@pytest.mark.parametrize(
    ("accept", "query", "is_picture"),
    [
        ("*/*", "", True),
        ("image/*", "", True),
        (BROWSER, "", True),
        ("application/octet-stream", "", True),
        ("application/fhir+json", "", False),
        (MEDPLUM, "", False),
        ("*/*", "_format=json", False),
        ("application/fhir+json", "_format=image/jpeg", True),
    ],
)
def test_a_binary_is_bytes_unless_fhir_is_asked_for(accept: str, query: str, is_picture: bool) -> None:
    assert takes_picture(a_request(query, accept=accept)) is is_picture


@pytest.mark.parametrize(
    ("header", "understood"),
    [
        ("", Prefer()),
        ("return=minimal", Prefer("minimal")),
        ('return="representation"; foo, respond-async, wait=10', Prefer("representation", is_async=True)),
        ("Return=OperationOutcome,handling=lenient", Prefer("OperationOutcome", is_lenient=True)),
        ("return=minimal, return=representation", Prefer("minimal")),
        ("return=everything, handling=strict", Prefer()),
    ],
)
def test_preferences_are_understood_in_any_order(header: str, understood: Prefer) -> None:
    assert prefer(a_request(prefer=header)) == understood


@pytest.mark.parametrize(
    ("tag", "version"),
    [('W/"3"', 3), ('"3"', 3), ("3", 3), ("*", None), ('W/"x"', None), ("", None), (None, None), ("9" * 30, None)],
)
def test_versions_are_read_from_tags(tag: str | None, version: int | None) -> None:
    assert version_named(tag) == version
