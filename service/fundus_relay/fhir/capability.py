"""What the FHIR endpoint can do: the table that its routes go by, and the CapabilityStatement made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from fundus_relay.domain.values import Json

from . import definitions, names
from .search_parameters import EVERYWHERE, PARAMETERS

_TAKEN = frozenset({"create", "update", "read", "vread", "search-type"})
_SHOWN = frozenset({"read", "vread", "search-type"})
_DEFINED = frozenset({"read", "search-type"})

INTERACTIONS: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(
        (
            "Media",
            "Patient",
            "Device",
            "ServiceRequest",
            "ImagingStudy",
            "Encounter",
            "Practitioner",
            "PractitionerRole",
            "Organization",
            "Endpoint",
        ),
        _TAKEN,
    ),
    **dict.fromkeys(("DiagnosticReport", "Observation", "Task", "Provenance"), _SHOWN),
    "Binary": frozenset({"read"}),
    **dict.fromkeys(definitions.KINDS, _DEFINED),
}
"""Resource type → what may be done with it."""

_PROFILES: Mapping[str, tuple[str, ...]] = {
    "Media": ("accepted-media", "published-media", "overlay-media", "acquired-media", "withdrawn-media"),
    "ImagingStudy": ("accepted-imaging-study",),
    "DiagnosticReport": ("screening-report",),
    "Observation": ("dr-presence", "eye-panel", "image-gradability", "lesion-regions", "referable-dr"),
    "Device": ("analysis-device",),
    "Provenance": ("report-provenance",),
    "Task": ("submission-task",),
    "Binary": ("report-page",),
}
"""Profiles of the guide that resources of a type have."""

_WITH_TOKENS: Json = {
    "cors": False,
    "description": "Every request but this one carries `Authorization: Bearer` (RFC 6750) with a token from the"
    " operator. Its scopes: `read` for reads and searches, by POST too; `write` for creates, updates, transactions and"
    " batches; `urgent` for orders whose priority lets photographs overtake others.",
}
_WITHOUT_TOKENS: Json = {"description": "None of its own: reach it through a gateway that knows its callers."}

_ORDER = ("create", "update", "read", "vread", "search-type")


def capability_statement(base: str, version: str, started: datetime, *, needs_token: bool) -> Json:
    """The statement of this instance.

    Args:
        base: of the FHIR endpoint.
        version: of the software.
        started: when this process began to serve.
        needs_token: whether callers are asked for one.
    """
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": started.isoformat(timespec="seconds"),
        "kind": "instance",
        "instantiates": [f"{names.CANONICAL}/CapabilityStatement/fundus-relay"],
        "software": {"name": "Fundus Relay", "version": version},
        "implementation": {
            "description": "Takes fundus photographs, has them analysed, publishes reports; not a record of care",
            "url": base,
        },
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json", "json"],
        "rest": [
            {
                "mode": "server",
                "documentation": "POST Media with a photograph; follow the Task that focuses on it; read its report.",
                "security": _WITH_TOKENS if needs_token else _WITHOUT_TOKENS,
                "resource": [_resource(kind) for kind in INTERACTIONS],
                "interaction": [{"code": "transaction"}, {"code": "batch"}],
            }
        ],
    }


def _resource(kind: str) -> Json:
    can = INTERACTIONS[kind]
    described: Json = {"type": kind}
    described |= {"supportedProfile": list(map(names.profile, _PROFILES[kind]))} if kind in _PROFILES else {}
    described |= {"interaction": [{"code": code} for code in _ORDER if code in can]}
    if "vread" in can:
        described |= {"versioning": "versioned", "readHistory": True, "conditionalRead": "full-support"}
    if kind in definitions.KINDS:
        described |= {"versioning": "no-version", "conditionalRead": "not-match"}
    if "search-type" in can:
        described |= {"searchParam": list(_searched_by(kind))}
        described |= {"searchInclude": include} if (include := _includes(kind)) else {}
    if "create" in can:
        described |= {"updateCreate": True, "conditionalCreate": True}
    return described


def _searched_by(kind: str) -> Iterator[Json]:
    """Its search parameters; one that is not R4's says where it is defined."""
    if kind in definitions.KINDS:
        yield from ({"name": name, "type": type} for name, type in definitions.PARAMETERS.items())
        return
    yield from ({"name": name, "type": type} for name, type in EVERYWHERE.items())
    for name, own in PARAMETERS.get(kind, {}).items():
        where = {"definition": f"{names.CANONICAL}/SearchParameter/{own.definition}"} if own.definition else {}
        yield {"name": name, **where, "type": "reference" if own.type == "reference" else "token"}


def _includes(kind: str) -> list[str]:
    return [f"{kind}:{name}" for name, p in PARAMETERS.get(kind, {}).items() if p.type == "reference"]
