"""What an operator calls at night, as it is called: `parked` and `release`, on a real database."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.contract.test_ledger import add_image, an_image, open_study

from fundus_relay.adapters.clock import SystemClock
from fundus_relay.adapters.database.ledger import PostgresLedger
from fundus_relay.domain.states import ImageState
from fundus_relay.domain.values import Submission


@pytest.fixture
def environment(database_url: str, tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "FUNDUS_RELAY_DATABASE__URL": database_url, "FUNDUS_RELAY_DATA_DIR": str(tmp_path)}


async def said(environment: dict[str, str], *command: str, code: int = 0) -> list[dict[str, Any]]:
    """The lines of JSON on standard output."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "fundus_relay", *command],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


async def test_an_operator_sees_what_waits_and_lets_it_go(environment: dict[str, str], ledger: PostgresLedger) -> None:
    now = SystemClock().now()
    silent = await add_image(ledger, state=ImageState.PARKED, reason="analyser-silent", job_id="j", since=now)
    task = str(uuid4())
    async with ledger.transaction() as tx:
        await tx.add_submission(Submission(task, silent.study_id, now, {silent.id: silent.media_id}))
    due_at = now + timedelta(minutes=9)
    waits = await add_image(ledger, state=ImageState.PREPARED, reason="analyser-credits-exhausted", due_at=due_at)

    parked, put_off, census = await said(environment, "parked")
    assert (parked["id"], parked["media"], parked["tasks"]) == (silent.id, [silent.media_id], [task])
    assert (parked["state"], parked["reason"], parked["since"]) == ("parked", "analyser-silent", str(now))
    assert (put_off["reason"], put_off["count"]) == ("analyser-credits-exhausted", 1)
    assert census["parked"] == {"analyser-silent": 1}

    assert await said(environment, "release", "--reason", "analyser-credits-exhausted") == [{"count": 1, "left": 0}]
    assert await said(environment, "release", "--all") == [{"count": 1, "left": 0}]
    assert await said(environment, "release", "--reason", "analyser-silent", code=1) == [{"count": 0, "left": 0}]
    async with ledger.transaction() as tx:
        hurried, released = await tx.image(waits.id), await tx.image(silent.id)
    assert hurried is not None and hurried.due_at is not None and hurried.due_at < due_at
    assert released is not None and released.state is ImageState.ANALYSING


async def test_what_may_have_been_paid_is_left_and_said(environment: dict[str, str], ledger: PostgresLedger) -> None:
    study = await open_study(ledger)
    async with ledger.transaction() as tx:
        await tx.add_image(an_image(study, state=ImageState.PARKED, reason="upload-ambiguous"))

    assert await said(environment, "release", "--all", code=1) == [{"count": 0, "left": 1}]
    assert await said(environment, "release", "--all", "--pay-again") == [{"count": 1, "left": 0}]


async def test_an_operator_needs_no_other_settings_and_is_told_of_mistyped_ones(environment: dict[str, str]) -> None:
    account = {"FUNDUS_RELAY_ANALYSER__BASE_URL": "https://analyser.invalid/v1"}  # a part of what the service needs

    (census,) = await said({**environment, **account}, "parked")

    assert census["images"] == {}
    await said({**environment, "FUNDUS_RELAY_DATABSE__URL": "postgresql://"}, "parked", code=2)


async def test_where_no_database_is_an_operator_is_not_told_that_nothing_waits(
    environment: dict[str, str], tmp_path: Path
) -> None:
    elsewhere = {name: value for name, value in environment.items() if name != "FUNDUS_RELAY_DATABASE__URL"}

    assert await said(elsewhere, "parked", code=1) == []
    assert await said(elsewhere, "release", "--all", code=1) == []
    assert await asyncio.to_thread(lambda: list(tmp_path.iterdir())) == []


async def test_an_operator_holds_a_study_by_whatever_is_at_hand_and_for_several_cases(
    environment: dict[str, str], ledger: PostgresLedger
) -> None:
    image = await add_image(ledger, state=ImageState.ANSWERED, sha256="ab" * 32, media_id="m1")
    async with ledger.transaction() as tx:
        media = {"resourceType": "Media", "id": "m1", "content": {"url": f"Binary/{'ab' * 32}"}}
        await tx.resources.put({**media, "subject": {"reference": "Patient/7"}})

    held = await said(environment, "hold", "Media/m1", "--why", "a letter of 3 May", "--who", "legal")
    assert held == [{"studies": [image.study_id], "count": 1, "held": 1}]
    assert (await said(environment, "hold", "Patient/7"))[0]["count"] == 0  # it is the same study
    for_a_case = ("m1", "--reference", "case 2")
    assert (await said(environment, "hold", *for_a_case, "--why", "a trial"))[0]["count"] == 1

    standing, of_the_case = await said(environment, "holds")
    assert (of_the_case["study"], of_the_case["reference"], of_the_case["why"]) == (image.study_id, "case 2", "a trial")
    assert (standing["study"], standing["who"], standing["why"]) == (image.study_id, "legal", "a letter of 3 May")
    assert standing["media"] == ["m1"]

    assert await said(environment, "unhold", image.id) == [{"studies": [image.study_id], "count": 1, "held": 1}]
    assert (await said(environment, "unhold", image.id, code=1))[0]["count"] == 0  # the case's stands
    assert (await said(environment, "unhold", *for_a_case))[0]["held"] == 0
    assert await said(environment, "holds") == []
    assert (await said(environment, "unhold", image.study_id, code=1))[0]["count"] == 0
    await said(environment, "hold", "nobody-knows-this", code=1)


@pytest.mark.parametrize("command", [("migrate", "--check"), ("parked",), ("holds",)])
async def test_a_look_where_there_is_no_database_makes_none(
    environment: dict[str, str], tmp_path: Path, command: tuple[str, ...]
) -> None:
    del environment["FUNDUS_RELAY_DATABASE__URL"]
    folder = tmp_path / "mistyped"

    assert await said(environment | {"FUNDUS_RELAY_DATA_DIR": str(folder)}, *command, code=1) == []
    assert not folder.exists()
