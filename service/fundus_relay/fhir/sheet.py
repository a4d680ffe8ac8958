"""What the PDF and the pictures of a report say: the words of the report itself, and nothing that it has not."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from fundus_relay.domain.analysis import Graded, NotFundus, Ungradable
from fundus_relay.domain.laterality import Laterality
from fundus_relay.domain.sheets import Caption, Marked, Row, Sheet
from fundus_relay.domain.values import Image, Json

from . import device
from .delivery_bundle import identifier_of
from .findings import in_source
from .narrative import moment
from .report import Report, line_of

UNREVIEWED = "AI-GENERATED, UNREVIEWED"
STANDIN = "STAND-IN: SIMULATED RESULT - NOT FOR PATIENT CARE"
NO_STATEMENT = "No statement"

_EYES = {Laterality.RIGHT: "Right eye (OD)", Laterality.LEFT: "Left eye (OS)", None: "Eye, side not coded"}
_DAY = len("2026-11-30")


def sheet_of(report: Report, revision: int) -> Sheet:
    """The page of a report revision."""
    told = report.diagnostic_report
    number = number_of(report)
    issued = moment(told["issued"])
    outstanding = [image for image in report.images if image not in report.pictured or image.analysis is None]
    is_standin = any(image.is_standin for image in report.pictured)
    return Sheet(
        title="Retinal eye screening report",
        state=" - ".join(
            [
                *([f"REVISION {revision}, REPLACES {revision - 1}"] if revision > 1 else []),
                *(["PARTIAL"] if told["status"] == "partial" else []),
                *("PRELIMINARY", "UNSIGNED", "AI-GENERATED"),
            ]
        ),
        warnings=(STANDIN,) if is_standin else (),
        facts=tuple(_facts(told, revision, issued)),
        remarks=(
            *(f"{title_of(image, report)}: {line_of(image)}." for image in outstanding),
            *report.missing,
        ),
        rows=tuple(_row(image, report) for image in report.images),
        disclaimer=" ".join([*device.cautions(is_standin=is_standin), device.DISCLAIMER]),
        foot=f"Report {number} · revision {revision} · issued {issued}",
        issued=datetime.fromisoformat(told["issued"]),
    )


def number_of(report: Report) -> str:
    """By which people know a report; its revisions share it."""
    return str(report.diagnostic_report["identifier"][0]["value"])


def marked_of(image: Image, report: Report) -> Marked:
    """What is drawn on the picture of an analysed image.

    Raises: Unexplained, as `findings`.
    """
    assert image.prepared is not None  # noqa: S101 - it was analysed
    lesions = image.analysis.lesions if isinstance(image.analysis, Graded) else ()
    boxes = tuple((in_source(image, image.prepared, lesion.box), lesion.literal) for lesion in lesions)
    return Marked(boxes, image.prepared.to_source.inverse(), caption_of(image, report))


def caption_of(image: Image, report: Report) -> Caption:
    """What stands beside the picture of an image."""
    is_unmarked = isinstance(image.analysis, Graded) and not image.analysis.lesions
    said = f"{line_of(image)}{'; no lesions marked' if is_unmarked else ''}"
    return Caption(
        title=title_of(image, report),
        taken=f"taken {moment(image.captured)}" if image.captured else "",
        result=said[:1].upper() + said[1:],
        warnings=(*((STANDIN,) if image.is_standin else ()), UNREVIEWED),
        counts=_counts(image),
        report=f"Report {number_of(report)}",
    )


def title_of(image: Image, report: Report) -> str:
    """Which eye, and which of its images."""
    simulated = f" ({device.SIMULATED})" if image.is_standin else ""
    return f"{_EYES[image.laterality]}{report.numbers[image.id]}{simulated}"


def _counts(image: Image) -> dict[str, int]:
    lesions = image.analysis.lesions if isinstance(image.analysis, Graded) else ()
    return dict(sorted(Counter(lesion.literal for lesion in lesions).items()))


def _row(image: Image, report: Report) -> Row:
    title = ", ".join(filter(None, (title_of(image, report), moment(image.captured or "")[:_DAY])))
    match image.analysis:
        case Graded() as graded:
            lesions = tuple(f"{kind}: {count}" for kind, count in _counts(image).items())
            return Row(
                title,
                "Gradable",
                "Detected" if graded.has_retinopathy else "Not detected",
                "Yes" if graded.is_referable else "No",
                lesions or ("None marked",),
            )
        case Ungradable():
            return Row(title, "Cannot be graded", NO_STATEMENT, NO_STATEMENT, (NO_STATEMENT,))
        case NotFundus():
            return Row(title, "Not a fundus photograph", NO_STATEMENT, NO_STATEMENT, (NO_STATEMENT,))
        case _:
            why = line_of(image).partition(", no statement")[0]
            return Row(title, why[:1].upper() + why[1:], NO_STATEMENT, NO_STATEMENT, (NO_STATEMENT,))


def _facts(told: Json, revision: int, issued: str) -> list[tuple[str, str]]:
    taken = [moment(told[name]) for name in ("effectiveDateTime",) if name in told]
    taken += [f"{moment(p['start'])} to {moment(p['end'])}" for p in [told.get("effectivePeriod")] if p]
    facts = [("Patient", _named(told["subject"]))]
    facts += [("Order", _named(each)) for each in told.get("basedOn", [])]
    facts += [("Visit", _named(told["encounter"]))] if "encounter" in told else []
    facts += [("Imaging study", _named(each)) for each in told.get("imagingStudy", [])]
    facts += [("Photographed", each) for each in taken]
    return [
        *facts,
        ("Report", told["identifier"][0]["value"]),
        ("Revision", str(revision)),
        ("Issued", issued),
        ("Reported by", told["performer"][0]["display"]),
    ]


def _named(reference: Json) -> str:
    """A reference in words: its display, its identifier, or where it leads, as far as the report has them."""
    literal = str(reference.get("reference", ""))
    _, is_search, criterion = literal.partition("?identifier=")
    stated = identifier_of(criterion) if is_search else reference.get("identifier", {})
    identified = " ".join(
        filter(None, (stated.get("value", ""), f"({stated['system']})" if "system" in stated else ""))
    )
    return " · ".join(filter(None, (reference.get("display", ""), identified, "" if is_search else literal)))
