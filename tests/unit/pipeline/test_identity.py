"""Which photographs are one study, and how the EHR knows what they refer to."""

from __future__ import annotations

from typing import Any

import pytest

from fundus_relay.domain.geometry import Size
from fundus_relay.domain.values import Entry, StoredPicture
from fundus_relay.pipeline.identity import Known, at_ehr, criterion, id_at_ehr, points_to, study_key

PICTURE = StoredPicture("a" * 64, "image/jpeg", 1000, Size(1280, 1024))
OTHER_PICTURE = StoredPicture("b" * 64, "image/jpeg", 1000, Size(1280, 1024))
PATIENT = {"reference": "Patient/1"}


def key(media: dict[str, Any], picture: StoredPicture = PICTURE, patient: dict[str, Any] = PATIENT) -> str:
    return study_key(media, picture, patient, {})


def test_photographs_of_one_order_are_one_study() -> None:
    order = {"basedOn": [{"reference": "ServiceRequest/7"}]}

    assert key(order) == key(order, OTHER_PICTURE)


def test_photographs_of_one_order_but_two_patients_are_two_studies() -> None:
    order = {"basedOn": [{"reference": "ServiceRequest/7"}]}

    assert key(order) != key(order, patient={"reference": "Patient/2"})


def test_an_imaging_study_counts_before_the_order_and_the_order_before_the_encounter() -> None:
    full = {
        "partOf": [{"reference": "ImagingStudy/5"}],
        "basedOn": [{"reference": "ServiceRequest/7"}],
        "encounter": {"reference": "Encounter/3"},
    }

    assert key(full) == key({"partOf": full["partOf"]})
    assert key({**full, "partOf": []}) == key({"basedOn": full["basedOn"]})
    assert key({"encounter": full["encounter"]}) != key({"basedOn": full["basedOn"]})


def test_a_media_that_stands_alone_is_known_by_its_pixels() -> None:
    assert key({}) == key({"note": [{"text": "another try"}]})
    assert key({}) != key({}, OTHER_PICTURE)


def test_a_part_of_something_else_than_a_study_groups_nothing() -> None:
    assert key({"partOf": [{"reference": "Procedure/1"}]}) == key({})


def test_the_key_tells_nothing_of_the_patient() -> None:
    assert "Patient" not in key({}) and len(key({})) == 64


def test_a_literal_reference_is_the_ehrs_own() -> None:
    assert at_ehr({"reference": "Patient/1", "display": "x"}, {}) == {"reference": "Patient/1", "display": "x"}


def test_a_patient_that_came_with_an_identifier_is_named_by_it() -> None:
    known = {
        "urn:uuid:1": Known({"resourceType": "Patient", "identifier": [{"system": "urn:s", "value": "1|2"}]}, None)
    }

    assert at_ehr({"reference": "urn:uuid:1"}, known) == {"reference": "Patient?identifier=urn%3As%7C1%5C%7C2"}


def test_a_patient_without_any_name_is_unknown_to_the_ehr() -> None:
    assert at_ehr({"reference": "urn:uuid:1"}, {"urn:uuid:1": Known({"resourceType": "Patient"}, None)}) is None


def test_what_was_put_keeps_the_ehrs_id() -> None:
    put = Entry({"resourceType": "Patient", "id": "p1"}, method="PUT", full_url="urn:uuid:1")

    assert id_at_ehr(put) == "Patient/p1"


def test_a_full_url_at_some_other_server_tells_nothing_of_the_ehr() -> None:
    post = Entry({"resourceType": "Patient"}, full_url="https://elsewhere.test/fhir/Patient/p9")

    assert id_at_ehr(post) is None


def test_a_full_url_at_the_ehr_is_its_id() -> None:
    post = Entry({"resourceType": "Patient"}, full_url="Patient/p9")

    assert id_at_ehr(post) == "Patient/p9"


def test_an_id_that_we_gave_is_none_of_the_ehrs() -> None:
    assert id_at_ehr(Entry({"resourceType": "Patient", "id": "relay-1"}, method="PUT")) is None


@pytest.mark.parametrize("literal", ["ImagingStudy/5", "https://ehr.test/fhir/ImagingStudy/5"])
def test_the_type_of_a_reference_is_read_from_its_url(literal: str) -> None:
    assert points_to({"reference": literal}, "ImagingStudy", {})
    assert not points_to({"reference": literal}, "Study", {})


@pytest.mark.parametrize(
    ("value", "written"),
    [("a b", "a%20b"), ("a+b", "a%2Bb"), ("a&b", "a%26b"), ("a,b", "a%5C%2Cb"), ("a$b", "a%5C%24b"), ("ü", "%C3%BC")],
)
def test_odd_identifiers_are_escaped_for_fhir_and_for_the_url(value: str, written: str) -> None:
    assert criterion({"value": value}) == written
