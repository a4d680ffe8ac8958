"""The report on its way to the EHR, which may be busy, away, refuse, forget to answer, or have been written to."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.flow.photographs import EYE, ORDER, OTHER_EYE
from tests.flow.world import LEFT, World, a_photograph

from fundus_relay.domain.values import Entry
from fundus_relay.pipeline.operator import release, release_all

pytestmark = pytest.mark.usefixtures("order_at_ehr")


async def test_an_ehr_that_is_busy_is_tried_again_when_it_asked_for(world: World) -> None:
    await world.ehr_fails(unavailable=1, retry_after=600)
    (taken,) = await world.accept(await a_photograph(world, EYE))
    await world.run_jobs()
    await world.finish(rounds=1, step=timedelta(minutes=2))
    assert (await world.task(taken.task_id))["statusReason"]["coding"][0]["code"] == "record-unavailable"

    await world.finish(rounds=2, step=timedelta(minutes=11))

    assert (await world.task(taken.task_id))["status"] == "completed"


@pytest.mark.parametrize("status", [401, 403])
async def test_reports_wait_while_the_ehr_refuses_the_token_and_go_on_by_themselves(world: World, status: int) -> None:
    await world.ehr_fails(refused_status=status)
    taken = [
        (await world.accept(await a_photograph(world, EYE, subject={"reference": f"Patient/{patient}"})))[0]
        for patient in ("demo-patient", "second-patient")
    ]
    await world.finish(rounds=3)
    reasons = [(await world.task(each.task_id))["statusReason"]["coding"][0]["code"] for each in taken]
    assert reasons == ["record-credentials-refused"] * 2
    assert await world.ports.ledger.parked() == []

    await world.ehr_fails()
    await world.finish(rounds=2, step=timedelta(minutes=16))

    assert [(await world.task(each.task_id))["status"] for each in taken] == ["completed"] * 2


async def test_an_ehr_that_stays_away_parks_the_delivery_after_the_horizon(world: World) -> None:
    await world.ehr_fails(unavailable=1000)
    (taken,) = await world.accept(await a_photograph(world, EYE))
    await world.finish(rounds=30, step=timedelta(hours=3))
    assert (await world.task(taken.task_id))["statusReason"]["coding"][0]["code"] == "delivery-horizon-passed"

    await world.ehr_fails()
    (parked,) = await world.ports.ledger.parked()
    await release(parked.id, world.ports.ledger, world.clock)
    await world.finish()

    assert (await world.task(taken.task_id))["status"] == "completed"


async def test_an_answer_lost_after_the_write_makes_no_second_report(world: World) -> None:
    await world.ehr_fails(lose_answer=1)
    (taken,) = await world.accept(await a_photograph(world, EYE))

    await world.finish()

    assert (await world.task(taken.task_id))["status"] == "completed"
    assert len(await world.at_ehr("DiagnosticReport")) == 1
    assert len(await world.at_ehr("Provenance")) == 1


async def test_a_patient_that_the_ehr_does_not_know_parks_the_delivery_with_the_reason(world: World) -> None:
    (taken,) = await world.accept(await a_photograph(world, EYE, subject={"reference": "Patient/nobody"}))

    await world.finish()

    task = await world.task(taken.task_id)
    assert task["status"] == "on-hold"
    assert "HAPI-1094" in task["statusReason"]["text"]
    assert "nobody" not in task["statusReason"]["text"]


async def test_a_report_for_an_ehr_that_the_settings_no_longer_name_waits_for_a_person(world: World) -> None:
    (taken,) = await world.accept(await a_photograph(world, EYE))
    await world.ehr_fails(unavailable=1)
    await world.finish(rounds=1)
    await world.run_jobs()
    ehr = dict(world.ports.records)
    world.ports = replace(world.ports, records={"renamed": ehr["ehr"]})
    await world.finish()
    assert (await world.task(taken.task_id))["statusReason"]["coding"][0]["code"] == "destination-unknown"

    world.ports = replace(world.ports, records=ehr)
    await release_all(world.ports.ledger, world.clock, reason="destination-unknown")
    await world.finish()
    assert (await world.task(taken.task_id))["status"] == "completed"
    assert len(await world.at_ehr("DiagnosticReport")) == 1


async def test_a_revision_reaches_the_ehr_though_the_clock_was_set_back(world: World) -> None:
    await world.accept(await a_photograph(world, EYE, basedOn=ORDER))
    await world.finish()
    first = await world.report()

    world.clock.advance(timedelta(hours=-2))
    await world.accept(await a_photograph(world, OTHER_EYE, basedOn=ORDER, bodySite=LEFT))
    await world.finish()

    assert (await world.report())["issued"] > first["issued"]
    assert {each["bodySite"]["text"] for each in await world.at_ehr("Observation")} == {"Right eye", "Left eye"}


async def test_a_report_that_somebody_else_wrote_later_is_not_taken_for_ours(world: World) -> None:
    await world.accept(await a_photograph(world, EYE, basedOn=ORDER))
    await world.finish()
    theirs = {**(await world.report()), "issued": "2026-12-24T09:30:00.000+00:00"}
    await world.ehr.put(f"/fhir/DiagnosticReport/{theirs['id']}", json=theirs)

    (taken,) = await world.accept(await a_photograph(world, OTHER_EYE, basedOn=ORDER, bodySite=LEFT))
    await world.finish()

    task = await world.task(taken.task_id)
    assert task["status"] == "on-hold"
    assert "report-newer" in task["statusReason"]["text"]


async def test_a_report_that_a_person_signed_is_never_overwritten(world: World) -> None:
    await world.accept(await a_photograph(world, EYE, basedOn=ORDER))
    await world.finish()
    signed = {**(await world.report()), "status": "final"}
    await world.ehr.put(f"/fhir/DiagnosticReport/{signed['id']}", json=signed)
    (late,) = await world.accept(await a_photograph(world, OTHER_EYE, basedOn=ORDER, bodySite=LEFT))

    await world.finish()

    assert (await world.report())["status"] == "final"
    assert "report-signed" in (await world.task(late.task_id))["statusReason"]["text"]


async def test_the_order_is_named_to_each_reader_as_it_knows_it(world: World) -> None:
    order = Entry(
        {
            "resourceType": "ServiceRequest",
            "status": "active",
            "intent": "order",
            "subject": {"reference": "Patient/demo-patient"},
            "identifier": [{"system": "urn:orders", "value": "77"}],
        },
        element="Bundle.entry[0].resource",
    )
    at_ehr = {**order.resource, "id": "77"}
    await world.ehr.put("/fhir/ServiceRequest/77", json=at_ehr)
    stored, _ = await world.accept(order, await a_photograph(world, EYE, basedOn=[{"reference": order.element}]))

    await world.finish()

    (report,) = await world.own("DiagnosticReport")
    assert report["basedOn"] == [{"reference": f"ServiceRequest/{stored.resource['id']}"}]
    assert (await world.report())["basedOn"] == [{"reference": "ServiceRequest/77"}]


async def test_an_order_that_the_ehr_does_not_hold_is_named_by_its_identifier(world: World) -> None:
    order = Entry(
        {
            "resourceType": "ServiceRequest",
            "status": "active",
            "intent": "order",
            "subject": {"reference": "Patient/demo-patient"},
            "identifier": [{"system": "urn:orders", "value": "a|b, c"}],
        },
        element="Bundle.entry[0].resource",
    )
    _, taken = await world.accept(order, await a_photograph(world, EYE, basedOn=[{"reference": order.element}]))

    await world.finish()

    named = {"type": "ServiceRequest", "identifier": {"system": "urn:orders", "value": "a|b, c"}}
    assert (await world.report())["basedOn"] == [named]
    assert (await world.task(taken.task_id))["status"] == "completed"
