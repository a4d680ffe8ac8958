"""(j) How long probes take to answer, while nothing happens and while intake is saturated.

The floor is a process that only answers a word: what that takes is the machine's and its other work's, not ours.
"""

from __future__ import annotations

import asyncio
import http.client
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fundus_relay.adapters.database.embedded import embedded_postgres

from .processes import ROOT, free_port, started

FLOOR = "floor"
PATHS = (FLOOR, "/livez", "/readyz", "/metrics")
IN_FLIGHT = 64
REQUESTS = 640
IDLE_S = 5.0
PAUSE_S = 0.02
"""Between two questions, which would else take a core from those who are measured."""


@dataclass(frozen=True, slots=True)
class Row:
    """One path, while intake does what `when` says; `failed` are those that did not answer 200."""

    path: str
    when: str
    asked: int
    p50_ms: float
    p99_ms: float
    worst_ms: float
    failed: int


def measure() -> list[Row]:
    """All paths in turn, over a new connection each time, as a kubelet does it."""
    with tempfile.TemporaryDirectory(prefix="fundus-relay-bench-") as name, embedded_postgres(Path(name) / "pg") as url:
        port, probed, floor = free_port(), free_port(), free_port()
        environment = {
            "FUNDUS_RELAY_HTTP__PORT": str(port),
            "FUNDUS_RELAY_HTTP__SILENCE": "600",  # the load rests while it makes bodies
            "FUNDUS_RELAY_PROBES__PORT": str(probed),
            "FUNDUS_RELAY_DATA_DIR": name,
            "FUNDUS_RELAY_DATABASE__URL": url,
            "FUNDUS_RELAY_ANALYSER__BASE_URL": "http://127.0.0.1:9/v1",
            "FUNDUS_RELAY_ANALYSER__USERNAME": "bench",
            "FUNDUS_RELAY_ANALYSER__PASSWORD": "bench",
            "FUNDUS_RELAY_RECORD__BASE_URL": "http://127.0.0.1:9/fhir",
        }
        ports = dict.fromkeys(PATHS, probed) | {FLOOR: floor}
        with (
            started(["tests.bench.probes", str(floor)], floor, "/"),
            started(["fundus_relay", "serve", "--only", "api"], port, "/readyz", environment),
        ):
            time.sleep(1)
            until = time.monotonic() + IDLE_S
            rows = _ask(ports, "idle", lambda: time.monotonic() < until)
            load = subprocess.Popen(
                [sys.executable, "-m", "tests.bench.load", "127.0.0.1", str(port), "/fhir/Media"]
                + [str(number) for number in (REQUESTS, IN_FLIGHT, 0)],
                cwd=ROOT,
                stdout=subprocess.DEVNULL,
            )
            rows += _ask(ports, f"{IN_FLIGHT} uploads in flight", lambda: load.poll() is None)
            if load.returncode:
                raise RuntimeError(f"the load ended with {load.returncode}")
            return rows


def _ask(ports: Mapping[str, int], when: str, is_on: Callable[[], bool]) -> list[Row]:
    spans: dict[str, list[float]] = {path: [] for path in PATHS}
    failed = dict.fromkeys(PATHS, 0)
    while is_on():
        for path in PATHS:
            began = time.perf_counter()
            connection = http.client.HTTPConnection("127.0.0.1", ports[path], timeout=10)
            connection.request("GET", "/" if path == FLOOR else path)
            answer = connection.getresponse()
            answer.read()
            connection.close()
            spans[path].append(time.perf_counter() - began)
            failed[path] += answer.status != 200
            time.sleep(PAUSE_S)
    return [_row(path, when, sorted(spans[path]), failed[path]) for path in PATHS]


def _row(path: str, when: str, spans: list[float], failed: int) -> Row:
    median, late = (1000 * spans[int(len(spans) * share)] for share in (0.5, 0.99))
    return Row(path, when, len(spans), median, late, 1000 * spans[-1], failed)


def table(rows: list[Row]) -> str:
    """As Markdown."""
    lines = [
        "| path | intake | asked | p50 ms | p99 ms | worst ms | not 200 |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        spans = f"{row.p50_ms:.1f} | {row.p99_ms:.1f} | {row.worst_ms:.1f}"
        lines.append(f"| `{row.path}` | {row.when} | {row.asked} | {spans} | {row.failed} |")
    return "\n".join(lines)


async def _answer_a_word(port: int) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlive\n")
        await writer.drain()
        writer.close()

    await (await asyncio.start_server(answer, "127.0.0.1", port)).serve_forever()


if __name__ == "__main__":
    asyncio.run(_answer_a_word(int(sys.argv[1])))
