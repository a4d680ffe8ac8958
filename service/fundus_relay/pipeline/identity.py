"""What makes several photographs one study, and how the EHR knows the things they refer to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from fundus_relay.domain.values import Entry, Json, StoredPicture

OURS = "relay-"
"""How ids begin that we gave away; every other id is the sender's, and the EHR's."""

_ESCAPED = str.maketrans({"\\": "\\\\", "|": "\\|", ",": "\\,", "$": "\\$"})


@dataclass(frozen=True, slots=True)
class Known:
    """A resource that came along with a Media, or earlier.

    Attributes:
        id_at_ehr: `Type/id` as the EHR knows it, or None when only its identifier can tell.
        is_earlier: whether it was here before this request.
    """

    resource: Json
    id_at_ehr: str | None
    is_earlier: bool = False


def id_at_ehr(entry: Entry) -> str | None:
    """What the EHR calls an entry: the id of a PUT, or that of a `fullUrl` at the EHR."""
    kind = entry.resource["resourceType"]
    name = f"{kind}/{entry.resource['id']}" if entry.method == "PUT" else entry.full_url or ""
    return name if name.startswith(f"{kind}/") and not is_ours(name) else None


def is_ours(literal: str) -> bool:
    """Whether a literal reference names something by an id that we gave."""
    return literal.partition("/")[2].startswith(OURS)


def study_key(media: Json, picture: StoredPicture, subject: Json, known: Mapping[str, Known]) -> str:
    """The study that a Media belongs to, as a digest that tells nothing of the patient.

    The first of these that the Media names and the EHR knows: an ImagingStudy (`partOf`), a ServiceRequest
    (`basedOn`), an encounter. A Media that stands alone is a study of its own, known by its pixels: the same picture
    of the same patient, sent twice, is one study and paid once.

    Args:
        subject: the Patient as the EHR knows it.
    """
    named = [
        *(ref for ref in media.get("partOf", []) if points_to(ref, "ImagingStudy", known)),
        *(ref for ref in media.get("basedOn", []) if points_to(ref, "ServiceRequest", known)),
        *([media["encounter"]] if "encounter" in media else []),
    ]
    names = [name["reference"] for ref in named if (name := at_ehr(ref, known))]
    return key_of(subject, names[0] if names else f"picture {picture.sha256}")


def key_of(subject: Json, group: str) -> str:
    """The key of one patient's study.

    Args:
        group: what its photographs have in common, as the EHR knows it.
    """
    return hashlib.sha256(f"{subject['reference']}\n{group}".encode()).hexdigest()


def points_to(reference: Json, kind: str, known: Mapping[str, Known]) -> bool:
    """Whether a reference is to a resource of this type."""
    literal = reference.get("reference", "")
    if literal in known:
        return bool(known[literal].resource["resourceType"] == kind)
    return reference.get("type") == kind or f"/{literal}".rpartition("/")[0].endswith(f"/{kind}")


def at_ehr(reference: Json, known: Mapping[str, Known]) -> Json | None:
    """The reference in words that the EHR understands; its `reference` is always there.

    A literal reference is the EHR's own and stays. What came along without an id of the EHR's is named by its
    identifier, as a search that the EHR resolves while it writes; without an identifier the EHR cannot know it, and
    the answer is None.
    """
    literal = reference.get("reference")
    if literal is None:
        return _by_identifier(reference.get("type"), [reference.get("identifier", {})])
    if literal not in known:
        return {**reference}
    target = known[literal]
    if target.id_at_ehr is not None:
        return {**reference, "reference": target.id_at_ehr}
    return _by_identifier(target.resource["resourceType"], target.resource.get("identifier", []))


def _by_identifier(kind: str | None, identifiers: list[Json]) -> Json | None:
    for identifier in identifiers:
        if kind and identifier.get("value"):
            return {"reference": f"{kind}?identifier={criterion(identifier)}"}
    return None


def criterion(identifier: Json) -> str:
    """An identifier as a search value: FHIR-escaped, then url-encoded.

    Source: FHIR R4 4.0.1, search, "Escaping Search Parameters"; observed with HAPI FHIR 8.8.0 for 15 odd values.
    """
    value = identifier["value"].translate(_ESCAPED)
    system = identifier.get("system", "").translate(_ESCAPED)
    return quote(f"{system}|{value}" if system else value, safe="")
