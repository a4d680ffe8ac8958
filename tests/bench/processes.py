"""Servers in processes of their own, watched from outside: their memory's peak and their processor time."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]
AS_INSTALLED = ROOT / ".venv-image/bin/python"
"""With what `requirements.lock` installs; see the Makefile."""
TICKS = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """A port on which nobody listens, from below those that Linux gives to outgoing connections.

    So that nobody's connection sits on it while the process that it is for is away for a moment.
    """
    while True:
        port = 12_000 + secrets.randbelow(20_000)  # `random` is seeded alike by tests that run side by side
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@dataclass(frozen=True, slots=True)
class Watched:
    """A process under measurement."""

    pid: int
    port: int

    @property
    def peak_mib(self) -> float:
        """Largest resident size since it started."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024

    @property
    def cpu_s(self) -> float:
        """Processor time so far, user and system, of all its threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


@contextmanager
def started(
    arguments: list[str], port: int | None, ready: str, environment: Mapping[str, str] | None = None
) -> Iterator[Watched]:
    """`python -m ...` until the context ends.

    Args:
        port: without one nothing is waited for.
        ready: path that answers when the process may be used.
    """
    process = subprocess.Popen(
        [_python_for(arguments), "-m", *arguments],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": f"{ROOT}:{ROOT}/service",
            "FUNDUS_RELAY_PROBES__PORT": "0",
            **(environment or {}),
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        if port is not None:
            _wait(process, f"http://127.0.0.1:{port}{ready}")
        yield Watched(process.pid, port or 0)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _python_for(arguments: list[str]) -> str:
    """For the service, one with what is installed in production, where there is one: libraries load what they find."""
    is_service = arguments[:2] == ["fundus_relay", "serve"]
    return str(AS_INSTALLED) if is_service and AS_INSTALLED.exists() else sys.executable


def _wait(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args} ended with {process.returncode}")
        try:
            httpx.get(url, trust_env=False, timeout=1)
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"{url} does not answer")


@contextmanager
def parties(analyser: str, folder: str | None = None) -> Iterator[tuple[int, int]]:
    """A stand-in that analyses in that way, with credits enough, and an EHR; their ports.

    Args:
        folder: where the stand-in keeps its state; without one it is in memory.
    """
    standin, ehr = free_port(), free_port()
    state = ["--state", f"{folder}/standin.sqlite"] if folder else []
    with (
        started(
            ["fundus_relay", "standin", "--port", str(standin), *state],
            standin,
            "/livez",
            {"FUNDUS_RELAY_STANDIN__ANALYSER": analyser, "FUNDUS_RELAY_STANDIN__CREDITS": "1000000"},
        ),
        started(["fundus_relay", "ehr", "--port", str(ehr)], ehr, "/livez"),
    ):
        yield standin, ehr


def surroundings(folder: str, url: str, *, port: int, standin: int, ehr: int, poll_s: float) -> dict[str, str]:
    """Environment of a service on a database, with its parties on this machine."""
    return {
        "FUNDUS_RELAY_HTTP__PORT": str(port),
        "FUNDUS_RELAY_DATA_DIR": folder,
        "FUNDUS_RELAY_DATABASE__URL": url,
        "FUNDUS_RELAY_ANALYSER__BASE_URL": f"http://127.0.0.1:{standin}/v1",
        "FUNDUS_RELAY_ANALYSER__USERNAME": "demo",
        "FUNDUS_RELAY_ANALYSER__PASSWORD": "demo",
        "FUNDUS_RELAY_ANALYSER__POLL_INTERVAL": str(poll_s),
        "FUNDUS_RELAY_RECORD__BASE_URL": f"http://127.0.0.1:{ehr}/fhir",
    }
