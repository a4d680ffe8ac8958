"""The search parameters of each resource type: one table for the index, the queries and the CapabilityStatement.

Source: FHIR R4 4.0.1, search parameter registry, but for those with a definition of our own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Parameter:
    """A search parameter of one resource type.

    Attributes:
        type: `token` (Identifier, Coding, CodeableConcept), `code` (a bare code, its system implied) or `reference`.
        path: of the element, dots between names, repetitions walked through.
        targets: of a reference, the types that a bare id may mean, likeliest first.
        definition: id of the guide's SearchParameter, where it finds what R4's of the same name does not.
    """

    type: str
    path: str
    targets: tuple[str, ...] = ()
    definition: str | None = None


def _token(path: str) -> Parameter:
    return Parameter("token", path)


def _code(path: str) -> Parameter:
    return Parameter("code", path)


def _to(path: str, *targets: str) -> Parameter:
    return Parameter("reference", path, targets)


_IDENTIFIER = {"identifier": _token("identifier")}
_SUBJECT = {"subject": _to("subject", "Patient"), "patient": _to("subject", "Patient")}
_ORDERED = {"based-on": _to("basedOn", "ServiceRequest"), "encounter": _to("encounter", "Encounter")}

PARAMETERS: Mapping[str, Mapping[str, Parameter]] = {
    "Media": {
        **_IDENTIFIER,
        **_SUBJECT,
        **_ORDERED,
        "status": _code("status"),
        "device": _to("device", "Device"),
        "modality": _token("modality"),
        "operator": _to("operator", "Practitioner", "PractitionerRole"),
        "site": _token("bodySite"),
        "type": _token("type"),
        "view": _token("view"),
    },
    "DiagnosticReport": {
        **_IDENTIFIER,
        **_SUBJECT,
        **_ORDERED,
        "status": _code("status"),
        "category": _token("category"),
        "code": _token("code"),
        "media": _to("media.link", "Media"),
        "performer": _to("performer", "Organization", "Practitioner", "PractitionerRole"),
        "result": _to("result", "Observation"),
    },
    "Observation": {
        **_IDENTIFIER,
        **_SUBJECT,
        **_ORDERED,
        "status": _code("status"),
        "category": _token("category"),
        "code": _token("code"),
        "component-code": _token("component.code"),
        "data-absent-reason": _token("dataAbsentReason"),
        "derived-from": _to("derivedFrom", "Media", "ImagingStudy", "Observation"),
        "device": _to("device", "Device"),
        "has-member": _to("hasMember", "Observation"),
        "performer": _to("performer", "Organization", "Practitioner", "PractitionerRole"),
        "value-concept": _token("valueCodeableConcept"),
    },
    "Task": {
        **_IDENTIFIER,
        **_ORDERED,
        "subject": _to("for", "Patient"),
        "patient": _to("for", "Patient"),
        "status": _code("status"),
        "business-status": _token("businessStatus"),
        "code": _token("code"),
        # R4 lets a Task focus on one thing, our first input; who sent several photographs looks for each of them
        "focus": Parameter("reference", "input.valueReference", ("Media", "ImagingStudy"), "task-focus"),
        "group-identifier": _token("groupIdentifier"),
        "intent": _code("intent"),
        "owner": _to("owner", "Device", "Organization"),
        "requester": _to("requester", "Device", "Organization", "Practitioner"),
    },
    "Device": {
        **_IDENTIFIER,
        "patient": _to("patient", "Patient"),
        "status": _code("status"),
        "type": _token("type"),
    },
    "Patient": {
        **_IDENTIFIER,
        "gender": _code("gender"),
        "general-practitioner": _to("generalPractitioner", "Practitioner", "Organization"),
        "organization": _to("managingOrganization", "Organization"),
    },
    "ServiceRequest": {
        **_IDENTIFIER,
        **_SUBJECT,
        **_ORDERED,
        "status": _code("status"),
        "intent": _code("intent"),
        "code": _token("code"),
        "requester": _to("requester", "Practitioner", "PractitionerRole", "Organization"),
        "requisition": _token("requisition"),
    },
    "ImagingStudy": {
        **_IDENTIFIER,
        **_SUBJECT,
        "basedon": _to("basedOn", "ServiceRequest"),
        "encounter": _to("encounter", "Encounter"),
        "endpoint": _to("endpoint", "Endpoint"),
        "modality": _token("series.modality"),
        "status": _code("status"),
    },
    "Encounter": {
        **_IDENTIFIER,
        **_SUBJECT,
        "based-on": _to("basedOn", "ServiceRequest"),
        "class": _token("class"),
        "status": _code("status"),
    },
    "Practitioner": _IDENTIFIER,
    "PractitionerRole": {
        **_IDENTIFIER,
        "organization": _to("organization", "Organization"),
        "practitioner": _to("practitioner", "Practitioner"),
    },
    "Organization": {**_IDENTIFIER, "partof": _to("partOf", "Organization")},
    "Endpoint": {**_IDENTIFIER, "organization": _to("managingOrganization", "Organization"), "status": _code("status")},
    "Provenance": {
        "agent": _to("agent.who", "Device", "Organization", "Practitioner"),
        "entity": _to("entity.what", "Media", "ImagingStudy"),
        "patient": _to("target", "Patient"),
        "target": _to("target", "DiagnosticReport", "Observation"),
    },
}
"""Resource type → its search parameters, besides those that every type has."""

EVERYWHERE: Mapping[str, str] = {"_id": "token", "_lastUpdated": "date", "_tag": "token", "_security": "token"}
"""Parameters of every type, with their FHIR type."""

MANNERS = frozenset({"_format", "_pretty", "_total", "_totalMethod", "_elements", "_summary", "_count", "_offset"})
"""Parameters that say how to answer, not what to find; `parse` passes over them."""

META = {"_tag": _token("meta.tag"), "_security": _token("meta.security")}
