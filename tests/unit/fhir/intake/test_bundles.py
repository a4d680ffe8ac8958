"""Every rule that a Bundle may break names the element that broke it."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.fhir.intake.defects import LEAVE_OUT
from tests.unit.fhir.intake.sent import (
    ORDER,
    P1,
    P2,
    SITE,
    TWICE,
    Json,
    a_bundle,
    a_media,
    a_patient,
    about,
    an_entry,
    an_order,
    refusals,
    taken,
)

from fundus_relay.domain.errors import InvalidResource
from fundus_relay.fhir.intake.submission import captured, laterality, read_submission


@pytest.mark.parametrize(
    ("bundle", "element", "code"),
    [
        (a_bundle(type="collection"), "Bundle.type", "bundle-type"),
        (a_bundle(type="nonsense"), "Bundle.type", "code-unknown"),
        ({"resourceType": "Bundle"}, "Bundle.type", "element-missing"),
        ({**a_bundle(), "entry": 5}, "Bundle.entry", "shape-wrong"),
        (a_bundle(7), "Bundle.entry[0]", "shape-wrong"),
        (a_bundle(an_entry(a_media(), request=LEAVE_OUT)), "Bundle.entry[0].request", "element-missing"),
        (a_bundle(an_entry(a_media(), request={"method": "POST"})), "Bundle.entry[0].request.url", "element-missing"),
        (
            a_bundle(an_entry(a_media(), request={"method": "SEND", "url": "Media"})),
            "Bundle.entry[0].request.method",
            "code-unknown",
        ),
        (
            a_bundle(an_entry(a_media(), request={"method": "DELETE", "url": "Media/1"})),
            "Bundle.entry[0].request.method",
            "method-not-supported",
        ),
        (a_bundle({"request": {"method": "GET", "url": "Media"}}), "Bundle.entry[0].resource", "element-missing"),
        (a_bundle(an_entry({})), "Bundle.entry[0].resource", "not-fhir"),
        (a_bundle({**an_entry(a_media()), "resource": [1]}), "Bundle.entry[0].resource", "not-fhir"),
        (a_bundle(an_entry(a_media(), search={"mode": "match"})), "Bundle.entry[0].search", "element-unknown"),
        (a_bundle(an_entry(a_media(), x=1)), "Bundle.entry[0].x", "element-unknown"),
        (
            a_bundle(an_entry(a_media(), request={"method": "POST", "url": "Patient"})),
            "Bundle.entry[0].request.url",
            "url-mismatch",
        ),
        (
            a_bundle(an_entry(a_media(), request={"method": "POST", "url": "Media?identifier=1"})),
            "Bundle.entry[0].request.url",
            "url-mismatch",
        ),
        (
            a_bundle(an_entry(a_media(id="m"), request={"method": "PUT", "url": "Media"})),
            "Bundle.entry[0].request.url",
            "url-mismatch",
        ),
        (
            a_bundle(an_entry(a_media(id="m"), request={"method": "PUT", "url": "Media?identifier=1"})),
            "Bundle.entry[0].request.url",
            "condition-not-supported",
        ),
        (
            a_bundle(an_entry(a_media(id="m"), request={"method": "PUT", "url": "Media/n"})),
            "Bundle.entry[0].resource.id",
            "id-mismatch",
        ),
        (
            a_bundle(an_entry(a_media(), request={"method": "PUT", "url": "Media/n"})),
            "Bundle.entry[0].resource.id",
            "id-mismatch",
        ),
        (
            a_bundle(an_entry(a_media(), request={"method": "POST", "url": "Media", "ifMatch": 'W/"1"'})),
            "Bundle.entry[0].request.ifMatch",
            "value-invalid",
        ),
        (
            a_bundle(an_entry(a_media(id="m"), request={"method": "PUT", "url": "Media/m", "ifMatch": "old"})),
            "Bundle.entry[0].request.ifMatch",
            "value-invalid",
        ),
        (
            a_bundle(an_entry(a_media(id="m"), request={"method": "PUT", "url": "Media/m", "ifNoneExist": "a=b"})),
            "Bundle.entry[0].request.ifNoneExist",
            "value-invalid",
        ),
        (
            a_bundle(an_entry(a_media(), request={"method": "POST", "url": "Media", "ifNoneMatch": "*"})),
            "Bundle.entry[0].request.ifNoneMatch",
            "condition-not-supported",
        ),
        (a_bundle(an_entry(a_media(), fullUrl="Media/1")), "Bundle.entry[0].fullUrl", "value-invalid"),
        (
            a_bundle(an_entry(a_patient(), fullUrl=P1), an_entry(an_order(**about(P1)), fullUrl=P1)),
            "Bundle.entry[1].fullUrl",
            "entry-twice",
        ),
        (
            a_bundle(an_entry(a_media(id="m"), put=True), an_entry(a_media(id="m"), put=True)),
            "Bundle.entry[1].request.url",
            "entry-twice",
        ),
        (
            a_bundle(an_entry({"resourceType": "Observation"})),
            "Bundle.entry[0].resource.resourceType",
            "type-not-supported",
        ),
        (a_bundle(an_entry(a_media(status="stopped"))), "Bundle.entry[0].resource.status", "media-not-completed"),
        (
            a_bundle(an_entry(a_media(content={"data": ""}))),
            "Bundle.entry[0].resource.content.contentType",
            "element-missing",
        ),
        (
            a_bundle(an_entry(a_media(**about(P1)))),
            "Bundle.entry[0].resource.subject.reference",
            "reference-unresolved",
        ),
        (
            a_bundle(an_entry(a_media(**about(ORDER))), an_entry(an_order(), fullUrl=ORDER)),
            "Bundle.entry[0].resource.subject",
            "reference-type",
        ),
        (
            a_bundle(an_entry(a_media(identifier=TWICE[:1])), an_entry(a_media(identifier=TWICE[:1]))),
            "Bundle.entry[1].resource.identifier[0]",
            "identifier-twice",
        ),
        (
            a_bundle(an_entry({"resourceType": "Patient", "gender": "male"}, fullUrl=P1)),
            "Bundle.entry[0].resource.identifier",
            "patient-unnamed",
        ),
        (
            a_bundle(an_entry(a_patient(), fullUrl=P1), an_entry(a_media())),
            "Bundle.entry[1].resource.subject",
            "patient-mismatch",
        ),
        (
            a_bundle(an_entry(a_patient(), fullUrl=P1), an_entry(an_order())),
            "Bundle.entry[1].resource.subject",
            "patient-mismatch",
        ),
        (
            a_bundle(
                an_entry(a_patient(), fullUrl=P1),
                an_entry({"resourceType": "Device", "patient": {"reference": "Patient/p1"}}),
            ),
            "Bundle.entry[1].resource.patient",
            "patient-mismatch",
        ),
        (
            a_bundle(
                an_entry(an_order(), fullUrl=ORDER),
                an_entry(a_media(basedOn=[{"reference": ORDER}], subject={"reference": "Patient/p2"})),
            ),
            "Bundle.entry[1].resource.subject",
            "patient-mismatch",
        ),
        (
            a_bundle(
                an_entry(a_media(partOf=[{"reference": "ImagingStudy/s"}])),
                an_entry(a_media(partOf=[{"reference": "ImagingStudy/s"}], subject={"reference": "Patient/p2"})),
            ),
            "Bundle.entry[1].resource.subject",
            "patient-mismatch",
        ),
        (
            a_bundle(
                an_entry(a_media(encounter={"reference": "Encounter/e"})),
                an_entry(a_media(encounter={"reference": "Encounter/e"}, subject={"reference": "Patient/p2"})),
            ),
            "Bundle.entry[1].resource.subject",
            "patient-mismatch",
        ),
        (
            a_bundle(
                an_entry(a_media(basedOn=[{"reference": ORDER}])), an_entry(an_order(status="revoked"), fullUrl=ORDER)
            ),
            "Bundle.entry[0].resource.basedOn[0]",
            "order-void",
        ),
        (
            a_bundle(
                an_entry(a_patient(identifier=[{"system": "urn:mrn", "value": "1"}]), fullUrl=P1),
                an_entry(a_media(subject={"identifier": {"system": "urn:mrn", "value": "2"}})),
            ),
            "Bundle.entry[1].resource.subject",
            "patient-mismatch",
        ),
        (
            a_bundle(
                an_entry(a_patient(), fullUrl="http://other.test/fhir/Patient/p1"),
                an_entry(a_media(subject={"reference": "http://third.test/fhir/Patient/p1"})),
            ),
            "Bundle.entry[1].resource.subject.reference",
            "reference-foreign",
        ),
        (
            a_bundle(
                an_entry({"resourceType": "Patient"}, fullUrl="http://other.test/fhir/Patient/p1"),
                an_entry(a_media(subject={"reference": "http://other.test/fhir/Patient/p1"})),
            ),
            "Bundle.entry[0].resource.identifier",
            "patient-unnamed",
        ),
    ],
)
def test_a_bundle_that_breaks_a_rule_is_refused_at_its_element(bundle: Json, element: str, code: str) -> None:
    assert (element, code) in refusals(bundle)


@pytest.mark.parametrize(
    "bundle",
    [
        a_bundle(an_entry(a_media()), type="batch"),
        {"resourceType": "Bundle", "type": "transaction"},
        a_bundle(an_entry(a_patient(id="p1")), an_entry(a_media())),
        a_bundle(an_entry(a_patient(id="p1"), put=True), an_entry(a_media())),
        a_bundle(an_entry(a_patient(), fullUrl=P1), an_entry(a_media(**about(P1)))),
        a_bundle(an_entry(a_patient(), fullUrl="http://ehr.test/fhir/Patient/p1"), an_entry(a_media())),
        a_bundle(
            an_entry(a_patient(), fullUrl=P1),
            an_entry(a_media(subject={"identifier": {"system": "urn:mrn", "value": "1"}})),
        ),
        a_bundle(
            an_entry(a_patient(), fullUrl=P1),
            an_entry(a_patient(identifier=[{"value": "2"}]), fullUrl=P2),
            an_entry(a_media(**about(P1))),
            an_entry(a_media(**about(P2))),
        ),
        a_bundle(
            an_entry(an_order(), fullUrl=ORDER),
            an_entry(a_media(basedOn=[{"reference": ORDER}])),
            an_entry(a_media(basedOn=[{"reference": ORDER}])),
        ),
        a_bundle(
            an_entry(a_patient(), fullUrl="http://other.test/fhir/Patient/p1"),
            an_entry(a_media(subject={"reference": "http://other.test/fhir/Patient/p1"})),
        ),
        a_bundle(an_entry(a_patient(), fullUrl="http://other.test/fhir/Patient/p1"), an_entry(a_media())),
        a_bundle(an_entry(a_media(), request={"method": "POST", "url": "/Media/"})),
        a_bundle(an_entry(an_order(identifier=TWICE[:1])), an_entry(a_media(identifier=TWICE[:1]))),
    ],
)
def test_a_bundle_that_breaks_none_is_taken(bundle: Json) -> None:
    assert len(taken(bundle, "Bundle").entries) == len(bundle.get("entry", []))


def test_an_entry_keeps_what_it_asks_for() -> None:
    conditional = an_entry(
        a_patient(),
        fullUrl=P1,
        request={"method": "POST", "url": "Patient", "ifNoneExist": "Patient?identifier=urn:mrn|1"},
    )
    guarded = an_entry(a_media(id="m", **about(P1)), request={"method": "PUT", "url": "Media/m", "ifMatch": 'W/"3"'})

    submitted = taken(a_bundle(conditional, guarded))

    first, second = submitted.entries
    assert submitted.bundle == "transaction"
    assert (first.method, first.if_none_exist, first.full_url) == ("POST", "identifier=urn:mrn|1", P1)
    assert (second.method, second.if_match, second.element) == ("PUT", 3, "Bundle.entry[1].resource")


WHOLE = a_bundle(
    an_entry(a_patient(name=[{"family": "Roe", "given": ["Jane"]}]), fullUrl=P1),
    an_entry(an_order(**about(P1)), fullUrl=ORDER),
    an_entry(
        a_media(
            **about(P1),
            id="m",
            basedOn=[{"reference": ORDER}],
            bodySite=SITE,
            createdPeriod={"start": "2024"},
            contained=[{"resourceType": "Device", "id": "cam"}],
            device={"reference": "#cam"},
        ),
        request={"method": "PUT", "url": "Media/m", "ifMatch": 'W/"1"'},
    ),
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.sampled_from(["", "x", "#", "Media/m"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["url", "x", "id"]), inner, max_size=2),
    max_leaves=4,
)


def places(part: Any) -> list[tuple[Any, Any]]:
    """Every container of a document with each of its keys."""
    keys = list(part) if isinstance(part, dict) else range(len(part)) if isinstance(part, list) else ()
    return [place for key in keys for place in [(part, key), *places(part[key])]]


@given(st.integers(0, len(places(WHOLE)) - 1), ANYTHING | st.just(LEAVE_OUT))
@settings(max_examples=600, deadline=None)
def test_whatever_stands_anywhere_is_refused_in_our_words_or_taken(number: int, value: Any) -> None:
    document = deepcopy(WHOLE)
    container, key = places(document)[number]
    if value is LEAVE_OUT:
        del container[key]
    else:
        container[key] = value

    try:
        submitted = read_submission(document) if isinstance(document.get("resourceType"), str) else None
    except InvalidResource as why:
        assert all(issue.text and "Roe" not in issue.text for issue in why.issues)
    else:
        for entry in submitted.entries if submitted else ():
            laterality(entry.resource)
            captured(entry.resource)
