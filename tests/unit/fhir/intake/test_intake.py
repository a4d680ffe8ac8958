"""Every rule that a resource may break names the element that broke it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundus_relay.domain.errors import InvalidResource
from fundus_relay.domain.laterality import Laterality
from fundus_relay.domain.values import Submitted
from fundus_relay.fhir.intake.bundle import MAX_ENTRIES
from fundus_relay.fhir.intake.parsing import GATHERED
from fundus_relay.fhir.intake.submission import captured, laterality, read_submission
from fundus_relay.fhir.literals import Bases
from fundus_relay.fhir.names import SNOMED

Json = dict[str, Any]
LEAVE_OUT = object()


def a_media(**elements: Any) -> Json:
    media = {
        "resourceType": "Media",
        "status": "completed",
        "subject": {"reference": "Patient/p1"},
        "content": {"contentType": "image/jpeg", "data": ""},
        **elements,
    }
    return {key: value for key, value in media.items() if value is not LEAVE_OUT}


def a_patient(**elements: Any) -> Json:
    return {"resourceType": "Patient", "identifier": [{"system": "urn:mrn", "value": "1"}], **elements}


def an_order(**elements: Any) -> Json:
    return {
        "resourceType": "ServiceRequest",
        "status": "active",
        "intent": "order",
        "subject": {"reference": "Patient/p1"},
        **elements,
    }


def an_entry(resource: Json, *, put: bool = False, **elements: Any) -> Json:
    kind = resource.get("resourceType", "")
    request = {"method": "PUT", "url": f"{kind}/{resource.get('id')}"} if put else {"method": "POST", "url": kind}
    entry = {"resource": resource, "request": request, **elements}
    return {key: value for key, value in entry.items() if value is not LEAVE_OUT}


def a_bundle(*entries: Any, **elements: Any) -> Json:
    return {"resourceType": "Bundle", "type": "transaction", "entry": list(entries), **elements}


def refusals(document: Json, expected: str | None = None) -> list[tuple[str, str]]:
    with pytest.raises(InvalidResource) as caught:
        read_submission(document, expected, BASES)
    return [(issue.element, issue.code) for issue in caught.value.issues]


def taken(document: Json, expected: str | None = None) -> Submitted:
    return read_submission(document, expected, BASES)


SITE = {"coding": [{"system": SNOMED, "code": "362502000"}]}
BOTH = {"coding": [*SITE["coding"], {"system": SNOMED, "code": "362503005"}]}
BASES = Bases(ours=("http://relay.test/fhir",), ehr=("http://ehr.test/fhir",))
UNKNOWN = [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}]
TWICE = [{"system": "urn:s", "value": "1"}, {"system": "urn:s", "value": "1"}]


@pytest.mark.parametrize(
    ("elements", "element", "code"),
    [
        ({"status": LEAVE_OUT}, "Media.status", "element-missing"),
        ({"status": "current"}, "Media.status", "code-unknown"),
        ({"status": "preparation"}, "Media.status", "media-not-completed"),
        ({"status": "in-progress"}, "Media.status", "media-not-completed"),
        ({"status": "not-done"}, "Media.status", "media-not-completed"),
        ({"status": "on-hold"}, "Media.status", "media-not-completed"),
        ({"status": "stopped"}, "Media.status", "media-not-completed"),
        ({"status": "unknown"}, "Media.status", "media-not-completed"),
        ({"status": None}, "Media.status", "value-invalid"),
        ({"status": LEAVE_OUT, "_status": {"extension": UNKNOWN}}, "Media.status", "media-not-completed"),
        ({"subject": LEAVE_OUT}, "Media.subject", "element-missing"),
        ({"subject": {"display": "somebody"}}, "Media.subject", "element-missing"),
        ({"subject": {"identifier": {"system": "urn:mrn"}}}, "Media.subject", "element-missing"),
        ({"subject": {"reference": "Group/g1"}}, "Media.subject", "reference-type"),
        ({"subject": {"reference": "http://ehr.test/fhir/Device/d1"}}, "Media.subject", "reference-type"),
        (
            {"subject": {"reference": "http://other.test/fhir/Patient/1"}},
            "Media.subject.reference",
            "reference-foreign",
        ),
        (
            {"partOf": [{"reference": "http://other.test/fhir/ImagingStudy/1"}]},
            "Media.partOf[0].reference",
            "reference-foreign",
        ),
        ({"subject": {"type": "Practitioner", "identifier": {"value": "1"}}}, "Media.subject", "reference-type"),
        ({"subject": {"reference": "Banana/1"}}, "Media.subject.reference", "value-invalid"),
        ({"subject": {"reference": "Patient"}}, "Media.subject.reference", "value-invalid"),
        ({"subject": {"reference": "Patient/a b"}}, "Media.subject.reference", "value-invalid"),
        ({"subject": {"reference": "Patient/1", "type": "Device"}}, "Media.subject.type", "reference-type"),
        ({"subject": {"reference": "urn:uuid:nobody"}}, "Media.subject.reference", "reference-unresolved"),
        ({"subject": {"reference": "#nobody"}}, "Media.subject", "patient-contained"),
        (
            {"subject": {"reference": "#p"}, "contained": [{"resourceType": "Patient", "id": "p"}]},
            "Media.subject",
            "patient-contained",
        ),
        ({"subject": '{"reference": "Patient/1"}'}, "Media.subject", "shape-wrong"),
        ({"content": LEAVE_OUT}, "Media.content", "element-missing"),
        ({"content": None}, "Media.content", "shape-wrong"),
        ({"content": []}, "Media.content", "shape-wrong"),
        ({"content": {}}, "Media.content", "element-empty"),
        ({"content": {"contentType": "image/png"}}, "Media.content", "picture-missing"),
        ({"content": {"data": ""}}, "Media.content.contentType", "element-missing"),
        ({"content": {"url": "http://x.test/1"}}, "Media.content.contentType", "element-missing"),
        ({"content": {"contentType": "image/webp", "data": ""}}, "Media.content.contentType", "content-type"),
        (
            {"content": {"contentType": "image/png", "data": "", "url": "http://x.test/1"}},
            "Media.content.url",
            "picture-twice",
        ),
        ({"content": {"contentType": "image/png", "data": 5}}, "Media.content.data", "value-invalid"),
        ({"content": {"contentType": "image/png", "data": "", "size": -1}}, "Media.content.size", "value-invalid"),
        ({"content": {"contentType": "image/png", "data": "", "size": "3"}}, "Media.content.size", "value-invalid"),
        ({"width": 0}, "Media.width", "value-invalid"),
        ({"width": True}, "Media.width", "value-invalid"),
        ({"height": "1024"}, "Media.height", "value-invalid"),
        ({"colour": "red"}, "Media.colour", "element-unknown"),
        ({"fhir_comments": "x"}, "Media.(unknown)", "element-unknown"),
        ({"Jane Roe": 1}, "Media.(unknown)", "element-unknown"),
        ({"content": {"contentType": "image/png", "data": "", "alt": "x"}}, "Media.content.alt", "element-unknown"),
        ({"id": "a_b"}, "Media.id", "value-invalid"),
        ({"id": "x" * 65}, "Media.id", "value-invalid"),
        ({"identifier": []}, "Media.identifier", "element-empty"),
        ({"identifier": {"value": "1"}}, "Media.identifier", "shape-wrong"),
        ({"identifier": TWICE}, "Media.identifier[0]", "identifier-twice"),
        ({"createdDateTime": "yesterday"}, "Media.createdDateTime", "value-invalid"),
        ({"createdDateTime": "2024-13-01"}, "Media.createdDateTime", "value-invalid"),
        ({"createdDateTime": "2024-05-02T09:30:00"}, "Media.createdDateTime", "value-invalid"),
        ({"createdDateTime": "2024", "createdPeriod": {"start": "2024"}}, "Media", "choice-ambiguous"),
        ({"note": [{}]}, "Media.note[0]", "element-empty"),
        ({"note": [{"time": "2024"}]}, "Media.note[0].text", "element-missing"),
        ({"device": {"reference": "Patient/1"}}, "Media.device", "reference-type"),
        ({"encounter": {"reference": "Patient/1"}}, "Media.encounter", "reference-type"),
        ({"basedOn": [{"reference": "Observation/1"}]}, "Media.basedOn[0]", "reference-type"),
        ({"basedOn": [{"reference": "#x"}]}, "Media.basedOn[0].reference", "reference-unresolved"),
        ({"bodySite": BOTH}, "Media.bodySite", "laterality-conflict"),
        ({"bodySite": {**SITE, "text": "OS"}}, "Media.bodySite", "laterality-conflict"),
        (
            {"bodySite": {"coding": [{**SITE["coding"][0], "display": "Entire left eye"}]}},
            "Media.bodySite",
            "laterality-conflict",
        ),
        ({"extension": [{"url": "urn:x"}]}, "Media.extension[0]", "invariant"),
        (
            {"extension": [{"url": "u:x", "valueString": "a", "extension": [{"url": "y", "valueCode": "b"}]}]},
            "Media.extension[0]",
            "invariant",
        ),
        ({"modifierExtension": [{"url": "u:x", "valueCode": "a"}]}, "Media.modifierExtension", "modifier-unknown"),
        ({"implicitRules": "http://x.test"}, "Media.implicitRules", "modifier-unknown"),
        ({"contained": [{"resourceType": "Banana"}]}, "Media.contained[0].resourceType", "type-unknown"),
        ({"contained": [{}]}, "Media.contained[0].resourceType", "type-unknown"),
        (
            {"contained": [{"resourceType": "Patient", "id": "p", "contained": [{"resourceType": "Device"}]}]},
            "Media.contained[0].contained",
            "invariant",
        ),
        ({"contained": [{"resourceType": "Patient", "gender": "x"}]}, "Media.contained[0].gender", "code-unknown"),
    ],
)
def test_a_media_that_breaks_a_rule_is_refused_at_its_element(elements: Json, element: str, code: str) -> None:
    assert (element, code) in refusals(a_media(**elements))


def test_everything_that_is_wrong_is_said_at_once() -> None:
    media = a_media(status="stopped", subject=LEAVE_OUT, content={"contentType": "image/png"})

    assert len(refusals(media)) == 3


@pytest.mark.parametrize(
    "note", [{}, {"text": "a", "time": "noon"}, {"text": ["a"]}], ids=["empty", "of wrong form", "of wrong shape"]
)
def test_what_is_wrong_countless_times_is_not_looked_for_to_the_end(note: Json) -> None:
    assert len(refusals(a_media(note=[note] * 1000))) == GATHERED


@pytest.mark.parametrize(
    "elements",
    [
        {"subject": {"reference": "http://ehr.test/fhir/Patient/1/_history/2"}},
        {"subject": {"reference": "Patient?identifier=urn:mrn|1"}},
        {"content": {"contentType": "image/jpg; q=1", "data": ""}},
        {"content": {"contentType": "IMAGE/PNG", "url": "http://x.test/1"}},
        {"basedOn": [{"reference": "CarePlan/1"}], "partOf": [{"reference": "ImagingStudy/1"}]},
        {"deviceName": "x", "_deviceName": {"extension": UNKNOWN}},
        {"createdDateTime": "2024-05"},
        {"operator": {"reference": "http://other.test/fhir/Practitioner/1"}},
        {"identifier": [{"system": "urn:a", "value": "1"}, {"system": "urn:b", "value": "1"}]},
        {"contained": [{"resourceType": "Device", "id": "cam"}], "device": {"reference": "#cam"}},
    ],
)
def test_a_media_that_breaks_none_is_taken(elements: Json) -> None:
    assert taken(a_media(**elements), "Media").entries[0].element == "Media"


def test_the_mark_of_the_pixels_is_taken_away() -> None:
    (entry,) = taken(a_media()).entries

    assert entry.resource["content"] == {"contentType": "image/jpeg"}


def test_a_subject_known_by_identifier_alone_is_a_patient() -> None:
    (entry,) = taken(a_media(subject={"identifier": {"system": "urn:mrn", "value": "1"}})).entries

    assert entry.resource["subject"]["type"] == "Patient"


@pytest.mark.parametrize(
    ("document", "element", "code"),
    [
        ({"resourceType": "Banana"}, "resourceType", "not-fhir"),
        ({"resourceType": "Quantity"}, "resourceType", "not-fhir"),
        ({"resourceType": "Patient"}, "resourceType", "type-mismatch"),
    ],
)
def test_a_body_of_another_type_than_the_url_is_refused(document: Json, element: str, code: str) -> None:
    assert refusals(document, "Media") == [(element, code)]


def test_a_type_that_is_not_taken_is_refused() -> None:
    assert refusals({"resourceType": "Observation"}) == [("Observation.resourceType", "type-not-supported")]


@pytest.mark.parametrize(
    ("resource", "element"),
    [
        ({"resourceType": "Patient", "gender": "f"}, "Patient.gender"),
        ({"resourceType": "Device", "status": "on"}, "Device.status"),
        ({"resourceType": "Endpoint", "status": "up"}, "Endpoint.status"),
        (an_order(status="new"), "ServiceRequest.status"),
        (an_order(intent="wish"), "ServiceRequest.intent"),
        (an_order(priority="now"), "ServiceRequest.priority"),
        ({"resourceType": "ImagingStudy", "status": "final", "subject": {"display": "x"}}, "ImagingStudy.status"),
        ({"resourceType": "Encounter", "status": "done", "class": {"code": "AMB"}}, "Encounter.status"),
        ({"resourceType": "Practitioner", "gender": "x"}, "Practitioner.gender"),
        (a_patient(identifier=[{"use": "x", "value": "1"}]), "Patient.identifier[0].use"),
    ],
)
def test_codes_outside_a_required_value_set_are_refused(resource: Json, element: str) -> None:
    assert (element, "code-unknown") in refusals(resource)


@pytest.mark.parametrize("status", ["finished", "entered-in-error", "unknown"])
def test_every_status_of_an_encounter_is_known(status: str) -> None:
    assert taken({"resourceType": "Encounter", "status": status, "class": {"code": "AMB"}})


P1 = "urn:uuid:00000000-0000-0000-0000-000000000001"
P2 = "urn:uuid:00000000-0000-0000-0000-000000000002"
ORDER = "urn:uuid:00000000-0000-0000-0000-000000000003"


def about(who: str) -> Json:
    return {"subject": {"reference": who}}


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


def a_batch(*resources: Json) -> Json:
    """Each resource as `urn:uuid:0`, `urn:uuid:1` and so on."""
    entries = [an_entry(resource, fullUrl=f"urn:uuid:{at}") for at, resource in enumerate(resources)]
    return a_bundle(*entries, type="batch")


def an_organization(part_of: str | None = None, **elements: Any) -> Json:
    parent = {"partOf": {"reference": part_of}} if part_of else {}
    return {"resourceType": "Organization", "name": "Clinic", **parent, **elements}


def a_chain(length: int) -> list[Json]:
    """Organizations of which each is part of the next, and the last of none that came along."""
    return [an_organization(f"urn:uuid:{at + 1}") for at in range(length)]


def a_hub(length: int) -> Json:
    """A Media that names every link of a chain of orders, which fall one because of the other."""
    orders = [an_order(id=f"o{at}", basedOn=[{"reference": f"urn:uuid:{at + 1}"}]) for at in range(length)]
    orders[-1]["basedOn"] = [{"reference": "urn:uuid:none"}]
    return a_batch(*orders, a_media(basedOn=[{"reference": f"ServiceRequest/o{at}"} for at in range(length)]))


def codes(submitted: Submitted) -> dict[int, list[str]]:
    return {at: [issue.code for issue in why.issues] for at, why in submitted.refused.items()}


def test_an_entry_of_a_batch_falls_with_the_one_that_it_needs() -> None:
    submitted = taken(a_batch(*a_chain(30)))

    assert submitted.entries == ()
    assert codes(submitted) == {at: ["reference-unresolved"] for at in range(30)}


def test_an_entry_of_a_batch_stands_without_one_that_the_ehr_may_know_as_well() -> None:
    broken = an_entry(a_patient(id="p1", gender="x"), put=True)

    submitted = taken(a_bundle(broken, an_entry(a_media()), type="batch"))

    assert codes(submitted) == {0: ["code-unknown"]}
    assert [entry.resource["subject"]["reference"] for entry in submitted.entries] == ["Patient/p1"]


def test_an_entry_of_a_batch_falls_when_its_patient_does_and_others_are_there() -> None:
    lost = an_entry(a_patient(id="p1", managingOrganization={"reference": "urn:uuid:none"}), put=True)
    other = an_entry(a_patient(identifier=[{"value": "2"}]))

    submitted = taken(a_bundle(lost, other, an_entry(a_media()), type="batch"))

    assert codes(submitted) == {0: ["reference-unresolved"], 2: ["patient-mismatch"]}


def a_place(host: str, literal: str) -> str:
    return f"https://{host}.test/fhir/{literal}"


A, B = (an_entry(a_patient(identifier=[{"value": host}]), fullUrl=a_place(host, "Patient/p1")) for host in "ab")
PUT = an_entry(a_patient(id="p1", identifier=[{"value": "put"}]), put=True)
POST = an_entry(a_patient(id="p1", identifier=[{"value": "post"}]))


@pytest.mark.parametrize(
    ("others", "full_url", "said", "meant"),
    [
        ([A, B], a_place("a", "Media/m"), "Patient/p1", "Bundle.entry[0].resource"),
        ([A, B], a_place("b", "Media/m"), "Patient/p1", "Bundle.entry[1].resource"),
        ([A, PUT], a_place("a", "Media/m"), "Patient/p1", "Bundle.entry[0].resource"),
        ([A], a_place("c", "Media/m"), "Patient/p1", "reference-foreign"),
        ([], a_place("c", "Media/m"), "Patient/p1", "reference-foreign"),
        ([PUT], a_place("c", "Media/m"), "Patient/p1", "Bundle.entry[0].resource"),
        ([A, B], LEAVE_OUT, "Patient/p1", "reference-ambiguous"),
        ([A, PUT], LEAVE_OUT, "Patient/p1", "reference-ambiguous"),
        ([A, POST], P2, "Patient/p1", "reference-ambiguous"),
        ([A, B], LEAVE_OUT, a_place("b", "Patient/p1"), "Bundle.entry[1].resource"),
        ([POST], LEAVE_OUT, "Patient/p1", "Bundle.entry[0].resource"),
        ([PUT], P2, "Patient/p1/_history/2", "Bundle.entry[0].resource"),
        ([A], LEAVE_OUT, "Patient/p1", "Bundle.entry[0].resource"),
        ([], P2, "Patient/p1", "Patient/p1"),
        ([], a_place("relay", "Media/m"), "Patient/p1", "Patient/p1"),
        ([], a_place("ehr", "Media/m"), "Patient/p1", "Patient/p1"),
    ],
)
def test_a_reference_means_one_entry_or_none_and_is_linked_to_it(
    others: Sequence[Json], full_url: Any, said: str, meant: str
) -> None:
    bundle = a_bundle(*others, an_entry(a_media(subject={"reference": said}), fullUrl=full_url))

    if meant.startswith("reference-"):
        assert (f"Bundle.entry[{len(others)}].resource.subject.reference", meant) in refusals(bundle)
    else:
        assert taken(bundle).entries[-1].resource["subject"]["reference"] == meant


@pytest.mark.parametrize("other", [POST, A, an_entry(a_patient(), fullUrl=P1)], ids=["id", "url", "urn"])
def test_entries_of_a_batch_do_not_refer_to_each_other_but_by_what_the_ehr_knows(other: Json) -> None:
    said = P1 if other.get("fullUrl") == P1 else "Patient/p1"
    media = an_entry(a_media(subject={"reference": said}))

    refused = taken(a_bundle(other, media, type="batch"))
    known = taken(a_bundle(PUT, media, type="batch")) if said != P1 else None

    assert codes(refused)[1] == ["reference-unresolved", "patient-mismatch"][: len(codes(refused)[1])]
    assert known is None or known.entries[1].resource["subject"]["reference"] == said


@pytest.mark.parametrize(
    "who",
    [
        {"reference": "Patient/.."},
        {"reference": "Patient/."},
        {"reference": "Patient?name=Smith"},
        {"reference": "Patient?identifier="},
        {"reference": "Patient?identifier=urn:mrn|"},
        {"reference": "Patient?identifier=urn:mrn|1,urn:mrn|2"},
        {"reference": "Patient?_id=5&_id=6"},
        {"reference": "Patient?identifier=urn:mrn|1&active=true"},
    ],
    ids=str,
)
def test_a_patient_is_never_searched_for_but_by_one_identifier(who: Json) -> None:
    assert refusals(a_media(subject=who)) == [("Media.subject.reference", "value-invalid")]


def test_a_patient_may_be_searched_for_by_one_identifier() -> None:
    assert taken(a_media(subject={"reference": "Patient?identifier=urn:mrn|1"})).entries


def test_a_reference_and_its_identifier_must_be_of_one_patient() -> None:
    patient = an_entry(a_patient(identifier=[{"system": "urn:mrn", "value": "1"}]), fullUrl=P1)

    def a_visit_of(value: str) -> Json:
        subject = {"reference": P1, "identifier": {"system": "urn:mrn", "value": value}}
        return a_bundle(patient, an_entry(a_media(subject=subject)))

    assert taken(a_visit_of("1")).entries
    assert refusals(a_visit_of("2")) == [("Bundle.entry[1].resource.subject.identifier", "patient-mismatch")]


WHOM = st.sampled_from(["Patient/a", "Patient/b", "urn:uuid:0", "urn:uuid:1", "urn:uuid:none"])
WHAT = st.sampled_from(["ServiceRequest/a", "ServiceRequest/b", "urn:uuid:2", "urn:uuid:3", "urn:uuid:4"])
ID = st.sampled_from(["a", "b"])
IDENTIFIER = st.sampled_from(["1", "2"]).map(lambda value: [{"value": value}])
SUBJECT = WHOM.map(lambda who: {"reference": who}) | IDENTIFIER.map(lambda which: {"identifier": which[0]})
PATIENT = st.builds(a_patient, id=ID, identifier=IDENTIFIER, gender=st.sampled_from(["female", "x"]))
ORDER_OF = st.builds(
    lambda subject, id, based_on: an_order(subject=subject, id=id, basedOn=[{"reference": based_on}]),
    SUBJECT, ID, WHAT,
)  # fmt: skip
MEDIA_OF = st.builds(
    lambda subject, based_on: a_media(subject=subject, basedOn=[{"reference": each} for each in based_on]),
    SUBJECT, st.lists(WHAT, min_size=1, max_size=3),
)  # fmt: skip


@given(st.tuples(PATIENT, PATIENT, ORDER_OF, ORDER_OF, ORDER_OF, MEDIA_OF, MEDIA_OF))
@settings(max_examples=300, deadline=None)
def test_whatever_stands_of_a_batch_stands_also_alone(resources: Sequence[Json]) -> None:
    batch = a_batch(*resources, an_organization())
    refused = taken(batch).refused

    rest = [entry for at, entry in enumerate(batch["entry"]) if at not in refused]

    assert taken({**batch, "entry": rest}).refused == {}


def calls(work: Callable[[], object]) -> int:
    """How many functions are called."""
    count = 0

    def on_event(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(on_event)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize(
    "a_body",
    [
        lambda length: a_batch(*a_chain(length)),
        a_hub,
        lambda length: a_batch(
            *(a_patient(identifier=[{"value": str(at)}]) for at in range(length)),
            *(a_media(subject={"identifier": {"value": str(at)}}) for at in range(length)),
        ),
    ],
    ids=["chain", "hub", "identifiers"],
)
def test_twice_as_many_entries_are_twice_the_work(a_body: Callable[[int], Json]) -> None:
    taken(a_body(2))  # what is looked up once and then known
    small, large = (calls(partial(taken, a_body(length))) for length in (60, 120))

    assert large < 2.2 * small


def test_a_bundle_of_too_many_entries_is_refused() -> None:
    entries = [an_entry(an_organization())] * (MAX_ENTRIES + 1)

    assert refusals(a_bundle(*entries, type="batch")) == [("Bundle.entry", "too-many-entries")]
    assert len(taken(a_bundle(*entries[1:], type="batch")).entries) == MAX_ENTRIES


@pytest.mark.parametrize("words", ["Right eye", "OD", "right eye, left not taken", "os ethmoidale", "macula"])
def test_words_that_do_not_plainly_contradict_the_code_are_let_be(words: str) -> None:
    (entry,) = taken(a_media(bodySite={**SITE, "text": words})).entries

    assert laterality(entry.resource) is Laterality.RIGHT


def a_site(*codes: str, system: str = SNOMED) -> Json:
    return {"bodySite": {"coding": [{"system": system, "code": code} for code in codes], "text": "left eye"}}


@pytest.mark.parametrize("code", ["362502000", "5597008", "18944008", "1290043002", "24028007"])
def test_a_code_of_the_right_eye_is_the_right_eye(code: str) -> None:
    assert laterality(a_site(code)) is Laterality.RIGHT


@pytest.mark.parametrize("code", ["362503005", "58443009", "8966001", "1290041000", "7771000"])
def test_a_code_of_the_left_eye_is_the_left_eye(code: str) -> None:
    assert laterality(a_site("5665001", code)) is Laterality.LEFT


@pytest.mark.parametrize(
    "site",
    [
        {},
        {"bodySite": {"text": "left eye"}},
        a_site("51440002"),
        a_site("81745001"),
        a_site("362502000", system="urn:oid:1.2"),
        a_site("362502000", "362503005"),
        a_site("362502000", "51440002"),
        {"bodySite": {"coding": [{"system": SNOMED, "display": "Entire left eye"}]}},
    ],
)
def test_an_eye_is_never_guessed(site: Json) -> None:
    assert laterality(site) is None


def test_the_time_of_the_photograph_is_as_sent() -> None:
    assert captured({"createdDateTime": "2024-05"}) == "2024-05"
    assert captured({"createdPeriod": {"start": "2024-05-02", "end": "2024-05-03"}}) == "2024-05-02"
    assert captured({"createdPeriod": {"end": "2024-05-03"}}) is None
    assert captured({}) is None


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
