"""Marks of what we send that an EHR may refuse because it does not know them.

A server that validates with the definitions of FHIR R4 4.0.1 alone knows neither the code AIAST, which is younger, nor
any profile of ours, and refuses the whole transaction for either. Without them, narratives, Devices, methods and the
reason of a Provenance say all the same that an AI speaks.

Source: HAPI FHIR 8.8.0 with RequestValidatingInterceptor, observed.
"""

from __future__ import annotations

from typing import Any

from fundus_relay.domain.values import Json

from . import codes


def marked(bundle: Json, *, ai_label: bool, profiles: bool) -> Json:
    """The transaction with these marks kept or left out; other labels of a resource stay."""
    told = marked_resource(bundle, ai_label=ai_label, profiles=profiles)
    return {**told, "entry": [marked_entry(each, ai_label=ai_label, profiles=profiles) for each in bundle["entry"]]}


def marked_entry(entry: Json, *, ai_label: bool, profiles: bool) -> Json:
    """The same of one entry."""
    return {**entry, "resource": marked_resource(entry["resource"], ai_label=ai_label, profiles=profiles)}


def marked_resource(resource: Json, *, ai_label: bool, profiles: bool) -> Json:
    """The same of one resource."""
    meta: dict[str, Any] = {**resource.get("meta", {})}  # Any: FHIR JSON
    if not profiles:
        meta.pop("profile", None)
    changed = dict(resource)
    if not ai_label:
        meta["security"] = [each for each in meta.get("security", []) if not _is_ai_label(each)]
        if resource["resourceType"] == "Provenance":
            changed["reason"] = [_in_words(each) for each in resource.get("reason", [])]
    changed["meta"] = {name: value for name, value in meta.items() if value}
    return {key: value for key, value in changed.items() if value not in ({}, [])}  # an empty element is no FHIR


def _in_words(concept: Json) -> Json:
    """The same without the code."""
    if not any(map(_is_ai_label, concept.get("coding", []))):
        return concept
    others = [each for each in concept["coding"] if not _is_ai_label(each)]
    return {**({"coding": others} if others else {}), "text": concept.get("text", codes.AI_LABEL["display"])}


def _is_ai_label(coding: Json) -> bool:
    return all(coding.get(name) == codes.AI_LABEL[name] for name in ("system", "code"))
