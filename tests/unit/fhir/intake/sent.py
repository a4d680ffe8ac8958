"""What a client may send, in pieces; override what matters."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.fhir.intake.defects import LEAVE_OUT

from fundus_relay.domain.errors import InvalidResource
from fundus_relay.domain.values import Submitted
from fundus_relay.fhir.intake.submission import read_submission
from fundus_relay.fhir.literals import Bases
from fundus_relay.fhir.names import SNOMED

Json = dict[str, Any]
SITE = {"coding": [{"system": SNOMED, "code": "362502000"}]}
BOTH = {"coding": [*SITE["coding"], {"system": SNOMED, "code": "362503005"}]}
BASES = Bases(ours=("http://relay.test/fhir",), ehr=("http://ehr.test/fhir",))
UNKNOWN = [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}]
TWICE = [{"system": "urn:s", "value": "1"}, {"system": "urn:s", "value": "1"}]
P1 = "urn:uuid:00000000-0000-0000-0000-000000000001"
P2 = "urn:uuid:00000000-0000-0000-0000-000000000002"
ORDER = "urn:uuid:00000000-0000-0000-0000-000000000003"


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


def about(who: str) -> Json:
    return {"subject": {"reference": who}}
