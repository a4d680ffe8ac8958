"""`fundus-relay up` ends when a part of it ends or when it is told to, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # comes with the embedded database; ships no types
import pytest
from tests.system.stack import Stack, a_stack

from fundus_relay.adapters.database.embedded import embedded_postgres

pytestmark = pytest.mark.slow

INSTANT = {"FUNDUS_RELAY_STANDIN__ANALYSER": "instant"}


def parts(stack: Stack) -> dict[str, psutil.Process]:
    """Its processes by the command that they run."""
    return {each.cmdline()[3]: each for each in psutil.Process(stack.process.pid).children()}


async def ended(stack: Stack) -> int:
    return await asyncio.wait_for(stack.process.wait(), 60)


@pytest.mark.parametrize(
    ("command", "name"), [("standin", "stand-in"), ("ehr", "demonstration EHR"), ("serve", "service")]
)
async def test_a_part_that_dies_is_named_and_ends_the_rest(tmp_path: Path, command: str, name: str) -> None:
    with (tmp_path / "said").open("w+b") as said:
        async with a_stack(tmp_path / "data", INSTANT, stderr=said) as stack:
            processes = parts(stack)
            processes[command].kill()

            assert await ended(stack) == 1
        said.seek(0)
        assert f"fundus-relay: the {name} ended with exit code -9; everything is stopped" in said.read().decode()
    assert not [each for each in processes.values() if each.is_running()]
    with embedded_postgres(tmp_path / "data" / "service" / "postgresql"):
        pass  # ends the server that a killed service leaves to its next start


@pytest.mark.parametrize("command", ["serve", "standin", "ehr"])
async def test_a_terminal_that_closes_lets_every_command_end_what_it_does(tmp_path: Path, command: str) -> None:
    with (tmp_path / "said").open("w+b") as said:
        async with a_stack(tmp_path / "data", INSTANT, stderr=said) as stack:
            parts(stack)[command].send_signal(signal.SIGHUP)

            assert await ended(stack) == 1
        said.seek(0)
        assert "ended with exit code 0; everything is stopped" in said.read().decode()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_all_parts(tmp_path: Path, number: signal.Signals) -> None:
    async with a_stack(tmp_path, INSTANT) as stack:
        processes = parts(stack)
        stack.process.send_signal(number)

        assert await ended(stack) == 0
    assert len(processes) == 3
    assert not [each for each in processes.values() if each.is_running()]
