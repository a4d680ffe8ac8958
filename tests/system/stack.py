"""Service, stand-in and demonstration EHR as real processes, through the command line that people use."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx

from fundus_relay.demonstration.stack import LocalPorts


@dataclass(frozen=True, slots=True)
class Stack:
    """Where everything answers."""

    fhir: str
    standin: str
    ehr: str
    process: Process


@asynccontextmanager
async def a_stack(
    folder: Path, environment: Mapping[str, str] | None = None, *, stderr: IO[bytes] | None = None
) -> AsyncIterator[Stack]:
    """`fundus-relay up` on free ports, stopped by SIGTERM."""
    ports = LocalPorts.free()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "fundus_relay", "up", "--data", str(folder)),
        env={
            **os.environ,
            "FUNDUS_RELAY_LOCAL__SERVICE_PORT": str(ports.service_port),
            "FUNDUS_RELAY_LOCAL__STANDIN_PORT": str(ports.standin_port),
            "FUNDUS_RELAY_LOCAL__PROBES_PORT": "0",
            "FUNDUS_RELAY_LOCAL__EHR_PORT": str(ports.ehr_port),
            "FUNDUS_RELAY_ANALYSER__POLL_INTERVAL": "0.5",
            **(environment or {}),
        },
        stderr=stderr,
    )
    try:
        base = "http://127.0.0.1"
        await _ready(f"{base}:{ports.service_port}/readyz", process)
        yield Stack(
            f"{base}:{ports.service_port}/fhir",
            f"{base}:{ports.standin_port}",
            f"{base}:{ports.ehr_port}/fhir",
            process,
        )
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def _ready(url: str, process: Process) -> None:
    async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(60):
        while True:
            if process.returncode is not None:
                raise RuntimeError(f"the stack ended with {process.returncode}")
            try:
                if (await client.get(url)).is_success:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)
