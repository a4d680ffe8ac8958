"""One DiagnosticReport of a study, and everything that goes with it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from fundus_relay.domain.analysis import AnalysisFailed, Graded, NotFundus, Ungradable
from fundus_relay.domain.laterality import Laterality
from fundus_relay.domain.packed import Packed
from fundus_relay.domain.states import AcquisitionState, ImageState
from fundus_relay.domain.values import Acquisition, Image, Json, Pages, Study

from . import codes, device, names, pages
from .findings import Setting, findings, is_unreadable
from .identity import id_of, identifier
from .narrative import narrative
from .search_dates import intervals

TITLE = "Retinal eye screening report, AI-generated"
_EYE_NAMES = {Laterality.RIGHT: "Right eye", Laterality.LEFT: "Left eye", None: "Eye, side not coded"}


@dataclass(frozen=True, slots=True)
class Report:
    """A report revision with our own ids; references among its parts are literal.

    Attributes:
        resources: the DiagnosticReport first, then Observations, panels, Devices, Media, Binaries and the Provenance.
        images: what it tells of, by eye.
        pictured: those with an answer and a photograph.
        numbers: by image id, `, image 1 of 2` when its eye has several.
        missing: what it does not tell of, in sentences.
    """

    resources: Packed
    images: tuple[Image, ...]
    pictured: tuple[Image, ...]
    numbers: Mapping[str, str]
    missing: tuple[str, ...]

    @property
    def diagnostic_report(self) -> Json:
        return self.resources.heads[0]


def fingerprint(study: Study, images: Sequence[Image], acquisitions: Sequence[Acquisition] = ()) -> str:
    """A digest of what the report says; equal as long as nothing that it says changes."""
    said = [
        [
            image.source.name,
            image.media_id,
            image.laterality,
            image.captured,
            _is_outstanding(image),
            repr(image.analysis),
            image.is_standin,
            image.state is ImageState.REJECTED,
            image.reason if image.state is ImageState.PARKED else None,
        ]
        for image in images
        if image.state is not ImageState.CANCELLED
    ]
    missing = [_missing(acquisitions)] if acquisitions else []  # a study without one keeps the digest it had
    told = [study.subject, study.context, said, *missing]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def build_report(
    study: Study,
    images: Sequence[Image],
    media: Mapping[str, Json],
    acquisitions: Sequence[Acquisition] = (),
    *,
    revision: int,
    issued: datetime,
    public_url: str,
    organization: str,
    made: Pages = Pages(),  # noqa: B008 - frozen
) -> Report:
    """Put a report revision together.

    Args:
        images: of the study, in order of arrival; at least one of them has an analysis.
        media: the stored Media resources by id.
        acquisitions: what brings, or did not bring, photographs of the study from archives.
        issued: tells revisions apart at the EHR; whole milliseconds.
        public_url: base under which photographs and pages can be fetched.
        made: pages of this very revision, for people to look at.

    Raises:
        Unexplained: a lesion's box does not lie in the picture that the EHR knows.
    """
    told = _by_eye([image for image in images if image.state is not ImageState.CANCELLED])
    numbers = _numbers(told)
    setting = Setting(study, issued.isoformat(timespec="milliseconds"), organization, _labels(told, numbers))
    resources = Packed([{}])  # the report itself comes last of all
    found = {image.id: [resources.append(each) for each in findings(image, setting)] for image in told}
    panels = [
        _panel([image for image in told if image.laterality is eye and found[image.id]], found, setting)
        for eye in dict.fromkeys(image.laterality for image in told if found[image.id])
    ]
    observations = [each for image in told for each in found[image.id]]
    pictured = [image for image in told if found[image.id] and image.media_id in media]
    analysers = [device.analyser(is_standin=kind) for kind in sorted({image.is_standin for image in pictured})]
    overlays = {
        image.id: pages.overlay_media(image, media[image.media_id], made.overlays[image.id], setting, public_url)
        for image in pictured
        if image.id in made.overlays
    }
    earlier = {
        image.id: pages.earlier_media(image, made.earlier[image.id], public_url)
        for image in pictured
        if image.id in made.earlier
    }
    report = _report(study, told, [*panels, *observations], pictured, acquisitions, setting, revision)
    report = _with_pages(report, pictured, overlays, made, setting, public_url, revision)
    asserted = [*observations, *panels, *overlays.values()]
    for each in (
        *panels,
        *analysers,
        device.relay(),
        *(_media(image, media[image.media_id], setting, public_url) for image in pictured),
        *overlays.values(),
        *earlier.values(),
        *([pages.binary(made.sheet, setting, report)] if made.sheet else []),
        *(pages.binary(made.overlays[of], setting, overlay) for of, overlay in overlays.items()),
        *(pages.purged(made.earlier[of].page) for of in earlier),
        _provenance(report, asserted, pictured, analysers, revision),
    ):
        resources.append(each)
    return Report(
        resources.mapped(lambda each: each or report),
        tuple(told),
        tuple(pictured),
        numbers,
        (*_unseen(told), *_missing(acquisitions)),
    )


def _with_pages(
    report: Json,
    pictured: Sequence[Image],
    overlays: Mapping[str, Json],
    made: Pages,
    setting: Setting,
    public_url: str,
    revision: int,
) -> Json:
    """The same, with what people look at; says of which photographs there is no such picture."""
    drawn: list[Json] = []
    for shown, image in zip(report["media"], pictured, strict=True):
        drawn.append(shown)
        label, earlier = setting.labels[image.id], made.earlier.get(image.id)
        if image.id in overlays:
            link = {"reference": f"Media/{overlays[image.id]['id']}"}
            drawn.append({"comment": f"{label}, {pages.drawn_on(image)}", "link": link})
        elif earlier is not None:
            link = {"reference": f"Media/{earlier.media['id']}"}
            drawn.append({"comment": f"{label}, {pages.earlier_comment(image, earlier)}", "link": link})
    lacking = [f" {setting.labels[id]}: {pages.not_drawn(made.earlier.get(id))}." for id in made.not_drawn]
    title = f"{TITLE}, revision {revision}"
    form = [pages.attachment(made.sheet, setting, public_url, title)] if made.sheet else []
    return {
        **report,
        "media": drawn,
        "conclusion": report["conclusion"] + "".join(lacking),
        **({"presentedForm": form} if form else {}),
    }


def _by_eye(images: Sequence[Image]) -> list[Image]:
    """Right eye, left eye, eye not stated; within an eye in the order of arrival."""
    return sorted(images, key=lambda image: list(_EYE_NAMES).index(image.laterality))


def _numbers(images: Sequence[Image]) -> dict[str, str]:
    """Which of its eye's images each is, in words; empty when it is the only one."""
    of_eye = Counter(image.laterality for image in images)
    seen: Counter[Laterality | None] = Counter()
    numbers: dict[str, str] = {}
    for image in images:
        eye = image.laterality
        seen[eye] += 1
        numbers[image.id] = f", image {seen[eye]} of {of_eye[eye]}" if of_eye[eye] > 1 else ""
    return numbers


def _labels(images: Sequence[Image], numbers: Mapping[str, str]) -> dict[str, str]:
    """What each image is called, by its id: its eye, and whatever tells it from the others of the report."""
    days = {image.captured[:10] for image in images if image.captured}
    labels: dict[str, str] = {}
    for image in images:
        day = f" ({image.captured[:10]})" if image.captured and len(days) > 1 else ""
        simulated = f" ({device.SIMULATED})" if image.is_standin else ""
        labels[image.id] = f"{_EYE_NAMES[image.laterality]}{numbers[image.id]}{day}{simulated}"
    return labels


def _effective(images: Sequence[Image]) -> Json:
    """When the photographs were taken: a moment, or, when it was on several days, from the first to the last."""
    captured = sorted((image.captured for image in images if image.captured), key=_begin)
    if not captured:
        return {}
    if captured[0][:10] == captured[-1][:10]:
        return {"effectiveDateTime": captured[0]}
    return {"effectivePeriod": {"start": captured[0], "end": captured[-1]}}


def _begin(captured: str) -> datetime:
    begin = intervals(captured)[0].begin
    assert begin is not None  # noqa: S101 - a date without prefix has one
    return begin


def _report(
    study: Study,
    images: Sequence[Image],
    results: Sequence[Json],
    pictured: Sequence[Image],
    acquisitions: Sequence[Acquisition],
    setting: Setting,
    revision: int,
) -> Json:
    named = identifier(names.SID_REPORT, study.key)
    replaces = [f"Revision {revision}: replaces what this report said before."] if revision > 1 else []
    lines = [(setting.labels[image.id], line_of(image)) for image in images]
    missing = [*_unseen(images), *_missing(acquisitions)]
    said = [f"{which}: {text}." for which, text in lines]
    conclusion = " ".join([*replaces, *said, *missing, *_warnings(images)])
    is_partial = any(map(_is_incomplete, acquisitions)) or any(map(_is_outstanding, images))
    return {
        "resourceType": "DiagnosticReport",
        "id": id_of(named),
        "meta": {"profile": [names.profile("screening-report")], "security": [codes.AI_LABEL]},
        "text": narrative([*replaces, *missing, *_warnings(images)], lines),
        "identifier": [named],
        **{name: study.context[name] for name in ("basedOn",) if name in study.context},
        "status": "partial" if is_partial else "preliminary",
        "category": [{"coding": [codes.OPHTHALMOLOGY]}, {"coding": [codes.IMAGING_SECTION]}],
        "code": {"coding": [codes.SCREENING_REPORT], "text": TITLE},
        "subject": study.subject,
        **{name: study.context[name] for name in ("encounter",) if name in study.context},
        **_effective(pictured),
        "issued": setting.issued,
        "performer": [{"display": setting.organization}],
        "result": [{"reference": f"Observation/{each['id']}"} for each in results],
        **{name: study.context[name] for name in ("imagingStudy",) if name in study.context},
        "media": [
            {"comment": setting.labels[image.id], "link": {"reference": f"Media/{image.media_id}"}}
            for image in pictured
        ],
        "conclusion": conclusion,
    }


def _is_incomplete(acquisition: Acquisition) -> bool:
    """Whether photographs may still come from the archive."""
    return acquisition.state in {AcquisitionState.DUE, AcquisitionState.PARKED}


def _unseen(images: Sequence[Image]) -> list[str]:
    """That an eye was not photographed, or may not have been: silence is no all-clear."""
    seen = {image.laterality for image in images}
    if not seen or seen >= set(Laterality):
        return []
    if None in seen:
        return ["Of which eye a photograph is was not stated; it is not known that both eyes are in this report."]
    (other,) = set(Laterality) - seen
    return [f"No photograph of the {_EYE_NAMES[other].lower()} is in this report; no statement about it."]


def _missing(acquisitions: Sequence[Acquisition]) -> list[str]:
    """What the report does not tell of because it did not come from an archive, in sentences."""
    standing = [each for each in acquisitions if each.state is not AcquisitionState.CANCELLED]
    unused = sum(why is not None for each in standing for why in each.instances.values())
    sentences = []
    if unused:
        sentences.append(f"Photographs of this study that could not be used: {unused}; no statement about them.")
    if any(map(_is_incomplete, acquisitions)):
        sentences.append("Not all photographs of this study have come from the archive; no statement about the others.")
    return sentences


def _is_outstanding(image: Image) -> bool:
    """Whether an answer for this image may still come: it is parked, or still at the analyser."""
    return image.state not in {ImageState.ANSWERED, ImageState.REJECTED, ImageState.CANCELLED}


def line_of(image: Image) -> str:
    """An image's result in words."""
    match image.analysis:
        case Graded(has_retinopathy=True) as graded:
            count = f", lesions marked: {len(graded.lesions)}" if graded.lesions else ""
            referable = "referable" if graded.is_referable else "not referable"
            text = f"diabetic retinopathy detected, {referable}{count}"
        case Graded():
            text = "diabetic retinopathy not detected"
        case Ungradable():
            text = "image cannot be graded, no statement about retinopathy"
        case NotFundus():
            text = "not a fundus photograph, no statement about retinopathy"
        case AnalysisFailed():
            text = "the analysis failed, no statement about retinopathy"
        case None if image.state is ImageState.REJECTED:
            text = "the picture could not be analysed, no statement about retinopathy"
        case None if is_unreadable(image):
            text = "the analyser's answer was not understood, no statement about retinopathy"
        case None:
            text = "no result yet, no statement about retinopathy"
    return text


def _said(image: Image, setting: Setting) -> str:
    """An image's result in one sentence that says whose it is."""
    return f"{setting.labels[image.id]}: {line_of(image)} ({device.METHODS[image.is_standin]})."


def _cautions(images: Sequence[Image]) -> list[str]:
    return device.cautions(is_standin=any(image.is_standin for image in images))


def _warnings(images: Sequence[Image]) -> list[str]:
    return [*_cautions(images), device.DISCLAIMER]


def _panel(images: Sequence[Image], found: Mapping[str, Sequence[Json]], setting: Setting) -> Json:
    """The findings of one eye; has no value of its own: a roll-up would be our claim, not the analyser's."""
    eye, members = images[0].laterality, [each for image in images for each in found[image.id]]
    named = identifier(names.SID_RESULT, setting.study.key, "panel", eye or "")
    code = codes.concept("eye-panel")
    first = members[0]
    kept = ("status", "category", "subject", "encounter", "issued", "performer")
    return {
        "resourceType": "Observation",
        "id": id_of(named),
        "meta": {"profile": [names.profile("eye-panel")], "security": [codes.AI_LABEL]},
        **{name: first[name] for name in kept if name in first},
        **_effective(images),
        "text": narrative([*(_said(image, setting) for image in images), *_cautions(images)]),
        "identifier": [named],
        "code": code,
        "bodySite": codes.EYES[eye],
        "hasMember": [{"reference": f"Observation/{each['id']}"} for each in members],
    }


def _media(image: Image, stored: Json, setting: Setting, public_url: str) -> Json:
    """The photograph as the EHR may keep it: no pixels, but where they can be fetched."""
    named = identifier(names.SID_IMAGE, setting.study.key, image.source.name)
    content = {key: value for key, value in stored["content"].items() if key != "data"}
    taken = f", taken {image.captured}" if image.captured else ""
    kept = (
        "createdDateTime",
        "createdPeriod",
        "bodySite",
        "width",
        "height",
        "modality",
        "view",
        "deviceName",
    )
    return {
        "resourceType": "Media",
        "id": image.media_id,
        "meta": {"profile": [names.profile("published-media")]},
        "text": narrative([f"{setting.labels[image.id]}: photograph{taken}."]),
        "identifier": [named],
        "status": "completed",
        "subject": setting.study.subject,
        **{name: stored[name] for name in kept if name in stored},
        "content": {**content, "url": f"{public_url}/Binary/{image.media_id}"},
    }


def _provenance(
    report: Json, asserted: Sequence[Json], images: Sequence[Image], analysers: Sequence[Json], revision: int
) -> Json:
    """Who made this revision of what.

    Args:
        asserted: Observations, and pictures that were drawn.
    """
    named = {"system": names.SID_REPORT, "value": f"{report['identifier'][0]['value']}/provenance/{revision}"}
    targets = [f"DiagnosticReport/{report['id']}", *(f"{each['resourceType']}/{each['id']}" for each in asserted)]
    roles = [*(("Author", each) for each in analysers), ("Assembler", device.relay())]
    return {
        "resourceType": "Provenance",
        "id": id_of(named),
        "meta": {"profile": [names.profile("report-provenance")]},
        "text": narrative(
            [f"Revision {revision} of a screening report.", device.CAUTION],
            [(role, device.name_of(each)) for role, each in roles],
        ),
        "target": [{"reference": target} for target in targets],
        "recorded": report["issued"],
        "reason": [{"coding": [codes.AI_LABEL]}],
        "agent": [
            *({"type": {"coding": [codes.AUTHOR]}, "who": {"reference": f"Device/{each['id']}"}} for each in analysers),
            {"type": {"coding": [codes.ASSEMBLER]}, "who": {"reference": f"Device/{device.relay()['id']}"}},
        ],
        "entity": [{"role": "source", "what": {"reference": f"Media/{image.media_id}"}} for image in images],
    }
