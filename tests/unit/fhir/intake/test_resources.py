"""Every rule that a resource may break names the element that broke it; an eye is never guessed."""

from __future__ import annotations

import pytest
from tests.unit.fhir.intake.defects import LEAVE_OUT
from tests.unit.fhir.intake.sent import (
    BOTH,
    SITE,
    TWICE,
    UNKNOWN,
    Json,
    a_media,
    a_patient,
    an_order,
    refusals,
    taken,
)

from fundus_relay.domain.laterality import Laterality
from fundus_relay.fhir.intake.parsing import GATHERED
from fundus_relay.fhir.intake.submission import captured, laterality
from fundus_relay.fhir.names import SNOMED


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
