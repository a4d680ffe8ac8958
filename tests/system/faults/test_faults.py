"""A few runs of the fault harness; `make test-faults` does as many as one likes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.system.faults.run import Stage, a_stage, run

pytestmark = pytest.mark.slow

SEEDS = (5, 9, 24, 26, 62, 63)
"""Between them they have every kind of fault and of doom, and take a good minute."""


@pytest.fixture(scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    folder: Path = tmp_path_factory.mktemp("faults")
    async with a_stage(folder) as opened:
        yield opened


@pytest.mark.parametrize("seed", SEEDS)
async def test_nothing_is_lost_and_nothing_is_there_twice(stage: Stage, seed: int) -> None:
    outcome = await run(seed, stage)

    assert not outcome.wrong, str(outcome)
