from __future__ import annotations

import pytest

from fundus_relay.fhir.literals import Bases

BASES = Bases(ours=("https://relay.test/fhir",), ehr=("https://ehr.test:8443/r4/", "http://ehr.internal/r4"))


@pytest.mark.parametrize(
    "literal",
    [
        "Patient/T",
        "Patient/T/_history/3",
        "https://ehr.test:8443/r4/Patient/T",
        "https://EHR.test:8443/r4/Patient/T/_history/1",
        "http://ehr.internal/r4/Patient/T",
        "https://ehr.internal:443/r4/Patient/T",
        "https://relay.test/fhir/Patient/T",
    ],
)
def test_every_spelling_of_a_patient_is_one(literal: str) -> None:
    assert BASES.applied({"subject": {"reference": literal}}) == {"subject": {"reference": "Patient/T"}}


@pytest.mark.parametrize(
    "literal",
    [
        "https://other.test/r4/Patient/T",
        "https://ehr.test:9443/r4/Patient/T",
        "https://ehr.test:8443/R4/Patient/T",
        "https://ehr.test:8443/r4/deeper/Patient/T",
        "urn:uuid:5a3f",
        "#cam",
        "Patient",
        "",
    ],
)
def test_what_we_cannot_place_stays_as_it_was_sent(literal: str) -> None:
    assert BASES.applied([{"reference": literal}]) == [{"reference": literal}]


@pytest.mark.parametrize(
    "literal",
    [
        "Patient?identifier=urn:mrn|a%20b",
        "Patient?identifier=urn%3Amrn%7Ca%20b",
        "http://ehr.internal/r4/Patient?identifier=urn:mrn%7Ca+b",
    ],
)
def test_every_spelling_of_a_condition_is_one(literal: str) -> None:
    assert BASES.applied({"reference": literal}) == {"reference": "Patient?identifier=urn%3Amrn%7Ca%20b"}


def test_only_a_url_of_the_ehr_is_at_the_ehr() -> None:
    assert BASES.at_ehr("http://ehr.internal/r4/Patient/T") == "Patient/T"
    assert BASES.at_ehr("https://relay.test/fhir/Patient/T") == "https://relay.test/fhir/Patient/T"
