"""What becomes of a photograph that a quick look advises against: told, held, or not looked at, as the site says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.flow.world import World, a_photograph, reason
from tests.unit.imaging.pictures import a_jpeg

from fundus_relay.demonstration.pictures import normal_eye
from fundus_relay.domain.policy import Precheck
from fundus_relay.domain.states import ImageState
from fundus_relay.imaging.precheck import advise
from fundus_relay.pipeline.operator import release
from fundus_relay.settings import NetraAccount

NO_EYE = a_jpeg(mode="L")
ADVICE = advise(NO_EYE)[0]


async def test_advice_is_told_and_changes_nothing(world: World) -> None:
    silent = await _report(replace(world, rules=replace(world.rules, precheck=Precheck.OFF)), noise=1)
    told = replace(world, rules=replace(world.rules, precheck=Precheck.ADVISE))
    (taken,) = await told.accept(await a_photograph(told, a_jpeg(noise=2, mode="L")))
    await told.finish()

    task = await told.task(taken.task_id)
    (issue,) = task["contained"][0]["issue"]
    assert (issue["severity"], issue["details"]["coding"][0]["code"]) == ("information", ADVICE)
    assert issue["diagnostics"] == f"Media/{taken.resource['id']}"
    assert (task["status"], reason(task)) == ("completed", None)
    assert (await told.images())[-1].advice == (ADVICE,)
    assert told.analyser.times_paid == 2
    conclusions = [each["conclusion"] for each in await told.at_ehr("DiagnosticReport")]
    assert conclusions == [silent, silent]


async def test_as_the_product_comes_a_fundus_and_something_else_go_the_whole_way_and_one_is_advised_against(
    world: World,
) -> None:
    default = replace(world, rules=replace(world.rules, precheck=NetraAccount.model_fields["precheck"].default))
    fundus, other = [
        (await default.accept(await a_photograph(default, picture)))[0] for picture in (normal_eye(), NO_EYE)
    ]
    await default.finish()

    tasks = {taken.resource["id"]: await default.task(taken.task_id) for taken in (fundus, other)}
    assert {task["status"] for task in tasks.values()} == {"completed"}
    assert "contained" not in tasks[fundus.resource["id"]]
    (issue,) = tasks[other.resource["id"]]["contained"][0]["issue"]
    assert issue["details"]["coding"][0]["code"] == ADVICE == "precheck-not-a-fundus"
    assert sorted(image.advice for image in await default.images()) == [(), (ADVICE,)]
    assert default.analyser.times_paid == 2
    assert len(await default.at_ehr("DiagnosticReport")) == 2
    assert len(await default.at_ehr("Observation")) > 2


async def _report(world: World, *, noise: int) -> str:
    (taken,) = await world.accept(await a_photograph(world, a_jpeg(noise=noise, mode="L")))
    await world.finish()
    assert "contained" not in await world.task(taken.task_id)
    return str((await world.report())["conclusion"])


async def test_a_site_may_have_a_person_decide_first(world: World) -> None:
    held = replace(world, rules=replace(world.rules, precheck=Precheck.HOLD))
    (taken,) = await held.accept(await a_photograph(held, NO_EYE))
    await held.finish()

    task = await held.task(taken.task_id)
    assert (task["status"], reason(task)) == ("on-hold", ADVICE)
    assert held.analyser.times_paid == 0
    (parked,) = await held.ports.ledger.parked()
    assert (parked.subject, parked.reason) == ("image", ADVICE)

    await release(parked.id, held.ports.ledger, held.clock)
    await held.finish()
    assert held.analyser.times_paid == 1
    assert (await held.task(taken.task_id))["status"] == "completed"


@pytest.mark.parametrize("precheck", [Precheck.ADVISE, Precheck.HOLD])
async def test_a_photograph_that_is_held_may_be_taken_back_and_is_never_paid(world: World, precheck: Precheck) -> None:
    held = replace(world, rules=replace(world.rules, precheck=precheck))
    entry = await a_photograph(held, NO_EYE, method="PUT", id="one")
    await held.accept(entry)
    if precheck is Precheck.HOLD:
        await held.run_jobs()
    withdrawn = {**entry.resource, "status": "entered-in-error"}
    await held.accept(replace(entry, resource=withdrawn, picture=None))
    await held.finish()

    (image,) = await held.images()
    assert image.state is ImageState.CANCELLED
    assert held.analyser.times_paid == 0
