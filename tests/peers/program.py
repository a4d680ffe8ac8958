"""A program of `make peers`, alive for as long as a context lasts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

ROOT = Path(__file__).parents[2]
PEERS = ROOT / ".peers"
HOME = ROOT / "out" / "profiles" / "home"
"""Where `make profiles` puts FHIR's core package, without which the validator does not look at extensions."""

JAVA = (
    "java",
    "-Xmx1g",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
    f"-Duser.home={HOME}",
)


@contextmanager
def java(name: str, *arguments: str) -> Iterator[Popen[str]]:
    """A program of `.peers`, by its folder; the first argument is its main class."""
    built = PEERS / name
    with _running(name, built / ".built", *JAVA, "-cp", f"{built}/peer.jar:{built}/lib/*", *arguments) as process:
        yield process


@contextmanager
def node(name: str) -> Iterator[Popen[str]]:
    """The server in a folder beside this file."""
    folder = Path(__file__).parent / name
    with _running(name, folder / "node_modules" / ".installed", "node", str(folder / "server.mjs")) as process:
        yield process


@contextmanager
def _running(name: str, built: Path, *command: str) -> Iterator[Popen[str]]:
    """The program, with text at its stdin and stdout; it ends when its stdin does."""
    if shutil.which(command[0]) is None or not built.exists():
        pytest.skip(f"NOT RUN: NOTHING IS JUDGED BY {name.upper()}, because it is not there: `make peers` builds it")
    with Popen(command, stdin=PIPE, stdout=PIPE, text=True, encoding="utf-8") as process:
        try:
            yield process
        finally:
            process.kill()


def address(process: Popen[str]) -> str:
    """Where a server says that it listens, as `ready PORT`."""
    assert process.stdout is not None
    said = process.stdout.readline()
    assert said.startswith("ready "), "it did not start: its stderr says why"
    return f"http://127.0.0.1:{said.removeprefix('ready ').strip()}"
