"""Servers that nobody here wrote as the EHR: the contract that the demonstration EHR keeps, and whole journeys."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from tests.contract.test_health_record import (  # noqa: F401 - the contract; `ehr` and `side` are theirs here
    test_a_device_that_the_ehr_knows_is_not_written_again,
    test_a_large_study_is_searched_in_pieces,
    test_a_later_revision_updates_the_report_and_adds_its_provenance,
    test_a_page_that_is_not_as_it_was_written_is_written_again,
    test_a_patient_known_by_identifier_is_found_and_none_is_made,
    test_a_patient_that_the_ehr_does_not_know_is_refused_without_saying_who,
    test_a_read_back_says_what_is_missing,
    test_a_reference_by_the_ehrs_own_address_becomes_relative,
    test_a_report_arrives_whole,
    test_a_revision_that_comes_too_late_changes_nothing,
    test_a_search_is_read_to_its_last_page,
    test_a_signed_report_that_had_arrived_is_confirmed,
    test_an_answer_that_got_lost_is_found_by_the_next_try,
    test_an_ehr_that_is_busy_says_when_to_come_again,
    test_an_ehr_that_wants_no_pages_gets_none,
    test_an_eye_that_is_corrected_back_is_said_again,
    test_an_observation_that_a_person_marked_as_wrong_is_not_brought_back,
    test_eight_at_once_are_one,
    test_eight_reports_at_once_share_their_devices,
    test_every_story_arrives,
    test_pages_for_people_go_along_as_the_ehr_wants_them,
    test_pages_of_a_later_revision_take_the_place_of_the_earlier_ones,
    test_publishing_twice_is_publishing_once,
    test_references_at_the_ehr_lead_to_what_the_ehr_stored,
    test_two_of_one_thing_at_the_ehr_are_shown_to_a_person,
    test_what_a_later_revision_no_longer_says_does_not_stay_behind,
    test_what_a_person_signed_stays_as_it_is,
    test_what_did_not_arrive_whole_is_not_confirmed_and_the_next_try_heals_it,
    test_what_is_not_as_it_was_written_is_not_confirmed_but_written_again,
)
from tests.flow.world import LEFT, World, a_photograph, a_world
from tests.peers.conftest import PeerSide
from tests.unit.imaging.pictures import a_jpeg

from fundus_relay.adapters.database.pool import Pool

ORDER = [{"reference": "ServiceRequest/order-77"}]
EYE = a_jpeg(noise=11)
OTHER_EYE = a_jpeg(noise=13)


@pytest.fixture
async def world(pool: Pool, tmp_path: Path, ehr: PeerSide) -> World:
    patient = {"reference": "Patient/demo-patient"}
    await ehr.put(
        {"resourceType": "ServiceRequest", "id": "order-77", "status": "active", "intent": "order", "subject": patient}
    )
    return a_world(pool, tmp_path, ehr.client)


async def test_a_photograph_becomes_one_report(world: World, ehr: PeerSide) -> None:
    (taken,) = await world.accept(await a_photograph(world, EYE))

    await world.finish()

    assert (await world.task(taken.task_id))["status"] == "completed"
    assert (await world.report())["status"] == "preliminary"
    assert await times(ehr, "DiagnosticReport", "Provenance") == {"DiagnosticReport": 1, "Provenance": 1}


async def test_the_same_photograph_again_is_no_second_report(world: World, ehr: PeerSide) -> None:
    for _ in range(2):
        await world.accept(await a_photograph(world, EYE, method="PUT", id="m1"))
        await world.finish()

    assert await times(ehr, "DiagnosticReport", "Provenance") == {"DiagnosticReport": 1, "Provenance": 1}


async def test_a_late_image_is_a_revision_of_the_report(world: World, ehr: PeerSide) -> None:
    await world.accept(await a_photograph(world, EYE, basedOn=ORDER))
    await world.finish()
    before = await world.report()
    await world.accept(await a_photograph(world, OTHER_EYE, basedOn=ORDER, bodySite=LEFT))
    await world.finish()

    after = await world.report()
    assert after["id"] == before["id"]
    assert len(after["result"]) == 2 * len(before["result"])
    assert await times(ehr, "DiagnosticReport", "Provenance") == {"DiagnosticReport": 1, "Provenance": 2}


async def test_an_answer_lost_after_the_write_makes_no_second_report(world: World, ehr: PeerSide) -> None:
    await ehr.lose_an_answer()
    (taken,) = await world.accept(await a_photograph(world, EYE))

    await world.finish(step=timedelta(minutes=20))

    assert (await world.task(taken.task_id))["status"] == "completed"
    assert await times(ehr, "DiagnosticReport", "Provenance") == {"DiagnosticReport": 1, "Provenance": 1}


async def test_a_patient_that_hapi_does_not_know_parks_the_delivery_with_the_reason(
    world: World, ehr: PeerSide
) -> None:
    (taken,) = await world.accept(await a_photograph(world, EYE, subject={"reference": "Patient/nobody"}))

    await world.finish()

    task = await world.task(taken.task_id)
    assert task["status"] == "on-hold"
    assert "HAPI-1094" in task["statusReason"]["text"]
    assert "nobody" not in task["statusReason"]["text"]
    assert await ehr.counts() == Counter()


@pytest.mark.parametrize("ehr", ["router"], indirect=True)
async def test_a_report_that_nobodys_chart_would_show_waits_for_a_person(world: World) -> None:
    subject = {"reference": "Patient?identifier=urn%3Afundus-relay%3Ademo%7Csecond-patient"}
    (taken,) = await world.accept(await a_photograph(world, EYE, subject=subject))

    await world.finish()

    task = await world.task(taken.task_id)
    assert task["status"] == "on-hold"
    assert "patient-not-resolved" in task["statusReason"]["text"]


async def times(ehr: PeerSide, *kinds: str) -> dict[str, int]:
    """How many of these a search finds."""
    counts = await ehr.counts()
    return {kind: counts[kind] for kind in kinds}
