"""How pages for people travel to an EHR."""

from __future__ import annotations

import json
from base64 import b64decode
from collections import Counter
from dataclasses import replace

import pytest
from tests.golden.stories import STORIES, page_bytes

from fundus_relay.domain.packed import Packed
from fundus_relay.domain.policy import Carriage
from fundus_relay.domain.values import Json, Pages
from fundus_relay.fhir.carriage import (
    LARGEST,
    LARGEST_TOGETHER,
    Manner,
    carried,
    travelling,
    without,
    without_bytes,
)
from fundus_relay.fhir.pages import is_overlay, purged, replaced

STORY = STORIES["two-images-per-eye"]
TOLD = STORY.told().resources
KEPT = {page.sha256: page_bytes(number) for number, page in enumerate(STORY.made.overlays.values())}
KEPT[STORY.made.sheet.sha256 if STORY.made.sheet else ""] = page_bytes(99)


def sent(sheet: Carriage, overlays: Carriage, told: Packed = TOLD) -> Packed:
    manner = Manner(sheet, overlays)
    return carried(told, manner, {page: KEPT[digest] for page, digest in travelling(told, manner)})


def form_of(resources: Packed) -> Json:
    (form,) = resources[0]["presentedForm"]
    return dict(form)


def overlays_of(resources: Packed) -> list[Json]:
    return [each for each in resources if is_overlay(each)]


def kinds(resources: Packed) -> Counter[str]:
    return Counter(each["resourceType"] for each in resources)


@pytest.mark.parametrize("sheet", Carriage)
@pytest.mark.parametrize("overlays", Carriage)
def test_no_mark_of_our_own_store_leaves_us(sheet: Carriage, overlays: Carriage) -> None:
    assert "kept-blob" in json.dumps(list(TOLD))
    assert "kept-blob" not in json.dumps(list(sent(sheet, overlays)))


def test_inline_the_bytes_are_in_the_attachment() -> None:
    resources = sent(Carriage.INLINE, Carriage.INLINE)

    form = form_of(resources)
    assert b64decode(form["data"]) == page_bytes(99)
    assert "url" not in form
    assert (form["contentType"], form["size"]) == ("application/pdf", len(page_bytes(99)))
    assert [b64decode(each["content"]["data"]) for each in overlays_of(resources)] == [page_bytes(n) for n in range(4)]
    assert kinds(resources)["Binary"] == 0


def test_as_binaries_they_stand_beside_the_report_and_are_led_to() -> None:
    resources = sent(Carriage.BINARY, Carriage.BINARY)

    files = {f"Binary/{each['id']}": b64decode(each["data"]) for each in resources if each["resourceType"] == "Binary"}
    assert files[form_of(resources)["url"]] == page_bytes(99)
    assert [files[each["content"]["url"]] for each in overlays_of(resources)] == [page_bytes(n) for n in range(4)]
    assert kinds(resources)["Binary"] == 5


def test_by_link_they_stay_with_us() -> None:
    resources = sent(Carriage.LINK, Carriage.LINK)

    links = [form_of(resources)["url"], *(each["content"]["url"] for each in overlays_of(resources))]
    assert all(link.startswith("https://relay.example/fhir/Binary/") for link in links)
    assert len(set(links)) == 5
    assert kinds(resources)["Binary"] == 0


def test_none_of_them_leaves_no_trace() -> None:
    resources = sent(Carriage.NONE, Carriage.NONE)

    assert "presentedForm" not in resources[0]
    assert overlays_of(resources) == []
    assert [each["comment"] for each in resources[0]["media"] if "boxes" in each["comment"]] == []
    there = {f"{each['resourceType']}/{each['id']}" for each in resources}
    (provenance,) = (each for each in resources if each["resourceType"] == "Provenance")
    assert {each["reference"] for each in provenance["target"]} <= there
    assert {each["link"]["reference"] for each in resources[0]["media"]} <= there


def test_one_kind_goes_its_way_and_the_other_its_own() -> None:
    resources = sent(Carriage.BINARY, Carriage.LINK)

    assert kinds(resources)["Binary"] == 1
    assert form_of(resources)["url"].startswith("Binary/")
    assert all(each["content"]["url"].startswith("https://relay.example/") for each in overlays_of(resources))


def grown(byte_count: int, *, overlays: int = 0) -> Packed:
    """The report with a PDF, and with overlays, of that many bytes."""
    assert STORY.made.sheet is not None
    pictures = {id: replace(page, byte_count=overlays or 9) for id, page in STORY.made.overlays.items()}
    made = Pages(replace(STORY.made.sheet, byte_count=byte_count), pictures)
    return replace(STORY, pages=made).told().resources


@pytest.mark.parametrize("manner", [Carriage.INLINE, Carriage.BINARY])
def test_a_page_that_is_too_large_is_linked_to(manner: Carriage) -> None:
    at_most, over = (sent(manner, Carriage.LINK, grown(LARGEST + more)) for more in (0, 1))

    assert not form_of(at_most).get("url", "").startswith("https")
    assert form_of(over)["url"].startswith("https://relay.example/fhir/Binary/")
    assert kinds(over)["Binary"] == 0


def test_many_large_pictures_are_not_all_sent() -> None:
    forms = [{"url": f"x/Binary/{n}", "size": LARGEST} for n in range(40)]
    page = next(each for each in TOLD if each["resourceType"] == "Binary")
    report = {"resourceType": "DiagnosticReport", "presentedForm": forms}
    told = Packed([report, *({**page, "id": str(n)} for n in range(40))])

    going = list(travelling(told, Manner(Carriage.INLINE, Carriage.INLINE)))

    assert len(going) == LARGEST_TOGETHER // LARGEST
    assert LARGEST * 4 / 3 <= 1_000_000


def test_a_page_that_the_store_has_lost_is_linked_to() -> None:
    resources = carried(TOLD, Manner(Carriage.INLINE, Carriage.BINARY), {})

    assert form_of(resources)["url"].startswith("https://relay.example/")
    assert kinds(resources)["Binary"] == 0


def test_a_binary_that_was_replaced_goes_where_binaries_go() -> None:
    gone = replaced(next(each for each in TOLD if each["resourceType"] == "Binary"))

    assert sent(Carriage.LINK, Carriage.LINK, Packed((*TOLD, gone)))[-1] != gone
    assert sent(Carriage.BINARY, Carriage.LINK, Packed((*TOLD, gone)))[-1] == gone
    assert b"withdrawn" in b64decode(gone["data"])


def let_go(told: Packed = TOLD) -> Packed:
    """The same when the bytes of the last drawing are kept no longer."""
    page = [each["id"] for each in told if each["resourceType"] == "Binary"][-1]
    return told.mapped(lambda each: purged(each) if each["id"] == page else each)


@pytest.mark.parametrize("sheet", Carriage)
@pytest.mark.parametrize("overlays", Carriage)
def test_a_page_that_was_purged_does_not_travel(sheet: Carriage, overlays: Carriage) -> None:
    before, now = (sent(sheet, overlays, told) for told in (TOLD, let_go()))

    assert kinds(before)["Binary"] - kinds(now)["Binary"] == (overlays is Carriage.BINARY)
    assert "purged-blob" not in json.dumps(list(now))
    assert [each["id"] for each in overlays_of(now)] == [each["id"] for each in overlays_of(before)]


@pytest.mark.parametrize("overlays", [Carriage.INLINE, Carriage.BINARY, Carriage.LINK])
def test_drawings_whose_bytes_are_not_here_are_known(overlays: Carriage) -> None:
    manner, told = Manner(Carriage.INLINE, overlays), let_go()
    pages = {page: KEPT[digest] for page, digest in travelling(told, manner)}
    drawn = [f"Media/{each['id']}" for each in overlays_of(told)]

    assert dict(without_bytes(TOLD, manner, {page: b"" for page, _ in travelling(TOLD, manner)})) == {}
    assert dict(without_bytes(told, manner, pages)) == {drawn[-1]: True}
    lost = {} if overlays is Carriage.LINK else dict.fromkeys(drawn[:-1], False)
    assert dict(without_bytes(told, manner, {})) == lost | {drawn[-1]: True}


def test_a_drawing_that_an_ehr_cannot_be_given_is_left_out_or_taken_back() -> None:
    gone, wrong = (f"Media/{each['id']}" for each in overlays_of(TOLD)[:2])

    told = without(TOLD, {gone, wrong}, {wrong})

    there = {f"{each['resourceType']}/{each['id']}": each for each in told}
    assert gone not in there
    assert there[wrong]["status"] == "entered-in-error"
    assert "url" not in there[wrong]["content"]
    assert not {gone, wrong} & {each["link"]["reference"] for each in told[0]["media"]}
    assert len(TOLD[0]["media"]) - len(told[0]["media"]) == 2
    assert without(TOLD, set(), set()) == TOLD
