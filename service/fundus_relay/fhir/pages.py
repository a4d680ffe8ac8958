"""What people look at, as FHIR: the PDF of a report (`presentedForm`) and a Media for each photograph with its boxes.

How this works. Each file is a Binary, under an id that its bytes determine, so that one never changes and putting it
twice is putting it once. An attachment says where it lies at our endpoint; how an EHR gets it is `carriage`'s affair.
"""

from __future__ import annotations

from base64 import b64encode

from fundus_relay.domain.analysis import Graded
from fundus_relay.domain.values import Earlier, Image, Json, StoredPage

from . import codes, device, names
from .findings import Setting
from .identity import id_of, identifier
from .narrative import moment, narrative

REPLACED = "This page was withdrawn: a later revision of the report does not have it. Look at the report itself."


def drawn_on(image: Image) -> str:
    """What a drawing of an image shows. One without boxes says why it has none: it is no finding of nothing."""
    match image.analysis:
        case Graded(lesions=lesions) if lesions:
            return "with boxes drawn"
        case Graded():
            return "no boxes drawn: no lesions marked"
        case _:
            return "no boxes drawn: no statement about retinopathy"


def not_drawn(earlier: Earlier | None) -> str:
    """Why there is no new picture of an image with its boxes, in words, and where there is an earlier one."""
    if earlier is None:
        return "the photograph could not be shown with its boxes"
    return f"the photograph cannot be drawn again; its picture with boxes is {_of_revision(earlier)}"


def shown_instead(earlier: Earlier) -> str:
    """The same, where the picture would stand."""
    return f"This photograph cannot be shown again. Its picture with boxes is {_of_revision(earlier)}."


AS_BEFORE = "picture as an earlier revision had it"
"""Of one that is shown again as it is kept: what is written on it, such as `image 1 of 2`, is of then."""


def _of_revision(earlier: Earlier) -> str:
    return f"that of the revision of {moment(earlier.media['issued'])}, if it is still there"


def is_overlay(resource: Json) -> bool:
    """Whether a resource is a picture that we drew, and no photograph."""
    return any(each.get("system") == names.SID_OVERLAY for each in resource.get("identifier", []))


def page_id(setting: Setting, page: StoredPage) -> str:
    """Id of the Binary that a page is."""
    return id_of(identifier(names.SID_PAGE, setting.study.key, page.sha256))


def page_of(attachment: Json) -> str:
    """Id of the Binary that an attachment leads to."""
    return str(attachment.get("url", "")).rpartition("/Binary/")[2]


def attachment(page: StoredPage, setting: Setting, public_url: str, title: str) -> Json:
    """A page as a resource refers to it.

    Args:
        title: names nobody.
    """
    return {
        "contentType": page.media_type,
        "url": f"{public_url}/Binary/{page_id(setting, page)}",
        "size": page.byte_count,
        "hash": page.sha1,
        "title": title,
        "creation": setting.issued,
    }


def binary(page: StoredPage, setting: Setting, of: Json) -> Json:
    """A page as a Binary whose bytes lie in the blob store.

    Args:
        of: whoever may see this resource may see the page.
    """
    return {
        **kept_binary(page_id(setting, page), page.media_type, page.sha256),
        "meta": {"profile": [names.profile("report-page")]},
        "securityContext": {"reference": f"{of['resourceType']}/{of['id']}"},
    }


def kept_binary(id: str, media_type: str, sha256: str) -> Json:
    """A Binary whose bytes lie in the blob store, as only we know it."""
    kept = {"extension": [{"url": names.KEPT_BLOB, "valueString": sha256}]}
    return {"resourceType": "Binary", "id": id, "contentType": media_type, "_data": kept}


def blob_of(page: Json) -> str | None:
    """Digest of the bytes of a Binary of ours; None when it has them itself, or is none of ours."""
    stated = page.get("_data", {}).get("extension", [])
    return next((str(each["valueString"]) for each in stated if each["url"] == names.KEPT_BLOB), None)


def digest_of(photograph: Json) -> str:
    """Digest of the bytes of a photograph, by its Media as it is stored."""
    return str(photograph["content"]["url"]).removeprefix("Binary/")


def replaced(page: Json) -> Json:
    """A Binary that no revision refers to any more: what it showed is gone, and it says so."""
    kept = {name: page[name] for name in ("resourceType", "id", "meta")}
    return {**kept, "contentType": "text/plain", "data": b64encode(REPLACED.encode()).decode()}


def purged(page: Json) -> Json:
    """A Binary whose bytes are kept no longer."""
    return {**page, "_data": {"extension": [{"url": names.PURGED_BLOB, "valueBoolean": True}]}}


def is_purged(page: Json) -> bool:
    """Whether a Binary's bytes were let go."""
    return any(each["url"] == names.PURGED_BLOB for each in page.get("_data", {}).get("extension", []))


def overlay_media(image: Image, photograph: Json, page: StoredPage, setting: Setting, public_url: str) -> Json:
    """A photograph with its boxes drawn, derived from the photograph as it is published.

    Who drew it says its narrative, and the report's Provenance: R4's `Media.device` is what took a photograph, and it
    names Device twice among the types that it may refer to, at which HL7's validator takes offence.
    """
    named = identifier(names.SID_OVERLAY, setting.study.key, image.source.name)
    said = f"{setting.labels[image.id]}: photograph, {drawn_on(image)}."
    kept = ("createdDateTime", "createdPeriod", "modality", "view")
    studies = setting.study.context.get("imagingStudy", [])
    assert page.size is not None  # noqa: S101 - a drawn picture has one
    return {
        "resourceType": "Media",
        "id": id_of(named),
        "meta": {"profile": [names.profile("overlay-media")], "security": [codes.AI_LABEL]},
        "text": narrative([said, *device.cautions(is_standin=image.is_standin)]),
        "identifier": [named],
        "partOf": [{"reference": f"Media/{photograph['id']}"}, *studies],
        "status": "completed",
        "subject": setting.study.subject,
        **({"encounter": setting.study.context["encounter"]} if "encounter" in setting.study.context else {}),
        **{name: photograph[name] for name in kept if name in photograph},
        "issued": setting.issued,
        "bodySite": codes.EYES[image.laterality],
        "width": page.size.columns,
        "height": page.size.rows,
        "content": attachment(page, setting, public_url, f"Photograph, {drawn_on(image)}, AI-generated"),
    }


def earlier_media(image: Image, earlier: Earlier, public_url: str) -> Json:
    """An overlay that stays as it was drawn, part of the photograph as it is known now."""
    media, content = earlier.media, earlier.media["content"]
    return {
        **media,
        "partOf": [{"reference": f"Media/{image.media_id}"}, *media["partOf"][1:]],
        "content": {**content, "url": f"{public_url}/Binary/{page_of(content)}"},
    }


def earlier_comment(image: Image, earlier: Earlier) -> str:
    """What a report says of it."""
    return f"{drawn_on(image)}, {_of_revision(earlier)}"
