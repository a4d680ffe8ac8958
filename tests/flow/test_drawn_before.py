"""What an EHR has of photographs that cannot be drawn again: later revisions leave it alone, as long as it is true."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.flow.aging import come_to_the_present, files_of, grow_older
from tests.flow.photographs import in_error
from tests.flow.test_looked_at import overlays, pdf_at_ehr, taking, words
from tests.flow.test_purge import MONTH, PIXELS, purge
from tests.flow.world import LEFT, RIGHT, World, a_photograph
from tests.unit.imaging.pictures import a_jpeg

from fundus_relay.adapters.database.legal_hold import PostgresHolds
from fundus_relay.domain.policy import Carriage, Kept
from fundus_relay.domain.values import Entry
from fundus_relay.fhir.pages import is_overlay
from fundus_relay.pipeline.operator import hold

Json = dict[str, Any]  # FHIR
EYE, OTHER_EYE, THIRD = a_jpeg(noise=21), a_jpeg(noise=22), a_jpeg(noise=23)
ORDER = [{"reference": "ServiceRequest/77"}]
PREPARED = dict.fromkeys((Kept.SOURCE, Kept.PREPARED), MONTH)
AGAIN = "cannot be drawn again; its picture with boxes is that of the revision of"
MADE_WITHOUT = "could not be shown with its boxes"


@pytest.fixture(autouse=True)
async def present(world: World) -> None:
    """The EHR gets pages with their bytes, but where a test says otherwise."""
    come_to_the_present(world)
    taking(world, Carriage.INLINE, Carriage.INLINE)
    order = {"resourceType": "ServiceRequest", "id": "77", "status": "active", "intent": "order"}
    await world.ehr.put("/fhir/ServiceRequest/77", json=order)


async def arrive(world: World, *photographs: Entry) -> None:
    """Have them accepted, analysed and reported."""
    await world.accept(*photographs)
    await world.finish()


async def right(world: World, picture: bytes = EYE, **media: Any) -> Entry:  # Any: of a Media
    return await a_photograph(world, picture, **{"method": "PUT", "id": "right", "basedOn": ORDER, **media})


async def left(world: World, picture: bytes = OTHER_EYE, **media: Any) -> Entry:  # Any: as above
    return await a_photograph(world, picture, basedOn=ORDER, bodySite=LEFT, **media)


async def let_go(world: World, blobs: Path, ages: dict[Kept, timedelta] = PIXELS) -> None:
    """Let a month pass, and what is old go."""
    await grow_older(world, blobs, timedelta(days=31))
    await purge(world, ages)


async def of_eye(world: World, eye: str) -> Json:
    """The only overlay at the EHR of this eye."""
    (found,) = (each for each in await overlays(world) if each["bodySite"]["text"] == eye)
    return found


async def linked(world: World) -> list[str]:
    """Status of every Media that the report refers to, in order."""
    there = {f"Media/{each['id']}": each["status"] for each in await world.at_ehr("Media")}
    return [there[each["link"]["reference"]] for each in (await world.report())["media"]]


@pytest.mark.parametrize("carriage", [Carriage.INLINE, Carriage.BINARY, Carriage.LINK])
async def test_a_late_photograph_leaves_the_drawing_that_the_ehr_has(
    world: World, tmp_path: Path, carriage: Carriage
) -> None:
    taking(world, Carriage.INLINE, carriage)
    await arrive(world, await right(world))
    drawn, files = await of_eye(world, "Right eye"), await world.at_ehr("Binary")
    await let_go(world, tmp_path)

    await arrive(world, await left(world))

    assert await of_eye(world, "Right eye") == drawn
    assert [each for each in await world.at_ehr("Binary") if each in files] == files
    assert await linked(world) == ["completed"] * 4
    assert f"Right eye (stand-in, simulated): the photograph {AGAIN}" in (await world.report())["conclusion"]
    assert (await world.ports.ledger.census()).parked == {}


@pytest.mark.parametrize("carriage", [Carriage.INLINE, Carriage.BINARY])
async def test_a_drawing_whose_page_is_kept_goes_along_again_and_onto_paper(
    world: World, tmp_path: Path, carriage: Carriage
) -> None:
    taking(world, Carriage.INLINE, carriage)
    await arrive(world, await right(world))
    drawn, files = await of_eye(world, "Right eye"), await world.at_ehr("Binary")
    await let_go(world, tmp_path, PREPARED)

    await arrive(world, await left(world))

    again = await of_eye(world, "Right eye")
    assert {**again["content"], "creation": ""} == {**drawn["content"], "creation": ""}
    assert again["issued"] > drawn["issued"]
    assert [each for each in await world.at_ehr("Binary") if each in files] == files
    assert await linked(world) == ["completed"] * 4
    report = await world.report()
    assert AGAIN not in report["conclusion"]
    assert MADE_WITHOUT not in report["conclusion"]
    said = words(await pdf_at_ehr(world))
    assert "cannot be shown" not in said
    assert said.count("picture as an earlier revision had it") == 1


async def test_paper_says_where_the_picture_is(world: World, tmp_path: Path) -> None:
    await arrive(world, await right(world))
    issued = (await world.report())["issued"]
    await let_go(world, tmp_path)

    await arrive(world, await left(world))

    when = f"the revision of {issued[:16].replace('T', ' ')} UTC, if it is still there"
    said = words(await pdf_at_ehr(world))
    assert said.count("This photograph cannot be shown again.") == 1
    assert f"Its picture with boxes is that of {when}." in said
    comments = [each["comment"] for each in (await world.report())["media"] if when in each["comment"]]
    assert comments == [f"Right eye (stand-in, simulated), no boxes drawn: no lesions marked, that of {when}"]


async def test_what_was_drawn_once_stays_through_purge_after_purge(world: World, tmp_path: Path) -> None:
    await arrive(world, await right(world))
    first = await of_eye(world, "Right eye")
    await let_go(world, tmp_path)
    await arrive(world, await left(world))
    second = await of_eye(world, "Left eye")
    await let_go(world, tmp_path)

    await arrive(world, await a_photograph(world, THIRD, basedOn=ORDER, bodySite=None))
    await let_go(world, tmp_path)

    assert await of_eye(world, "Right eye") == first
    assert await of_eye(world, "Left eye") == second
    assert await linked(world) == ["completed"] * 6
    assert (await world.report())["conclusion"].count(AGAIN) == 2
    assert files_of(tmp_path) == []
    assert len(await world.at_ehr("Provenance")) == 3


async def test_an_answer_that_got_lost_writes_nothing_twice(world: World, tmp_path: Path) -> None:
    taking(world, Carriage.BINARY, Carriage.BINARY)
    await arrive(world, await right(world))
    drawn = await of_eye(world, "Right eye")
    await let_go(world, tmp_path)
    await world.ehr_fails(lose_answer=2)

    await world.accept(await left(world))
    await world.finish(step=timedelta(minutes=20))

    assert await of_eye(world, "Right eye") == drawn
    assert (await world.report())["meta"]["versionId"] == "2"
    assert len(await world.at_ehr("Provenance")) == 2
    assert {each["meta"]["versionId"] for each in await overlays(world)} == {"1"}


@pytest.mark.parametrize("ages", [PREPARED, PIXELS], ids=["page-kept", "page-purged"])
async def test_a_drawing_of_an_eye_that_is_corrected_is_taken_back(
    world: World, tmp_path: Path, ages: dict[Kept, timedelta]
) -> None:
    photograph = await right(world)
    await arrive(world, photograph)
    await let_go(world, tmp_path, ages)

    await arrive(world, await right(world, bodySite=LEFT))

    (overlay,) = await overlays(world)
    assert overlay["status"] == "entered-in-error"
    assert not {"data", "url"} & overlay["content"].keys()
    assert await linked(world) == ["completed"]
    assert MADE_WITHOUT in (await world.report())["conclusion"]
    assert "This photograph cannot be shown." in words(await pdf_at_ehr(world))


async def test_a_photograph_that_is_taken_back_takes_its_old_drawing_along(world: World, tmp_path: Path) -> None:
    taking(world, Carriage.INLINE, Carriage.BINARY)
    photograph = await right(world)
    await arrive(world, photograph)
    await let_go(world, tmp_path)
    await arrive(world, await left(world))
    page = (await of_eye(world, "Right eye"))["content"]["url"].removeprefix("Binary/")

    await arrive(world, in_error(photograph))

    assert (await of_eye(world, "Right eye"))["status"] == "entered-in-error"
    assert (await of_eye(world, "Left eye"))["status"] == "completed"
    assert {each["id"]: each["contentType"] for each in await world.at_ehr("Binary")}[page] == "text/plain"
    assert await linked(world) == ["completed"] * 2


async def test_a_report_that_is_taken_back_takes_old_drawings_along(world: World, tmp_path: Path) -> None:
    first, second = await right(world), await left(world, method="PUT", id="left")
    await arrive(world, first)
    await let_go(world, tmp_path)
    await arrive(world, second)

    await arrive(world, in_error(first), in_error(second))

    assert (await world.report())["status"] == "entered-in-error"
    assert [each["status"] for each in await world.at_ehr("Media")] == ["entered-in-error"] * 4


async def test_a_drawing_is_taken_back_when_another_photograph_gets_its_number(world: World, tmp_path: Path) -> None:
    first, second = await right(world), await right(world, OTHER_EYE, id="second", bodySite=RIGHT)
    await arrive(world, first)
    await arrive(world, second)
    assert [each["text"]["div"].count("image 2 of 2") for each in await overlays(world)] == [0, 1]
    await let_go(world, tmp_path)

    await arrive(world, in_error(first))

    assert [each["status"] for each in await overlays(world)] == ["entered-in-error"] * 2


async def test_another_photograph_of_the_same_eye_changes_nothing_for_the_first(world: World, tmp_path: Path) -> None:
    await arrive(world, await right(world))
    (drawn,) = await overlays(world)
    await let_go(world, tmp_path)

    await arrive(world, await right(world, OTHER_EYE, id="second"))

    assert drawn in await overlays(world)
    assert await linked(world) == ["completed"] * 4


async def test_a_drawing_stays_when_another_media_stands_for_its_photograph(
    world: World, relay: httpx.AsyncClient, tmp_path: Path
) -> None:
    photograph = await right(world)
    await arrive(world, photograph)
    await arrive(world, await right(world, id="again"))
    drawn = await of_eye(world, "Right eye")
    await let_go(world, tmp_path)

    await arrive(world, in_error(photograph))

    assert await of_eye(world, "Right eye") == drawn
    assert await linked(world) == ["completed"] * 2
    found = [each["resource"] for each in (await relay.get("Media")).json()["entry"]]
    assert [each["partOf"] for each in found if is_overlay(each)] == [[{"reference": "Media/again"}]]


@pytest.mark.parametrize("carriage", [Carriage.INLINE, Carriage.BINARY])
async def test_what_the_ehr_has_not_any_more_is_not_referred_to(
    world: World, tmp_path: Path, carriage: Carriage
) -> None:
    taking(world, Carriage.INLINE, carriage)
    await arrive(world, await right(world))
    (overlay,) = await overlays(world)
    await let_go(world, tmp_path)
    gone = f"Media/{overlay['id']}" if carriage is Carriage.INLINE else overlay["content"]["url"]
    assert (await world.ehr.delete(f"/fhir/{gone}")).status_code == 204
    assert (await world.ehr.get(f"/fhir/{gone}")).status_code == 410

    await arrive(world, await left(world))

    assert await linked(world) == ["completed"] * 3
    left_there = [each["status"] for each in await overlays(world) if each["id"] == overlay["id"]]
    assert left_there == ([] if carriage is Carriage.INLINE else ["entered-in-error"])
    assert (await world.ports.ledger.census()).parked == {}


@pytest.mark.parametrize(
    "change",
    [{"status": "entered-in-error"}, {"subject": {"reference": "Patient/second-patient"}}, {"bodySite": LEFT}],
    ids=["taken-back", "of-another-patient", "of-the-other-eye"],
)
async def test_what_a_person_changed_at_the_ehr_is_not_shown_again(world: World, tmp_path: Path, change: Json) -> None:
    await arrive(world, await right(world))
    (overlay,) = await overlays(world)
    await let_go(world, tmp_path)
    await world.ehr.put(f"/fhir/Media/{overlay['id']}", json={**overlay, **change})

    await arrive(world, await left(world))

    assert await linked(world) == ["completed"] * 3
    assert (await of_eye(world, "Right eye"))["status"] == "entered-in-error"


async def test_another_picture_under_our_name_is_taken_back(world: World, tmp_path: Path) -> None:
    await arrive(world, await right(world))
    (overlay,) = await overlays(world)
    await let_go(world, tmp_path)
    content = {"contentType": "image/jpeg", "data": "AAAA", "hash": "ISMGfpfl1qlUsyFgVyTXe2J5YVM="}
    await world.ehr.put(f"/fhir/Media/{overlay['id']}", json={**overlay, "content": content})

    await arrive(world, await left(world))

    assert await linked(world) == ["completed"] * 3
    assert "data" not in (await of_eye(world, "Right eye"))["content"]


async def test_whoever_asks_here_for_what_was_purged_hears_so_still(
    world: World, relay: httpx.AsyncClient, tmp_path: Path
) -> None:
    await arrive(world, await right(world))
    await let_go(world, tmp_path)
    ours = [each["resource"] for each in (await relay.get("Media")).json()["entry"]]

    await arrive(world, await left(world))

    (before,) = (each for each in ours if is_overlay(each))
    assert (await relay.get(f"Media/{before['id']}")).json() == before
    assert (await relay.get(before["content"]["url"])).status_code == 410


async def test_what_is_held_is_drawn_again(world: World, tmp_path: Path) -> None:
    await arrive(world, await right(world))
    await hold("Media/right", PostgresHolds(world.pool, world.clock), who="legal", why="")
    await let_go(world, tmp_path)

    await arrive(world, await left(world))

    conclusion = (await world.report())["conclusion"]
    assert AGAIN not in conclusion
    assert MADE_WITHOUT not in conclusion
    assert await linked(world) == ["completed"] * 4


async def test_what_is_held_after_its_pixels_went_is_left_alone(world: World, tmp_path: Path) -> None:
    await arrive(world, await right(world))
    drawn = await of_eye(world, "Right eye")
    await let_go(world, tmp_path)
    await hold("Media/right", PostgresHolds(world.pool, world.clock), who="legal", why="")

    await arrive(world, await left(world))

    assert await of_eye(world, "Right eye") == drawn


async def test_where_everything_was_forgotten_an_old_drawing_is_not_touched(world: World, tmp_path: Path) -> None:
    await arrive(world, await right(world))
    drawn = await of_eye(world, "Right eye")
    await let_go(world, tmp_path, {**PIXELS, Kept.LEDGER: MONTH})
    assert await world.images() == []

    await arrive(world, await left(world))

    assert await of_eye(world, "Right eye") == drawn
    assert "Right eye" not in str((await world.report())["media"])
    assert (await world.ports.ledger.census()).parked == {}


async def test_an_ehr_that_gets_no_drawings_hears_of_none(world: World, tmp_path: Path) -> None:
    taking(world, Carriage.INLINE, Carriage.NONE)
    await arrive(world, await right(world))
    await let_go(world, tmp_path)

    await arrive(world, await left(world))

    assert await overlays(world) == []
    assert await linked(world) == ["completed"] * 2


async def test_a_drawing_whose_page_gets_lost_on_its_way_is_not_replaced_by_nothing(
    world: World, tmp_path: Path
) -> None:
    await arrive(world, await right(world))
    drawn = await of_eye(world, "Right eye")
    await let_go(world, tmp_path, PREPARED)
    pages = files_of(tmp_path)
    await world.ehr_fails(unavailable=1000)
    await arrive(world, await left(world))
    assert len(await overlays(world)) == 1

    for page in pages:
        page.unlink()
    await world.ehr_fails()
    await world.finish(step=timedelta(minutes=20))

    assert await of_eye(world, "Right eye") == drawn
    assert await linked(world) == ["completed"] * 4
