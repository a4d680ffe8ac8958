"""Valid resources of all the types that we take, with most of the elements that a rule is about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Json = dict[str, Any]

PERIOD = {"start": "2024-05-02T09:30:00+02:00", "end": "2024-05-02T10:00:00+02:00"}


def a_narrative(inside: str, start: str = '<div xmlns="http://www.w3.org/1999/xhtml">') -> Json:
    return {"status": "generated", "div": f"{start}{inside}</div>"}


def an_extension(**value: Any) -> Json:
    return {"url": "http://x.test/e", **value}


UNKNOWN = {"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}]}
A_YEAR = {"system": "http://unitsofmeasure.org", "code": "a"}
ONE = {"system": "http://unitsofmeasure.org", "code": "1"}
NARRATIVE = a_narrative("<p>Eyes &amp; ears</p>")
QUANTITY = {"value": 5, "comparator": "<", "unit": "mm", "system": "http://unitsofmeasure.org", "code": "mm"}
CLASS = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"}
EXAMPLES = [json.loads(line) for line in (Path(__file__).parent / "hl7_examples.ndjson").open()]
"""R4's own examples of the types that we take. Source: npm, hl7.fhir.r4.examples 4.0.1, CC0; one a line."""

DICOM = "http://dicom.nema.org/resources/ontology/DCM"

VALID: dict[str, Json] = {
    "Media": {
        "resourceType": "Media",
        "id": "m",
        "meta": {"lastUpdated": "2024-05-02T09:30:00Z", "profile": ["http://hl7.org/fhir/StructureDefinition/Media"]},
        "language": "de-CH",
        "text": NARRATIVE,
        "contained": [{"resourceType": "Device", "id": "cam", "status": "active"}],
        "extension": [
            {
                "url": "http://hl7.org/fhir/StructureDefinition/workflow-reasonCode",
                "valueCodeableConcept": {"text": "a"},
            }
        ],
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
        "name": [{"use": "official", "family": "Roe", "given": ["Jane", None], "_given": [None, UNKNOWN]}],
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
