"""The Observations about one image: gradability, retinopathy, referral, lesions.

How this works. What the analyser did not answer has no value and says why (`dataAbsentReason`); there is no path from a
missing, ungradable or unreadable answer to "not detected". A box is mapped back into the source raster, exactly as the
picture's preparation says, and both frames are on record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fundus_relay.domain.analysis import AnalysisFailed, Graded, Lesion, NotFundus, Ungradable
from fundus_relay.domain.errors import AnswerNotUnderstood, Unexplained
from fundus_relay.domain.geometry import Box
from fundus_relay.domain.states import ImageState
from fundus_relay.domain.values import Image, Json, PreparedPicture, Study

from . import codes, device, names
from .identity import id_of, identifier
from .narrative import narrative

PRESENCE = ("dr-presence", codes.RETINOPATHY)
REFERABLE = ("referable-dr",)

_Judgement = tuple[Json, Json]
"""A value and its interpretation."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What all Observations of a report have in common.

    Attributes:
        issued: FHIR instant.
        organization: shown as performer.
        labels: what each image is called in words, by its id.
    """

    study: Study
    issued: str
    organization: str
    labels: Mapping[str, str]


def is_unreadable(image: Image) -> bool:
    """Whether the analyser answered and nobody understood it."""
    return image.state is ImageState.PARKED and image.reason == AnswerNotUnderstood.code


def findings(image: Image, setting: Setting) -> list[Json]:
    """The Observations of one image; none when the analyser said nothing about it."""
    match image.analysis:
        case Graded() as graded:
            return _of_graded(image, graded, setting)
        case Ungradable() as ungradable:
            return [
                _gradability(
                    image, setting, is_fundus=True, value=_said(codes.concept("ungradable"), ungradable, "imageQuality")
                ),
                *_without_value(image, setting, codes.absent("unknown", "image-ungradable")),
            ]
        case NotFundus():
            why = codes.absent("not-applicable", "not-a-fundus-image")
            return [
                _gradability(image, setting, is_fundus=False, why=why),
                *_without_value(image, setting, why),
            ]
        case AnalysisFailed() | None:
            pass
    if is_unreadable(image):
        return [_judgement(image, setting, *PRESENCE, why=codes.absent("error", "answer-not-understood"))]
    return []


def _of_graded(image: Image, graded: Graded, setting: Setting) -> list[Json]:
    observations = [
        _gradability(image, setting, is_fundus=True, value=_said(codes.concept("gradable"), graded, "imageQuality")),
        _judgement(image, setting, *PRESENCE, value=_presence(graded)),
        _judgement(image, setting, *REFERABLE, value=_referable(graded)),
    ]
    if graded.lesions and image.prepared is not None:
        observations.append(_lesion_map(image, image.prepared, graded.lesions, setting))
    return observations


def _without_value(image: Image, setting: Setting, why: Json) -> list[Json]:
    return [_judgement(image, setting, *PRESENCE, why=why), _judgement(image, setting, *REFERABLE, why=why)]


def _gradability(
    image: Image, setting: Setting, *, is_fundus: bool, value: Json | None = None, why: Json | None = None
) -> Json:
    frame = _frame(image, image.prepared) if image.prepared else []
    return {
        **_observation(image, setting, "image-gradability", codes.QUALITY_ANALYSIS, value=value, why=why),
        **({"extension": [{"url": names.IMAGE_FRAME, "extension": frame}]} if frame else {}),
        "component": [{"code": codes.concept("is-fundus-image"), "valueBoolean": is_fundus}],
    }


def _said(concept: Json, analysis: Graded | Ungradable, field: str) -> Json:
    """The concept with the analyser's own word as its text, where one was kept."""
    return {**concept, "text": analysis.literals.get(field) or concept["text"]}


def _presence(graded: Graded) -> _Judgement:
    standard, local, flag = (
        (codes.DETECTED, "dr-detected", codes.ABNORMAL)
        if graded.has_retinopathy
        else (codes.NOT_DETECTED, "dr-not-detected", codes.NOT_DETECTED_FLAG)
    )
    return _said({"coding": [standard, codes.local(local)], "text": standard["display"]}, graded, "drYes"), flag


def _referable(graded: Graded) -> _Judgement:
    standard, flag = (codes.YES, codes.ABNORMAL) if graded.is_referable else (codes.NO, codes.NOT_DETECTED_FLAG)
    return _said({"coding": [standard], "text": standard["display"]}, graded, "referrableDR"), flag


def _judgement(
    image: Image, setting: Setting, kind: str, *standard: Json, value: _Judgement | None = None, why: Json | None = None
) -> Json:
    """An answer with its flag, or why there is none."""
    if value is None:
        return _observation(image, setting, kind, *standard, why=why)
    concept, flag = value
    return {
        **_observation(image, setting, kind, *standard, value=concept),
        "interpretation": [{"coding": [flag]}],
    }


def _lesion_map(image: Image, sent: PreparedPicture, lesions: tuple[Lesion, ...], setting: Setting) -> Json:
    frame = _frame(image, sent)
    return {
        **_observation(image, setting, "lesion-regions", told=_counted(lesions)),
        "component": [
            {
                "extension": [_bounding_box(image, sent, lesion, frame)],
                "code": codes.lesion(lesion.literal),
                "valueCodeableConcept": {"coding": [codes.DETECTED], "text": "Detected"},
            }
            for lesion in lesions
        ],
    }


def _counted(lesions: Sequence[Lesion]) -> str:
    """How many of what the analyser marked, in its words."""
    counts = Counter(lesion.literal for lesion in lesions)
    return f"{len(lesions)} marked: {', '.join(f'{word} ({count})' for word, count in counts.items())}"


def _bounding_box(image: Image, sent: PreparedPicture, lesion: Lesion, frame: Sequence[Json]) -> Json:
    """The box in pixels of the source raster as stored, and how the submitted picture relates to it."""
    box = in_source(image, sent, lesion.box)
    numbers = {"xMin": box.x_min, "yMin": box.y_min, "xMax": box.x_max, "yMax": box.y_max}
    return {
        "url": names.LESION_BOUNDING_BOX,
        "extension": [
            *({"url": name, "valueDecimal": _number(value)} for name, value in numbers.items()),
            *frame,
            {"url": "image", "valueReference": {"reference": f"Media/{image.media_id}"}},
            {"url": "source", "valueString": lesion.source},
        ],
    }


def _frame(image: Image, sent: PreparedPicture) -> list[Json]:
    """The source raster as stored, and the picture that the analyser was given of it."""
    return [
        {"url": "columns", "valuePositiveInt": image.source.size.columns},
        {"url": "rows", "valuePositiveInt": image.source.size.rows},
        {"url": "frame", "valueCode": "source-image"},
        {"url": "transform", "valueString": _transform(sent)},
        {"url": "imageSha256", "valueString": image.source.sha256},
        *_in_dicom(image),
    ]


def _in_dicom(image: Image) -> list[Json]:
    """The instance that the picture is a frame of, when it came as DICOM from an archive."""
    if image.instance is None:
        return []
    return [
        {"url": "sopInstance", "valueOid": f"urn:oid:{image.instance.instance}"},
        {"url": "frameNumber", "valuePositiveInt": image.source.frame},
    ]


def in_source(image: Image, sent: PreparedPicture, box: Box) -> Box:
    """The box on the pixels it was found on.

    Raises:
        Unexplained: it does not lie in the source's frame, so that nobody knows which pixels it means.
    """
    try:
        mapped = sent.to_source.box(box)
    except ValueError as exc:
        raise Unexplained(f"image {image.id}: a box left the source's frame on its way back") from exc
    if not mapped.lies_in(image.source.size):
        raise Unexplained(f"image {image.id}: a box left the source's frame on its way back")
    return mapped


def _number(value: float) -> int | float:
    return int(value) if value == int(value) else round(value, 3)


def _transform(sent: PreparedPicture) -> str:
    a = sent.to_source
    a_x, b_x, c_x, a_y, b_y, c_y = (f"{factor:.9g}" for factor in (a.a, a.b, a.c, a.d, a.e, a.f))
    steps = "; ".join(sent.steps) or "as sent"
    return (
        f"submitted {sent.size.columns} x {sent.size.rows} ({steps}); source x = {a_x} x + {b_x} y + {c_x}, "
        f"y = {a_y} x + {b_y} y + {c_y}"
    )


def _observation(
    image: Image,
    setting: Setting,
    kind: str,
    *standard: Json,
    value: Json | None = None,
    why: Json | None = None,
    told: str = "",
) -> Json:
    """What the findings of one image have in common.

    Args:
        told: in words, what neither `value` nor `why` says.
    """
    named = identifier(names.SID_RESULT, setting.study.key, image.source.name, kind)
    code = codes.concept(kind, *standard)
    told = value["text"] if value else f"no value: {why['text']}" if why else told
    sentence = f"{setting.labels[image.id]}: {code['text']}: {told} ({device.METHODS[image.is_standin]})."
    return {
        "resourceType": "Observation",
        "id": id_of(named),
        "meta": {"profile": [names.profile(kind)], "security": [codes.AI_LABEL]},
        "text": narrative([sentence, *device.cautions(is_standin=image.is_standin)]),
        "identifier": [named],
        "status": "preliminary",
        "category": [{"coding": [codes.EXAM]}, {"coding": [codes.IMAGING]}],
        "code": code,
        "subject": setting.study.subject,
        **({"encounter": setting.study.context["encounter"]} if "encounter" in setting.study.context else {}),
        **({"effectiveDateTime": image.captured} if image.captured else {}),
        "issued": setting.issued,
        "performer": [{"display": setting.organization}],
        **({"valueCodeableConcept": value} if value else {}),
        **({"dataAbsentReason": why} if why else {}),
        "bodySite": codes.EYES[image.laterality],
        "method": {
            "coding": [codes.AUTOMATED],
            "text": f"{device.METHODS[image.is_standin]}, automated analysis of colour fundus photograph",
        },
        "device": {"reference": f"Device/{device.analyser(is_standin=image.is_standin)['id']}"},
        "derivedFrom": [{"reference": f"Media/{image.media_id}"}],
    }
