"""Looking at pictures in a process of its own: what it survives, and that nothing of it survives us."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import connection
from pathlib import Path

import pytest
from tests.unit.standin import lookers

from fundus_relay.standin.answers import NORMAL
from fundus_relay.standin.onlooker import Look, Onlooker

PARENT = """
import asyncio
from tests.unit.standin import lookers
from fundus_relay.standin.onlooker import Onlooker

async def main():
    seen = await Onlooker(lookers.with_its_own_number).see(b"")
    print(seen.lesions[0][1][0], flush=True)
    await asyncio.Event().wait()

if __name__ == "__main__":
    asyncio.run(main())
"""


@contextmanager
def an_onlooker(look: Look) -> Iterator[Onlooker]:
    onlooker = Onlooker(look)
    try:
        yield onlooker
    finally:
        onlooker.close()


async def test_a_process_that_dies_is_replaced_and_the_picture_looked_at_again(tmp_path: Path) -> None:
    with an_onlooker(lookers.fatally_once) as onlooker:
        assert await onlooker.see(str(tmp_path / "died").encode()) == NORMAL


async def test_a_picture_that_kills_its_process_twice_is_given_up() -> None:
    with an_onlooker(lookers.fatally) as onlooker:
        assert await onlooker.see(b"") is None


async def test_a_picture_that_cannot_be_decoded_is_given_up_at_once() -> None:
    with an_onlooker(lookers.clumsily) as onlooker:
        assert await onlooker.see(b"") is None


async def test_the_process_is_kept_from_picture_to_picture() -> None:
    with an_onlooker(lookers.with_its_own_number) as onlooker:
        first, second = await onlooker.see(b""), await onlooker.see(b"")

    assert first == second


async def test_a_busy_process_ends_when_we_close() -> None:
    onlooker = Onlooker(lookers.endlessly)
    before = set(multiprocessing.active_children())
    looking = asyncio.create_task(onlooker.see(b""))
    await asyncio.sleep(0)
    (process,) = set(multiprocessing.active_children()) - before

    looking.cancel()
    onlooker.close()

    # not by joining it: the pool's own thread may, and of two that do one learns nothing
    assert await asyncio.to_thread(connection.wait, [process.sentinel], 20)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="only Linux tells the end of another's child")
async def test_the_process_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "parent.py"
    program.write_text(PARENT)
    root = Path(__file__).parents[3]
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        str(program),
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root / "service"), str(root)])},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert parent.stdout is not None
    child = os.pidfd_open(int(await parent.stdout.readline()))
    ends = select.poll()
    ends.register(child, select.POLLIN)
    assert not ends.poll(0)

    parent.kill()
    await parent.wait()

    assert await asyncio.to_thread(ends.poll, 20_000)
    os.close(child)
