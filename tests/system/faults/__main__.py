"""`make test-faults`: runs of the fault harness, one seed after the other, and a summary.

FAULT_SEED: the first seed (1). FAULT_RUNS: how many (25).
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.system.faults.run import Outcome, a_stage, run


async def main(first: int, count: int) -> int:
    this = asyncio.current_task()
    assert this is not None
    asyncio.get_running_loop().add_signal_handler(
        signal.SIGTERM, this.cancel
    )  # every process ends, and the folder goes
    outcomes: list[Outcome] = []
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fundus-relay-faults-") as folder:
        async with a_stage(Path(folder)) as stage:
            for seed in range(first, first + count):
                outcome = await run(seed, stage)
                outcomes.append(outcome)
                print(outcome, flush=True)
    failed = [each.seed for each in outcomes if each.wrong]
    found = [each.findings for each in outcomes if each.findings is not None]
    print(
        f"{len(outcomes)} runs (seeds {first} to {first + count - 1}), {len(failed)} failed {failed or ''};"
        f" {sum(each.images for each in found)} images acknowledged, {sum(each.paid for each in found)} paid,"
        f" {sum(each.counted for each in found)} counted as possibly double, {sum(o.deaths for o in outcomes)} deaths,"
        f" {sum(o.released for o in outcomes)} released by the operator, {(time.monotonic() - began) / 60:.1f} min"
    )
    for reason in sorted({reason for each in outcomes for reason in each.not_run}):
        print(f"NOT RUN: {reason}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(int(os.environ.get("FAULT_SEED", "1")), int(os.environ.get("FAULT_RUNS", "25")))))
