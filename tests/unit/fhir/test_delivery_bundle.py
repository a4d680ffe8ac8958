"""How a report revision becomes one transaction."""

from __future__ import annotations

import json
from importlib import import_module
from urllib.parse import parse_qsl, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.golden.stories import STORIES
from tests.unit.fhir.test_report import references_in

from fundus_relay.domain.values import Json
from fundus_relay.fhir.delivery_bundle import delivery_bundle, identifier_of, is_withdrawn, token_of
from fundus_relay.fhir.pages import is_overlay
from fundus_relay.pipeline.identity import criterion

BASE = "https://ehr.example/fhir"
TOLD = STORIES["right-referable-left-ungradable"].linked()
REPORT = f"DiagnosticReport/{TOLD[0]['id']}"


def held(resource: Json, id: str = "e7", version: str = "3") -> Json:
    """As the EHR holds it."""
    return {**resource, "id": id, "meta": {"versionId": version}}


def entry_of(bundle: Json, kind: str) -> Json:
    return next(each for each in bundle["entry"] if each["resource"]["resourceType"] == kind)


@pytest.mark.parametrize("name", STORIES)
def test_every_story_is_a_transaction_whose_inner_references_are_resolved(name: str) -> None:
    resources = STORIES[name].linked()

    bundle = delivery_bundle(resources, {}, [], BASE)

    import_module("fhir.resources.R4B.bundle").Bundle.model_validate(bundle)
    urls = [each["fullUrl"] for each in bundle["entry"]]
    assert len(set(urls)) == len(urls) == len(resources)
    assert {each for each in references_in(bundle) if each.startswith("urn:")} <= set(urls)
    own = {f"{each['resourceType']}/{each['id']}" for each in resources}
    assert not own & set(references_in(bundle))


def test_what_is_new_is_created_under_its_identifier() -> None:
    request = entry_of(delivery_bundle(TOLD, {}, [], BASE), "DiagnosticReport")["request"]

    assert (request["method"], request["url"]) == ("POST", "DiagnosticReport")
    ((name, token),) = parse_qsl(request["ifNoneExist"])
    assert (name, token) == ("identifier", token_of(TOLD[0]))


def test_what_is_known_is_updated_as_the_version_that_was_seen() -> None:
    entry = entry_of(delivery_bundle(TOLD, {REPORT: held(TOLD[0])}, [], BASE), "DiagnosticReport")

    assert entry["request"] == {"method": "PUT", "url": "DiagnosticReport/e7", "ifMatch": 'W/"3"'}
    assert entry["resource"]["id"] == "e7"


def test_a_provenance_is_put_where_its_revision_says() -> None:
    request = entry_of(delivery_bundle(TOLD, {}, [], BASE), "Provenance")["request"]

    assert request == {"method": "PUT", "url": f"Provenance/{TOLD[-1]['id']}"}


def test_a_known_device_is_referred_to_and_not_written() -> None:
    device = next(each for each in TOLD if each["resourceType"] == "Device")

    bundle = delivery_bundle(TOLD, {f"Device/{device['id']}": held(device, "d1")}, [], BASE)

    observation = entry_of(bundle, "Observation")["resource"]
    assert observation["device"] == {"reference": "Device/d1"}
    assert len([each for each in bundle["entry"] if each["resource"]["resourceType"] == "Device"]) == 1


def test_what_is_left_alone_is_referred_to_and_not_written() -> None:
    overlay = next(each for each in TOLD if is_overlay(each))
    name = f"Media/{overlay['id']}"

    bundle = delivery_bundle(TOLD, {name: held(overlay, "m1")}, [], BASE, {name})

    links = [each["link"]["reference"] for each in entry_of(bundle, "DiagnosticReport")["resource"]["media"]]
    assert links.count("Media/m1") == 1
    assert len(bundle["entry"]) == len(TOLD) - 1
    assert not [each for each in bundle["entry"] if each["request"]["url"] == "Media/m1"]


def test_what_is_withdrawn_is_marked_as_an_error_and_nothing_else_is() -> None:
    gone = held(TOLD[1])

    bundle = delivery_bundle(TOLD, {}, [gone], BASE)

    marked = [each for each in bundle["entry"] if each["resource"].get("status") == "entered-in-error"]
    assert [each["request"] for each in marked] == [
        {"method": "PUT", "url": "Observation/e7", "ifMatch": 'W/"3"'},
    ]
    assert is_withdrawn(marked[0]["resource"])
    assert not is_withdrawn({**gone, "status": "entered-in-error"})


def test_the_same_revision_is_the_same_transaction() -> None:
    assert delivery_bundle(TOLD, {}, [], BASE) == delivery_bundle(TOLD, {}, [], BASE)


def test_what_was_given_stays_as_it_was() -> None:
    before = json.dumps(TOLD)

    delivery_bundle(TOLD, {REPORT: held(TOLD[0])}, [held(TOLD[1])], BASE)

    assert json.dumps(TOLD) == before


@given(st.text(min_size=1), st.text(min_size=1))
def test_no_value_can_leave_its_condition(system: str, value: str) -> None:
    odd = {"resourceType": "Device", "id": "1", "identifier": [{"system": system, "value": value}]}

    criteria = delivery_bundle([odd], {}, [], BASE)["entry"][0]["request"]["ifNoneExist"]

    name, _, token = criteria.partition("=")
    assert (name, unquote(token)) == ("identifier", token_of(odd))
    assert not set("&#?, |+") & set(token)


@pytest.mark.parametrize(
    "identifier",
    [{"value": "1"}, {"system": "urn:s", "value": "1"}, {"system": "urn:a|b", "value": "c|d,e$f\\g ü&+"}],
)
def test_an_identifier_is_read_back_from_its_search_value(identifier: Json) -> None:
    assert identifier_of(criterion(identifier)) == identifier
