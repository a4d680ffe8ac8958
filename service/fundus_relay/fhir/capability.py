"""What the FHIR endpoint can do: the table that its routes go by, and the CapabilityStatement made of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from fundus_relay.domain.values import Json

from .search_parameters import EVERYWHERE, PARAMETERS

_TAKEN = frozenset({"create", "update", "read", "vread", "search-type"})
_SHOWN = frozenset({"read", "vread", "search-type"})

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
}
"""Resource type → what may be done with it."""

_ORDER = ("create", "update", "read", "vread", "search-type")


def capability_statement(base: str, version: str, started: datetime) -> Json:
    """The statement of this instance.

    Args:
        base: of the FHIR endpoint.
        version: of the software.
        started: when this process began to serve.
    """
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": started.isoformat(timespec="seconds"),
        "kind": "instance",
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
                "security": {"description": "None of its own yet: reach it through a gateway that knows its callers."},
                "resource": [_resource(kind) for kind in INTERACTIONS],
                "interaction": [{"code": "transaction"}, {"code": "batch"}],
            }
        ],
    }


def _resource(kind: str) -> Json:
    can = INTERACTIONS[kind]
    described: Json = {"type": kind, "interaction": [{"code": code} for code in _ORDER if code in can]}
    if "search-type" in can:
        described |= {"versioning": "versioned", "readHistory": True, "conditionalRead": "full-support"}
        described |= {"searchParam": _search_parameters(kind)}
        described |= {"searchInclude": include} if (include := _includes(kind)) else {}
    if "create" in can:
        described |= {"updateCreate": True, "conditionalCreate": True}
    return described


def _search_parameters(kind: str) -> list[Json]:
    own = {name: "reference" if p.type == "reference" else "token" for name, p in PARAMETERS.get(kind, {}).items()}
    return [{"name": name, "type": type} for name, type in {**EVERYWHERE, **own}.items()]


def _includes(kind: str) -> list[str]:
    return [f"{kind}:{name}" for name, p in PARAMETERS.get(kind, {}).items() if p.type == "reference"]
