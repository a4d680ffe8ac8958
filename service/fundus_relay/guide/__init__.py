"""The implementation guide as this version has it: what `make profiles` compiled from `profiles/`, in FHIR's JSON.

`compiled` is generated; whoever changes the guide changes `profiles/` and lets `make profiles` write it anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files

from fundus_relay.domain.values import Json


@cache
def artefact(kind: str, id: str) -> Json:
    """One of the guide's artefacts. Not to be changed by who gets it. Raises FileNotFoundError when there is none."""
    text = files(__name__).joinpath("compiled", f"{kind}-{id}.json").read_text(encoding="utf-8")
    resource: Json = json.loads(text)
    return resource


@cache
def artefacts(kind: str) -> Mapping[str, Json]:
    """All artefacts of a resource type by their id, in the order of the ids."""
    found = sorted(each.name for each in files(__name__).joinpath("compiled").iterdir())
    ids = [name.removeprefix(f"{kind}-").removesuffix(".json") for name in found if name.startswith(f"{kind}-")]
    return {id: artefact(kind, id) for id in ids}


def fixed(profile: str, element: str) -> Json:
    """The one coding that a profile asks of an element.

    Args:
        element: id of the element in the StructureDefinition, such as `DiagnosticReport.code`.
    """
    elements = artefact("StructureDefinition", profile)["differential"]["element"]
    (pattern,) = (each["patternCodeableConcept"] for each in elements if each["id"] == element)
    (coding,) = pattern["coding"]
    return {name: coding[name] for name in ("system", "code", "display")}


def terms(code_system: str, group: str | None = None) -> Mapping[str, Json]:
    """The concepts of a CodeSystem by code.

    Args:
        group: code of a concept; only what stands below it.
    """
    concepts = artefact("CodeSystem", code_system)["concept"]
    if group is None:
        return {each["code"]: each for each in concepts}
    (below,) = (each["concept"] for each in concepts if each["code"] == group)
    return {each["code"]: each for each in below}


def members(value_set: str) -> Mapping[str, Json]:
    """The codings of a ValueSet that lists them, by code."""
    listed: Iterable[Json] = artefact("ValueSet", value_set)["compose"]["include"]
    return {
        each["code"]: {"system": of["system"], "code": each["code"], "display": each["display"]}
        for of in listed
        for each in of["concept"]
    }


def targets(concept_map: str) -> Mapping[str, Json]:
    """The codings that a ConceptMap gives, by the codes that it maps."""
    (group,) = artefact("ConceptMap", concept_map)["group"]
    return {
        each["code"]: {"system": group["target"], **{name: target[name] for name in ("code", "display")}}
        for each in group["element"]
        for target in each["target"]
    }
