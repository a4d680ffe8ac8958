"""What we said and take back: the same resource, marked so that no reader takes it for a result.

Source: FHIR R4 4.0.1, value sets diagnostic-report-status and observation-status: `entered-in-error` is for what was
released already and must be withdrawn; `cancelled` is for what never came to a result.
"""

from __future__ import annotations

from collections.abc import Sequence

from fundus_relay.domain.packed import Packed
from fundus_relay.domain.values import Json

from . import names
from .identity import id_of
from .narrative import narrative
from .pages import is_overlay, replaced

ENTERED_IN_ERROR = "entered-in-error"
WITHDRAWN = "Withdrawn: a later revision of the report no longer says this."

_PHOTOGRAPHS = "Its photographs were taken back by their sender; no statement is made about this patient's eyes."


def withdrawn(resource: Json) -> Json:
    """A DiagnosticReport, Observation, Media or Binary that no longer stands."""
    if resource["resourceType"] == "Binary":
        return replaced(resource)
    taken_back = {**resource, "status": ENTERED_IN_ERROR}
    if is_overlay(resource):
        content = {"contentType": resource["content"]["contentType"], "title": "Withdrawn"}
        return {
            **taken_back,
            "content": content,
            "text": narrative(["Withdrawn: no report shows this picture any more."]),
        }
    if resource["resourceType"] == "Media":
        return {**taken_back, "text": narrative(["Withdrawn: no report refers to this photograph any more."])}
    if resource["resourceType"] == "DiagnosticReport":
        return {**taken_back, "text": narrative([WITHDRAWN, _PHOTOGRAPHS]), "conclusion": f"{WITHDRAWN} {_PHOTOGRAPHS}"}
    return {**taken_back, "text": narrative([WITHDRAWN])}


def withdrawn_report(said: Sequence[Json], *, revision: int, issued: str) -> Packed:
    """The newest revision, taken back as a whole by a further one.

    Args:
        said: resources of the newest revision, the DiagnosticReport first.
        issued: FHIR instant.
    """
    packed = Packed.of(said)
    return packed.mapped(lambda each: _taken_back(each, packed.heads[0], revision, issued))


def _taken_back(resource: Json, report: Json, revision: int, issued: str) -> Json:
    match resource["resourceType"]:
        case "DiagnosticReport" | "Observation":
            told = {name: value for name, value in resource.items() if name != "presentedForm"}
            return {**withdrawn(told), "issued": issued}
        case "Media" if is_overlay(resource):
            return {**withdrawn(resource), "issued": issued}
        case "Media" | "Binary":
            return withdrawn(resource)
        case "Provenance":
            named = {"system": names.SID_REPORT, "value": f"{report['identifier'][0]['value']}/provenance/{revision}"}
            words = narrative([f"Revision {revision} of a screening report: withdrawn.", _PHOTOGRAPHS])
            return {**resource, "id": id_of(named), "recorded": issued, "text": words}
    return resource
