"""Whose things are: nothing that is here already is drawn into another patient's report, or stands for another picture.

Whatever came in one request was compared while it was read; this is about what was stored before.
"""

from __future__ import annotations

from collections.abc import Mapping

from fundus_relay.domain.errors import InvalidResource, Issue, StudyMismatch
from fundus_relay.domain.values import Entry, Json, StoredPicture
from fundus_relay.fhir.intake.references import grouping, subject_of

from .headers import check_study
from .identity import Known, at_ehr, is_ours
from .ports import Transaction


def is_about_another(before: Json, now: Json) -> bool:
    """Whether two versions of a resource name different patients, or one patient otherwise."""
    return any(before["subject"].get(name) != now["subject"].get(name) for name in ("reference", "identifier"))


async def check_groups(entry: Entry, subject: Json, known: Mapping[str, Known], tx: Transaction) -> list[Json]:
    """See that stored orders, encounters and studies that a Media names are about its patient.

    Args:
        subject: the patient as the EHR knows it.

    Returns:
        Those that are stored.

    Raises: InvalidResource.
    """
    stored: list[Json] = []
    for reference in grouping(entry.resource):
        group = await _stored(reference.get("reference", ""), known, tx)
        owner = await _owner(group, known, tx) if group is not None else None
        if owner is not None and owner != subject["reference"]:
            text = "the order, encounter or study that this Media names is about somebody else, or names them otherwise"
            raise InvalidResource(Issue(f"{entry.element}.subject", "conflict", text, "patient-mismatch"))
        stored += [group] if group is not None else []
    return stored


async def check_studies(entry: Entry, known: Mapping[str, Known], tx: Transaction) -> None:
    """See that a DICOM file is of the studies that its Media is part of: stored, sent along, contained or named by UID.

    Raises: InvalidResource.
    """
    if entry.header is None:
        return
    for number, reference in enumerate(entry.resource.get("partOf", [])):
        study = await _meant(reference, entry.resource, known, tx)
        if study.get("resourceType", reference.get("type")) != "ImagingStudy":
            continue
        try:
            check_study(entry.header, study)
        except StudyMismatch as why:
            raise InvalidResource(Issue(f"{entry.element}.partOf[{number}]", "conflict", str(why), why.code)) from why


async def _meant(reference: Json, media: Json, known: Mapping[str, Known], tx: Transaction) -> Json:
    """What a reference says of what it leads to: the resource, or its identifier alone."""
    literal = str(reference.get("reference", ""))
    if literal.startswith("#"):
        return next((each for each in media.get("contained", []) if each.get("id") == literal[1:]), {})
    if literal in known:
        return known[literal].resource
    kind, _, id = literal.partition("/")
    stored = await tx.resources.read(kind, id) if id else None
    return stored or {"identifier": [reference.get("identifier", {})]}


async def check_found(
    entry: Entry, picture: StoredPicture, found: Json, known: Mapping[str, Known], tx: Transaction
) -> None:
    """See that the Media which a conditional create finds is the one that its sender means.

    Raises: InvalidResource. An answer of success would tell that a photograph is here which is not.
    """
    named = at_ehr(entry.resource["subject"], known)
    is_same_patient = named is not None and named["reference"] == await _owner(found, known, tx)
    if not is_same_patient or found["content"]["url"] != f"Binary/{picture.sha256}":
        text = "the Media that this condition finds has another picture or patient; send this one under its own name"
        raise InvalidResource(Issue(entry.element, "conflict", text, "match-differs"))


async def _stored(literal: str, known: Mapping[str, Known], tx: Transaction) -> Json | None:
    """A resource that was here before this request, or that a condition of this request found here."""
    if literal in known and not known[literal].is_earlier:
        return None
    if literal in known:
        return known[literal].resource
    kind, _, id = literal.partition("/")
    return await tx.resources.read(kind, id) if id else None


async def _owner(resource: Json, known: Mapping[str, Known], tx: Transaction) -> str | None:
    """Whom a stored resource is about, as the EHR knows them."""
    subject = subject_of(resource) or {}
    literal = subject.get("reference", "")
    if is_ours(literal) and literal not in known:
        patient = await tx.resources.read("Patient", literal.removeprefix("Patient/"))
        known = {**known, literal: Known(patient or {}, None, is_earlier=True)}
    named = at_ehr(subject, known) if subject else None
    return str(named["reference"]) if named else None
