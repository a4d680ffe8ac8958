"""The service, the analyser's stand-in and the demonstration EHR, as processes on loopback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import httpx
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

HOST = "127.0.0.1"
STARTS_WITHIN_S = 90.0
STOPS_WITHIN_S = 30.0
LOOKS_EVERY_S = 0.5


class LocalPorts(BaseSettings):
    """Where `fundus-relay up` listens."""

    model_config = SettingsConfigDict(env_prefix="FUNDUS_RELAY_LOCAL__", frozen=True, hide_input_in_errors=True)

    service_port: int = Field(8080, ge=1, le=65535, description="the service's port when `up` starts everything")
    standin_port: int = Field(8090, ge=1, le=65535, description="the stand-in's port when `up` starts everything")
    ehr_port: int = Field(8070, ge=1, le=65535, description="the demonstration EHR's port when `up` starts everything")
    probes_port: int = Field(
        8081,
        ge=0,
        le=65535,
        description="the port of the service's probes when `up` starts everything; 0 takes a free one",
    )

    @classmethod
    def free(cls) -> LocalPorts:
        """Ports that nobody uses now."""
        sockets = [socket.socket() for _ in range(3)]
        for each in sockets:
            each.bind((HOST, 0))
        service, standin, ehr = (each.getsockname()[1] for each in sockets)
        for each in sockets:
            each.close()
        return cls(service_port=service, standin_port=standin, ehr_port=ehr, probes_port=0)


class StackFailed(Exception):
    """A process of the local stack did not start, or ended by itself."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where everything answers, and the processes that do."""

    service: str
    fhir: str
    analyser: str
    ehr: str
    parts: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def check(self) -> None:
        """Raises StackFailed when one of them has ended."""
        for name, process in self.parts.items():
            if process.poll() is not None:
                raise StackFailed(f"the {name} ended with exit code {process.returncode}")


@contextmanager
def running(
    ports: LocalPorts, data_dir: Path, *, logs: Path | None = None, poll_interval_s: float = 1.0
) -> Iterator[Addresses]:
    """All three, ready to be used; all of them are stopped on leaving.

    Args:
        data_dir: keeps the service's database and pictures, the stand-in's jobs and the EHR's resources.
        logs: file for what they log; by default our own standard error.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    at = Addresses(
        service=f"http://{HOST}:{ports.service_port}",
        fhir=f"http://{HOST}:{ports.service_port}/fhir",
        analyser=f"http://{HOST}:{ports.standin_port}/v1",
        ehr=f"http://{HOST}:{ports.ehr_port}/fhir",
    )
    with ExitStack() as stack:
        log = stack.enter_context(logs.open("ab")) if logs else None
        given = ["--host", HOST, "--port"]
        commands = {
            "stand-in": ["standin", *given, str(ports.standin_port), "--state", str(data_dir / "standin.sqlite")],
            "demonstration EHR": ["ehr", *given, str(ports.ehr_port), "--state", str(data_dir / "ehr.sqlite")],
            "service": ["serve"],
        }
        for name, command in commands.items():
            environment = _service_environment(ports, at, data_dir, poll_interval_s) if name == "service" else None
            at.parts[name] = _start(command, log, environment)
            stack.callback(_stop, at.parts[name])  # the service first, so that nobody it talks to is gone before it
        _wait_until_ready(
            {
                "stand-in": f"http://{HOST}:{ports.standin_port}/livez",
                "demonstration EHR": f"http://{HOST}:{ports.ehr_port}/livez",
                "service": f"{at.service}/readyz",
            },
            at,
        )
        yield at


def keep_up(ports: LocalPorts, data_dir: Path) -> None:
    """Everything, until SIGTERM, SIGHUP or SIGINT, or until a part ends by itself.

    A part that ended is not started again: on a laptop its last words are worth more than its next life.

    Raises:
        StackFailed: a part did not start, or ended.
    """
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, _end)
    with running(ports, data_dir) as at:
        print(f"service            {at.fhir}")
        print(f"analyser stand-in  {at.analyser}   (no medical device)")
        print(f"demonstration EHR  {at.ehr}   (for demonstration and tests only)")
        print("Ctrl-C or SIGTERM stops all three.", flush=True)
        while True:
            at.check()
            time.sleep(LOOKS_EVERY_S)


def _end(*_: object) -> None:
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # one is enough: the parts are being stopped
    sys.exit(0)


def _service_environment(ports: LocalPorts, at: Addresses, data_dir: Path, poll_interval_s: float) -> dict[str, str]:
    return {
        "FUNDUS_RELAY_HTTP__PORT": str(ports.service_port),
        "FUNDUS_RELAY_PROBES__PORT": str(ports.probes_port),
        "FUNDUS_RELAY_DATA_DIR": str(data_dir / "service"),
        "FUNDUS_RELAY_ANALYSER__BASE_URL": at.analyser,
        "FUNDUS_RELAY_ANALYSER__USERNAME": "demo",
        "FUNDUS_RELAY_ANALYSER__PASSWORD": "demo",
        "FUNDUS_RELAY_ANALYSER__POLL_INTERVAL": str(poll_interval_s),
        "FUNDUS_RELAY_RECORD__BASE_URL": at.ehr,
    }


def _start(
    arguments: list[str], log: IO[bytes] | None, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """A part of the stack in a process of its own; what the caller's environment says wins over `environment`."""
    return subprocess.Popen(  # noqa: S603 - our own program, with arguments of our own
        [sys.executable, "-m", "fundus_relay", *arguments],
        env={**(environment or {}), **os.environ},
        stdin=subprocess.DEVNULL,
        stderr=log,
        start_new_session=True,  # Ctrl-C reaches us alone; we stop the others in order
    )


def _wait_until_ready(urls: Mapping[str, str], at: Addresses) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_S
    waiting = dict(urls)
    with httpx.Client(trust_env=False, timeout=2) as client:
        while waiting:
            at.check()
            waiting = {name: url for name, url in waiting.items() if not _answers(client, url)}
            if waiting and time.monotonic() > deadline:
                raise StackFailed(f"not ready after {STARTS_WITHIN_S:.0f} s: {', '.join(waiting)}")
            time.sleep(0.05)


def _answers(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).is_success
    except httpx.TransportError:
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOPS_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
