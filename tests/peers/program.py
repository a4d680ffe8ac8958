"""A Java program of `make peers`, alive for as long as a context lasts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

PEERS = Path(__file__).parents[2] / ".peers"
JAVA = (
    "java",
    "-Xmx1g",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
)


@contextmanager
def running(name: str, main: str, *arguments: str) -> Iterator[Popen[str]]:
    """The program, with text at its stdin and stdout; it ends when its stdin does."""
    built = PEERS / name
    if shutil.which("java") is None or not (built / ".built").exists():
        pytest.skip(f"NOT RUN: NOTHING IS JUDGED BY {name.upper()}, because it is not built: `make peers` does it")
    command = (*JAVA, "-cp", f"{built}/peer.jar:{built}/lib/*", main, *arguments)
    with Popen(command, stdin=PIPE, stdout=PIPE, text=True, encoding="utf-8") as process:
        try:
            yield process
        finally:
            process.kill()
