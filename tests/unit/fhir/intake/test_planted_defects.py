"""One defect in a valid resource is refused, at the element that has it; what is valid is taken."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

import pytest

from fundus_relay.domain.errors import InvalidResource, Issue
from fundus_relay.domain.values import Submitted
from fundus_relay.fhir.intake.rules import TYPES
from fundus_relay.fhir.intake.submission import read_submission
from fundus_relay.fhir.issue_codes import MEANING

Json = dict[str, Any]
LEAVE_OUT = object()
PARENT = "the element that holds the place"

PERIOD = {"start": "2024-05-02T09:30:00+02:00", "end": "2024-05-02T10:00:00+02:00"}


def a_narrative(inside: str, start: str = '<div xmlns="http://www.w3.org/1999/xhtml">') -> Json:
    return {"status": "generated", "div": f"{start}{inside}</div>"}


NARRATIVE = a_narrative("<p>Eyes&nbsp;&amp; ears</p>")
QUANTITY = {"value": 5, "comparator": "<", "unit": "mm", "system": "http://unitsofmeasure.org", "code": "mm"}
CLASS = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"}
DICOM = "http://dicom.nema.org/resources/ontology/DCM"

VALID: dict[str, Json] = {
    "Media": {
        "resourceType": "Media",
        "id": "m",
        "meta": {"lastUpdated": "2024-05-02T09:30:00Z", "profile": ["http://x.test/StructureDefinition/a"]},
        "language": "de-CH",
        "text": NARRATIVE,
        "contained": [{"resourceType": "Device", "id": "cam", "status": "active"}],
        "extension": [{"url": "http://x.test/e", "valueString": "a"}],
        "identifier": [{"use": "official", "system": "urn:oid:1.2.36.1", "value": "1", "period": PERIOD}],
        "basedOn": [{"reference": "ServiceRequest/o"}],
        "partOf": [{"reference": "ImagingStudy/s"}],
        "status": "completed",
        "subject": {"reference": "Patient/p"},
        "encounter": {"reference": "Encounter/e"},
        "createdPeriod": PERIOD,
        "issued": "2024-05-02T09:30:00.123+02:00",
        "operator": {"reference": "Practitioner/a"},
        "device": {"reference": "#cam"},
        "height": 10,
        "width": 10,
        "frames": 1,
        "duration": 1.5,
        "content": {"contentType": "image/png", "language": "en", "data": "", "size": 3, "creation": "2024"},
        "note": [{"authorReference": {"reference": "Practitioner/a"}, "time": "2024-05", "text": "seen"}],
    },
    "Patient": {
        "resourceType": "Patient",
        "id": "p",
        "text": NARRATIVE,
        "identifier": [{"use": "usual", "system": "http://x.test/mrn", "value": "1"}],
        "active": True,
        "name": [{"use": "official", "family": "Roe", "given": ["Jane", None], "_given": [None, {"id": "n"}]}],
        "telecom": [{"system": "phone", "value": "1", "use": "home", "rank": 1}],
        "gender": "female",
        "birthDate": "1970-05",
        "deceasedDateTime": "2024",
        "address": [{"use": "home", "type": "both", "line": ["a"], "city": "b", "period": PERIOD}],
        "contact": [{"name": {"family": "Roe"}, "gender": "male"}],
        "communication": [{"language": {"coding": [{"system": "urn:ietf:bcp:47", "code": "de"}]}}],
        "generalPractitioner": [{"reference": "Practitioner/a"}],
        "managingOrganization": {"reference": "Organization/o"},
        "link": [{"other": {"reference": "Patient/q"}, "type": "seealso"}],
    },
    "Device": {
        "resourceType": "Device",
        "identifier": [{"value": "1"}],
        "udiCarrier": [
            {"deviceIdentifier": "1", "carrierAIDC": "AAAA", "entryType": "barcode", "issuer": "http://x.test"}
        ],
        "status": "active",
        "manufactureDate": "2020-01-02T00:00:00Z",
        "deviceName": [{"name": "Camera", "type": "user-friendly-name"}],
        "version": [{"value": "1"}],
        "property": [{"type": {"text": "field"}, "valueQuantity": [QUANTITY]}],
        "patient": {"reference": "Patient/p"},
        "owner": {"reference": "Organization/o"},
        "contact": [{"system": "email", "value": "a@x.test"}],
        "url": "http://x.test",
        "parent": {"reference": "Device/d"},
    },
    "ServiceRequest": {
        "resourceType": "ServiceRequest",
        "identifier": [{"value": "1", "assigner": {"display": "x"}}],
        "instantiatesCanonical": ["http://x.test/ActivityDefinition/a|1"],
        "basedOn": [{"reference": "CarePlan/c"}],
        "requisition": {"value": "2"},
        "status": "active",
        "intent": "order",
        "priority": "routine",
        "code": {"coding": [{"system": "http://x.test", "code": "a b", "display": "x"}]},
        "orderDetail": [{"text": "x"}],
        "quantityRange": {"low": {"value": 1}, "high": {"value": 2}},
        "subject": {"reference": "Patient/p"},
        "encounter": {"reference": "Encounter/e"},
        "occurrenceTiming": {
            "event": ["2024-05-02"],
            "repeat": {
                "boundsDuration": {"value": 3, "system": "http://unitsofmeasure.org", "code": "mo"},
                "count": 2,
                "countMax": 3,
                "duration": 1,
                "durationMax": 2,
                "durationUnit": "h",
                "frequency": 1,
                "period": 1,
                "periodMax": 2,
                "periodUnit": "wk",
                "dayOfWeek": ["mon"],
                "when": ["MORN"],
                "offset": 10,
            },
            "code": {"text": "weekly"},
        },
        "asNeededBoolean": False,
        "authoredOn": "2024-05-02",
        "requester": {"reference": "Practitioner/a"},
        "performer": [{"reference": "Organization/o"}],
        "reasonReference": [{"reference": "Condition/c"}],
        "note": [{"text": "x"}],
    },
    "ImagingStudy": {
        "resourceType": "ImagingStudy",
        "identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}],
        "status": "available",
        "modality": [{"system": DICOM, "code": "OP"}],
        "subject": {"reference": "Patient/p"},
        "encounter": {"reference": "Encounter/e"},
        "started": "2024-05-02T09:30:00Z",
        "basedOn": [{"reference": "ServiceRequest/o"}],
        "endpoint": [{"reference": "Endpoint/w"}],
        "numberOfSeries": 1,
        "interpreter": [{"reference": "Practitioner/a"}],
        "series": [
            {
                "uid": "1.2.3.4",
                "number": 0,
                "modality": {"system": DICOM, "code": "OP"},
                "laterality": {"system": "http://snomed.info/sct", "code": "24028007"},
                "specimen": [{"reference": "Specimen/s"}],
                "started": "2024-05-02",
                "performer": [{"actor": {"reference": "Practitioner/a"}}],
                "instance": [{"uid": "1.2.3.4.5", "sopClass": {"system": "urn:ietf:rfc:3986", "code": "urn:oid:1.2"}}],
            }
        ],
    },
    "Encounter": {
        "resourceType": "Encounter",
        "status": "finished",
        "statusHistory": [{"status": "arrived", "period": PERIOD}],
        "class": CLASS,
        "classHistory": [{"class": CLASS, "period": PERIOD}],
        "subject": {"reference": "Patient/p"},
        "episodeOfCare": [{"reference": "EpisodeOfCare/e"}],
        "basedOn": [{"reference": "ServiceRequest/o"}],
        "participant": [{"individual": {"reference": "Practitioner/a"}}],
        "period": PERIOD,
        "length": {"value": 30, "system": "http://unitsofmeasure.org", "code": "min"},
        "diagnosis": [{"condition": {"reference": "Condition/c"}, "rank": 1}],
        "hospitalization": {"origin": {"reference": "Location/l"}},
        "location": [{"location": {"reference": "Location/l"}, "status": "active"}],
        "serviceProvider": {"reference": "Organization/o"},
    },
    "Practitioner": {
        "resourceType": "Practitioner",
        "identifier": [{"value": "1"}],
        "name": [{"family": "Doe"}],
        "telecom": [{"system": "email", "value": "a@x.test"}],
        "gender": "other",
        "birthDate": "1970-01-02",
        "photo": [{"contentType": "image/png", "data": "AAAA"}],
        "qualification": [{"code": {"text": "MD"}, "issuer": {"reference": "Organization/o"}, "period": PERIOD}],
    },
    "PractitionerRole": {
        "resourceType": "PractitionerRole",
        "active": True,
        "period": PERIOD,
        "practitioner": {"reference": "Practitioner/a"},
        "organization": {"reference": "Organization/o"},
        "location": [{"reference": "Location/l"}],
        "availableTime": [{"daysOfWeek": ["mon"], "availableStartTime": "08:00:00", "availableEndTime": "17:00:00"}],
        "notAvailable": [{"description": "holiday", "during": PERIOD}],
        "endpoint": [{"reference": "Endpoint/w"}],
    },
    "Organization": {
        "resourceType": "Organization",
        "identifier": [{"value": "1"}],
        "name": "Clinic",
        "telecom": [{"system": "phone", "value": "1", "use": "work"}],
        "address": [{"use": "work", "type": "postal", "text": "x"}],
        "partOf": {"reference": "Organization/p"},
        "contact": [{"name": {"text": "x"}, "telecom": [{"system": "phone", "value": "1"}]}],
        "endpoint": [{"reference": "Endpoint/w"}],
    },
    "Endpoint": {
        "resourceType": "Endpoint",
        "status": "active",
        "connectionType": {"system": "http://x.test", "code": "dicom-wado-rs"},
        "managingOrganization": {"reference": "Organization/o"},
        "contact": [{"system": "url", "value": "http://x.test"}],
        "period": PERIOD,
        "payloadType": [{"text": "DICOM"}],
        "payloadMimeType": ["application/dicom"],
        "address": "https://x.test/wado",
        "header": ["a: b"],
    },
}
VALID["Bundle"] = {
    "resourceType": "Bundle",
    "type": "transaction",
    "identifier": {"value": "1"},
    "timestamp": "2024-05-02T09:30:00Z",
    "link": [{"relation": "self", "url": "http://x.test"}],
    "entry": [
        {
            "fullUrl": "urn:uuid:00000000-0000-4000-8000-00000000000a",
            "resource": {"resourceType": "Patient", "identifier": [{"value": "1"}]},
            "request": {"method": "POST", "url": "Patient", "ifNoneExist": "identifier=1"},
        },
        {
            "fullUrl": "http://x.test/Organization/o",
            "resource": {"resourceType": "Organization", "id": "o", "name": "x"},
            "request": {"method": "PUT", "url": "Organization/o", "ifMatch": 'W/"1"'},
        },
    ],
    "signature": {
        "type": [{"code": "x"}],
        "when": "2024-05-02T09:30:00Z",
        "who": {"reference": "Practitioner/a"},
        "sigFormat": "application/jose",
    },
}  # fmt: skip

EURO = {"valueMoney": {"currency": "EURO"}}
BACKWARDS = {"start": "2024-05-03", "end": "2024-05-02T10:00:00Z"}
NESTED = {
    "resourceType": "Device",
    "id": "cam",
    "owner": {"reference": "#x"},
    "contained": [{"resourceType": "Organization", "id": "x", "name": "y"}],
}


DEFECTS: list[tuple[str, Any, str] | tuple[str, Any, str, str]] = [
    # required bindings
    ("Media.status", "current", "code-unknown"),
    ("Media.text.status", "bogus", "code-unknown"),
    ("Media.identifier[0].use", "x", "code-unknown"),
    ("Media.contained[0].status", "on", "code-unknown"),
    ("Patient.gender", "f", "code-unknown"),
    ("Patient.gender", "Female", "code-unknown"),
    ("Patient.contact[0].gender", "x", "code-unknown"),
    ("Patient.name[0].use", "legal", "code-unknown"),
    ("Patient.telecom[0].system", "mobile", "code-unknown"),
    ("Patient.telecom[0].use", "private", "code-unknown"),
    ("Patient.address[0].use", "holiday", "code-unknown"),
    ("Patient.address[0].type", "mail", "code-unknown"),
    ("Patient.link[0].type", "same", "code-unknown"),
    ("Device.status", "on", "code-unknown"),
    ("Device.udiCarrier[0].entryType", "scan", "code-unknown"),
    ("Device.deviceName[0].type", "nick", "code-unknown"),
    ("Device.property[0].valueQuantity[0].comparator", "=", "code-unknown"),
    ("ServiceRequest.status", "new", "code-unknown"),
    ("ServiceRequest.intent", "wish", "code-unknown"),
    ("ServiceRequest.priority", "now", "code-unknown"),
    ("ServiceRequest.occurrenceTiming.repeat.durationUnit", "hour", "code-unknown"),
    ("ServiceRequest.occurrenceTiming.repeat.periodUnit", "week", "code-unknown"),
    ("ServiceRequest.occurrenceTiming.repeat.dayOfWeek", ["mon", "monday"], "code-unknown", "[1]"),
    ("ServiceRequest.occurrenceTiming.repeat.when", ["DUSK"], "code-unknown", "[0]"),
    ("ImagingStudy.status", "final", "code-unknown"),
    ("Encounter.status", "done", "code-unknown"),
    ("Encounter.statusHistory[0].status", "done", "code-unknown"),
    ("Encounter.location[0].status", "here", "code-unknown"),
    ("Practitioner.gender", "x", "code-unknown"),
    ("PractitionerRole.availableTime[0].daysOfWeek", ["Mon"], "code-unknown", "[0]"),
    ("Organization.address[0].type", "x", "code-unknown"),
    ("Endpoint.status", "up", "code-unknown"),
    ("Endpoint.payloadMimeType", ["dicom"], "code-unknown", "[0]"),
    ("Practitioner.photo[0].contentType", "jpeg", "code-unknown"),
    ("Media.extension[0]", {"url": "http://x.test/e", **EURO}, "code-unknown", ".valueMoney.currency"),
    ("Media.language", "deutsch!", "code-unknown"),
    ("Bundle.type", "nonsense", "code-unknown"),
    ("Bundle.entry[0].request.method", "SEND", "code-unknown"),
    ("Bundle.signature.sigFormat", "jose", "code-unknown"),
    # invariants
    ("Media.contained[0]", NESTED, "dom-2", ".contained"),
    ("Media.device", LEAVE_OUT, "dom-3", "Media.contained[0]"),
    ("Media.contained[0].id", "other", "dom-3", PARENT),
    ("Media.contained[0].id", LEAVE_OUT, "dom-3", PARENT),
    ("Media.operator.reference", "#nobody", "reference-unresolved"),
    ("Media.contained[0].meta", {"versionId": "1"}, "dom-4", ".versionId"),
    ("Media.contained[0].meta", {"lastUpdated": "2024-05-02T09:30:00Z"}, "dom-4", ".lastUpdated"),
    ("Media.contained[0].meta", {"security": [{"code": "R"}]}, "dom-5", ".security"),
    ("Media.contained[0].resourceType", "Banana", "type-unknown"),
    ("Media.contained[0].resourceType", "DomainResource", "type-unknown"),
    ("Media.contained[0].resourceType", "Citation", "type-unknown"),
    ("Media.text", a_narrative(" <p/><!-- a -->"), "txt-2", ".div"),
    ("Media.text", a_narrative("a<script>b</script>"), "txt-1", ".div"),
    ("Media.text", a_narrative('<p onclick="b">a</p>'), "txt-1", ".div"),
    ("Media.text", a_narrative("a", "<div>"), "txt-1", ".div"),
    ("Media.text", a_narrative("<p>a"), "txt-1", ".div"),
    ("Media.extension[0]", {"url": "http://x.test/e"}, "ext-1"),
    ("Media.note[0]", {}, "element-empty"),
    ("Media.identifier[0]", {"id": "a"}, "element-empty"),
    ("Media._language", {}, "element-empty"),
    ("Media.createdPeriod", BACKWARDS, "per-1"),
    ("Media.identifier[0].period", BACKWARDS, "per-1"),
    ("Patient.address[0].period", BACKWARDS, "per-1"),
    ("Encounter.period", BACKWARDS, "per-1"),
    ("PractitionerRole.notAvailable[0].during", BACKWARDS, "per-1"),
    ("Endpoint.period", BACKWARDS, "per-1"),
    ("Patient.contact[0].name", LEAVE_OUT, "pat-1", PARENT),
    ("Patient.telecom[0].system", LEAVE_OUT, "cpt-2", PARENT),
    ("Organization.telecom[0].system", LEAVE_OUT, "cpt-2", PARENT),
    ("Endpoint.contact[0].system", LEAVE_OUT, "cpt-2", PARENT),
    ("Practitioner.photo[0].contentType", LEAVE_OUT, "att-1"),
    ("Device.property[0].valueQuantity[0].system", LEAVE_OUT, "qty-3", PARENT),
    ("Encounter.length.system", "http://x.test", "drt-1", PARENT),
    ("Encounter.length.value", LEAVE_OUT, "drt-1", PARENT),
    ("ServiceRequest.code", LEAVE_OUT, "prr-1", PARENT),
    ("ServiceRequest.quantityRange.low.value", 3, "rng-2", "ServiceRequest.quantityRange"),
    ("ServiceRequest.occurrenceTiming.repeat.durationUnit", LEAVE_OUT, "tim-1", PARENT),
    ("ServiceRequest.occurrenceTiming.repeat.periodUnit", LEAVE_OUT, "tim-2", PARENT),
    ("ServiceRequest.occurrenceTiming.repeat.duration", -1, "tim-4", PARENT),
    ("ServiceRequest.occurrenceTiming.repeat.period", -1, "tim-5", PARENT),
    ("ServiceRequest.occurrenceTiming.repeat.period", LEAVE_OUT, "tim-6", PARENT),
    ("ServiceRequest.occurrenceTiming.repeat.duration", LEAVE_OUT, "tim-7", PARENT),
    ("ServiceRequest.occurrenceTiming.repeat.count", LEAVE_OUT, "tim-8", PARENT),
    ("ServiceRequest.occurrenceTiming.repeat.when", ["CM"], "tim-9", PARENT),
    ("ServiceRequest.occurrenceTiming.repeat.timeOfDay", ["08:00:00"], "tim-10", PARENT),
    ("Organization.address[0].use", "home", "org-2", PARENT),
    ("Organization.telecom[0].use", "home", "org-3", PARENT),
    ("Bundle.total", 2, "bdl-1", PARENT),
    ("Bundle.entry[0].search", {"mode": "match"}, "element-unknown"),
    ("Bundle.entry[0].response", {"status": "200"}, "element-unknown"),
    ("Bundle.entry[0].request", LEAVE_OUT, "element-missing"),
    ("Bundle.entry[1].fullUrl", "urn:uuid:00000000-0000-4000-8000-00000000000a", "entry-twice"),
    ("Bundle.entry[1].fullUrl", "http://x.test/Organization/o/_history/1", "value-invalid"),
    ("Patient.link[0].other", {"type": "Banana", "identifier": {"value": "1"}}, "reference-type"),
    # cardinality
    ("Media.content", LEAVE_OUT, "element-missing"),
    ("Media.subject", LEAVE_OUT, "element-missing"),
    ("Media.content.contentType", LEAVE_OUT, "element-missing"),
    ("Media.note[0].text", LEAVE_OUT, "element-missing"),
    ("Media.text.div", LEAVE_OUT, "element-missing"),
    ("Media.bodySite", [{"text": "eye"}], "shape-wrong"),
    ("Media.modifierExtension", [{"url": "http://x.test/e", "valueCode": "a"}], "modifier-unknown"),
    ("ImagingStudy.modifierExtension", [{"url": "http://x.test/e", "valueCode": "a"}], "modifier-unknown"),
    ("Patient.communication[0]", {"id": "a"}, "element-empty"),
    ("Patient.link[0].other", LEAVE_OUT, "element-missing"),
    ("Patient.link[0].type", LEAVE_OUT, "element-missing"),
    ("Patient.name", {"family": "Roe"}, "shape-wrong"),
    ("Patient.deceasedBoolean", True, "choice-ambiguous", PARENT),
    ("Device.deviceName[0].type", LEAVE_OUT, "element-missing"),
    ("Device.version[0]", {"id": "a"}, "element-empty"),
    ("ServiceRequest.intent", LEAVE_OUT, "element-missing"),
    ("ServiceRequest.subject", LEAVE_OUT, "element-missing"),
    ("ImagingStudy.subject", LEAVE_OUT, "element-missing"),
    ("ImagingStudy.series[0].uid", LEAVE_OUT, "element-missing"),
    ("ImagingStudy.series[0].modality", LEAVE_OUT, "element-missing"),
    ("ImagingStudy.series[0].performer[0]", {"id": "a"}, "element-empty"),
    ("ImagingStudy.series[0].instance[0].sopClass", LEAVE_OUT, "element-missing"),
    ("Encounter.class", LEAVE_OUT, "element-missing"),
    ("Encounter.statusHistory[0].period", LEAVE_OUT, "element-missing"),
    ("Encounter.location[0].location", LEAVE_OUT, "element-missing"),
    ("Practitioner.qualification[0].code", LEAVE_OUT, "element-missing"),
    ("PractitionerRole.notAvailable[0].description", LEAVE_OUT, "element-missing"),
    ("Endpoint.connectionType", LEAVE_OUT, "element-missing"),
    ("Endpoint.address", LEAVE_OUT, "element-missing"),
    ("Endpoint.payloadType", LEAVE_OUT, "element-missing"),
    ("Bundle.type", LEAVE_OUT, "element-missing"),
    ("Bundle.entry[0].resource", LEAVE_OUT, "element-missing"),
    ("Bundle.entry[0].request.url", LEAVE_OUT, "element-missing"),
    ("Bundle.signature.when", LEAVE_OUT, "element-missing"),
    # primitives
    ("Media.id", "a_b", "value-invalid"),
    ("Media.id", "", "value-invalid"),
    ("Media.meta.lastUpdated", "2024-05-02", "value-invalid"),
    ("Media.meta.lastUpdated", "2024-05-02T09:30:00", "value-invalid"),
    ("Media.meta.profile", ["a b"], "value-invalid", "[0]"),
    ("Media.issued", "2024-05-02T24:30:00Z", "value-invalid"),
    ("Media.height", 0, "value-invalid"),
    ("Media.width", "10", "value-invalid"),
    ("Media.duration", "1.5", "value-invalid"),
    ("Media.content.size", -1, "value-invalid"),
    ("Media.content.creation", "2024-02-30", "value-invalid"),
    ("Practitioner.photo[0].url", "http://x.test/a b", "value-invalid"),
    ("Media.content.hash", "not base64!", "value-invalid"),
    ("Media.identifier[0].system", "has a space", "value-invalid"),
    ("Media.identifier[0].system", "urn:oid:1.2.a", "value-invalid"),
    ("Media.identifier[0].system", "urn:uuid:1-2", "value-invalid"),
    ("Media.identifier[0].value", "", "value-invalid"),
    ("Media.extension[0].url", "a b", "value-invalid"),
    ("Media.note[0].time", "2024-05-02T09:30", "value-invalid"),
    ("Patient.active", "true", "value-invalid"),
    ("Patient.birthDate", "1970-13", "value-invalid"),
    ("Patient.birthDate", "02.05.1970", "value-invalid"),
    ("Patient.birthDate", "1970-05-02T00:00:00Z", "value-invalid"),
    ("Patient.deceasedDateTime", "2024-1", "value-invalid"),
    ("Patient.name[0].given", ["Jane", None, None], "element-empty", "[2]"),
    ("Patient.telecom[0].rank", 0, "value-invalid"),
    ("Device.udiCarrier[0].carrierAIDC", "AAA", "value-invalid"),
    ("Device.property[0].valueQuantity[0].value", "5", "value-invalid"),
    ("Device.property[0].valueQuantity[0].code", "m m ", "value-invalid"),
    ("ServiceRequest.code.coding[0].code", " a", "value-invalid"),
    ("ServiceRequest.code.coding[0].code", "a  b", "value-invalid"),
    ("ServiceRequest.instantiatesCanonical", ["a b"], "value-invalid", "[0]"),
    ("ServiceRequest.occurrenceTiming.repeat.offset", -5, "value-invalid"),
    ("ServiceRequest.asNeededBoolean", 1, "value-invalid"),
    ("ImagingStudy.series[0].uid", "1 2", "value-invalid"),
    ("ImagingStudy.numberOfSeries", -1, "value-invalid"),
    ("ImagingStudy.numberOfSeries", 1.5, "value-invalid"),
    ("ImagingStudy.started", "2024-05-02T09:30:00.Z", "value-invalid"),
    ("Practitioner.photo[0].data", "A?==", "value-invalid"),
    ("PractitionerRole.availableTime[0].availableStartTime", "8:00", "value-invalid"),
    ("PractitionerRole.availableTime[0].availableStartTime", "24:00:00", "value-invalid"),
    ("Endpoint.address", "not a url", "value-invalid"),
    ("Endpoint.header", [""], "value-invalid", "[0]"),
    ("Bundle.timestamp", "2024-05-02", "value-invalid"),
    ("Bundle.entry[0].request.url", "", "value-invalid"),
    ("Bundle.link[0].url", "a b", "value-invalid"),
]  # fmt: skip


WRONG_TARGETS = [
    ("Media.subject", "Device/d"),
    ("Media.encounter", "EpisodeOfCare/e"),
    ("Media.operator", "Encounter/a"),
    ("Media.note[0].authorReference", "Device/d"),
    ("Patient.generalPractitioner[0]", "Patient/p"),
    ("Patient.managingOrganization", "Practitioner/o"),
    ("Patient.link[0].other", "Practitioner/q"),
    ("Device.owner", "Practitioner/o"),
    ("Device.parent", "Patient/d"),
    ("ServiceRequest.requester", "CareTeam/a"),
    ("ServiceRequest.reasonReference[0]", "Media/c"),
    ("ImagingStudy.endpoint[0]", "Device/w"),
    ("ImagingStudy.series[0].specimen[0]", "Patient/s"),
    ("Encounter.serviceProvider", "Location/o"),
    ("Encounter.diagnosis[0].condition", "Observation/c"),
    ("Practitioner.qualification[0].issuer", "Patient/p"),
    ("PractitionerRole.practitioner", "Patient/p"),
    ("Organization.partOf", "Location/p"),
    ("Endpoint.managingOrganization", "Patient/p"),
    ("Bundle.signature.who", "Encounter/a"),
]


def planted(place: str, value: Any) -> Json:
    """The valid resource of the type with another value at one place."""
    kind, *steps = re.findall(r"\w+", place)
    whole = deepcopy(VALID[kind])
    part: Any = whole
    keys = [int(step) if step.isdigit() else step for step in steps]
    for key in keys[:-1]:
        part = part[key]
    if value is LEAVE_OUT:
        del part[keys[-1]]
    else:
        part[keys[-1]] = deepcopy(value)
    return whole


def element_of(place: str, where: str = "") -> str:
    """The FHIRPath that is expected: of the place, of the part that holds it, of a part of it, or another."""
    if where == PARENT:
        return place.rpartition(".")[0]
    return where if where[:1].isupper() else f"{place}{where}"


def taken(document: Json) -> Submitted:
    return read_submission(deepcopy(document))


def refusal(document: Json) -> tuple[Issue, ...]:
    with pytest.raises(InvalidResource) as caught:
        taken(document)
    return caught.value.issues


@pytest.mark.parametrize("kind", VALID)
def test_a_resource_without_a_defect_is_taken(kind: str) -> None:
    assert taken(VALID[kind])


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: f"{defect[0]}={defect[1]!s:.20}")
def test_a_planted_defect_is_refused_at_its_element(defect: tuple[str, Any, str]) -> None:
    place, value, said, *where = defect

    (issue, *more) = refusal(planted(place, value))

    assert issue.element == element_of(place, *where)
    assert said == issue.code or issue.text.startswith(f"{said}: ")
    assert issue.code in MEANING
    assert more == []


@pytest.mark.parametrize(("place", "target"), WRONG_TARGETS)
def test_a_reference_to_a_type_that_the_element_does_not_take_is_refused(place: str, target: str) -> None:
    (issue,) = refusal(planted(f"{place}.reference", target))

    assert (issue.element, issue.code) == (place, "reference-type")


def test_there_are_defects_of_every_type_that_is_taken() -> None:
    assert {place.partition(".")[0] for place, *_ in DEFECTS} == {*TYPES, "Bundle"}
