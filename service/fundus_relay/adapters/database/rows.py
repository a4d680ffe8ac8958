"""Values as rows and rows as values. What the database does not look into is JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, assert_never

from psycopg.types.json import Jsonb

from fundus_relay.domain.analysis import Analysis, AnalysisFailed, Graded, Lesion, NotFundus, Ungradable
from fundus_relay.domain.dicom import InstanceName
from fundus_relay.domain.geometry import Affine, Box, Size
from fundus_relay.domain.laterality import Laterality
from fundus_relay.domain.states import AcquisitionState, DeliveryState, ImageState, StudyState
from fundus_relay.domain.urgency import Urgency
from fundus_relay.domain.values import (
    Acquisition,
    CreditMark,
    Delivery,
    Image,
    PreparedPicture,
    StoredPicture,
    Study,
    Submission,
)

Row = Mapping[str, Any]  # a row of ours: its columns are typed by the migrations


def study_of(row: Row) -> Study:
    return Study(
        id=str(row["id"]),
        key=row["key"],
        subject=row["subject"],
        context=row["context"],
        state=StudyState(row["state"]),
        revision=row["revision"],
        fingerprint=row["fingerprint"],
        urgency=Urgency(row["urgency"]),
    )


def image_of(row: Row) -> Image:
    return Image(
        id=str(row["id"]),
        study_id=str(row["study_id"]),
        media_id=row["media_id"],
        source=_stored_picture(row["source"]),
        laterality=Laterality(row["laterality"]) if row["laterality"] else None,
        state=ImageState(row["state"]),
        since=row["since"],
        captured=row["captured"],
        instance=InstanceName(**row["instance"]) if row["instance"] else None,
        due_at=row["due_at"],
        reason=row["reason"],
        attempt=row["attempt"],
        resends=row["resends"],
        prepared=_prepared_picture(row["prepared"]) if row["prepared"] else None,
        credit_mark=CreditMark(**row["credit_mark"]) if row["credit_mark"] else None,
        job_id=row["job_id"],
        job_status=row["job_status"],
        analysing_since=row["analysing_since"],
        analysis=_analysis(row["analysis"]) if row["analysis"] else None,
        answered_at=row["answered_at"],
        is_standin=row["is_standin"],
        advice=tuple(row["advice"]),
        trace=row["trace"],
        urgency=Urgency(row["urgency"]),
        tenant=row["tenant"],
        place=row["place"],
    )


def submission_of(row: Row) -> Submission:
    return Submission(
        id=str(row["id"]),
        study_id=str(row["study_id"]),
        accepted_at=row["accepted_at"],
        image_media=row["image_media"],
        imaging_studies=tuple(row["imaging_studies"]),
        is_urgency_refused=row["is_urgency_refused"],
    )


def acquisition_of(row: Row) -> Acquisition:
    return Acquisition(
        id=str(row["id"]),
        study_id=str(row["study_id"]),
        submission_id=str(row["submission_id"]),
        imaging_study=row["imaging_study"],
        address=row["address"],
        study_uid=row["study_uid"],
        state=AcquisitionState(row["state"]),
        since=row["since"],
        asked_at=row["asked_at"],
        due_at=row["due_at"],
        reason=row["reason"],
        attempt=row["attempt"],
        looked_at=row["looked_at"],
        instances=row["instances"],
        trace=row["trace"],
        urgency=Urgency(row["urgency"]),
        tenant=row["tenant"],
        place=row["place"],
    )


def delivery_of(row: Row) -> Delivery:
    return Delivery(
        id=str(row["id"]),
        study_id=str(row["study_id"]),
        revision=row["revision"],
        destination=row["destination"],
        state=DeliveryState(row["state"]),
        report_id=row["report_id"],
        since=row["since"],
        due_at=row["due_at"],
        reason=row["reason"],
        attempt=row["attempt"],
        first_tried_at=row["first_tried_at"],
        remote_id=row["remote_id"],
        traces=tuple(row["traces"]),
    )


def column(value: object) -> object:
    """A field's value as its column takes it."""
    match value:
        case Graded() | Ungradable() | NotFundus() | AnalysisFailed():
            return Jsonb(_analysis_json(value))
        case StoredPicture() | PreparedPicture() | CreditMark() | InstanceName():
            return Jsonb(asdict(value))
        case dict() | list() | tuple():
            return Jsonb(value)
        case _:
            return value


def _stored_picture(json: Row) -> StoredPicture:
    return StoredPicture(**{**json, "size": Size(**json["size"])})


def _prepared_picture(json: Row) -> PreparedPicture:
    return PreparedPicture(
        **{
            **json,
            "size": Size(**json["size"]),
            "to_source": Affine(**json["to_source"]),
            "steps": tuple(json["steps"]),
        }
    )


def _analysis_json(analysis: Analysis) -> dict[str, object]:
    match analysis:
        case Graded():
            kind = "graded"
        case Ungradable():
            kind = "ungradable"
        case NotFundus():
            kind = "not-fundus"
        case AnalysisFailed():
            kind = "failed"
        case _:
            assert_never(analysis)
    return {"kind": kind, **asdict(analysis)}


def _analysis(json: Row) -> Analysis:
    fields = {name: value for name, value in json.items() if name != "kind"}
    match json["kind"]:
        case "graded":
            lesions = tuple(Lesion(**{**lesion, "box": Box(**lesion["box"])}) for lesion in json["lesions"])
            return Graded(**{**fields, "lesions": lesions})
        case "ungradable":
            return Ungradable(**fields)
        case "not-fundus":
            return NotFundus(**fields)
        case "failed":
            return AnalysisFailed(**fields)
        case other:
            raise ValueError(f"an analysis of kind {other} is not ours")
