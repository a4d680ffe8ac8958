"""(a) Durable accepts a second, p99 and peak memory, beside the floor and the naive intake."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fundus_relay.adapters.database.embedded import embedded_postgres

from .processes import ROOT, Watched, free_port, started

IN_FLIGHT = (1, 16, 64)
REQUESTS = {1: 60, 16: 200, 64: 320}
ROUNDS = 2


@dataclass(frozen=True, slots=True)
class Row:
    """One server at one load; the best of the rounds, since noise only slows."""

    server: str
    in_flight: int
    per_second: float
    p99_ms: float
    peak_mib: float
    refused: int


def measure() -> list[Row]:
    """All servers at all loads, taking turns so that a slow minute hits each of them."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="fundus-relay-bench-") as name, embedded_postgres(Path(name) / "pg") as url:
        for in_flight in IN_FLIGHT:
            runs: dict[str, list[Row]] = {}
            for turn in range(ROUNDS):
                for server in ("floor", "naive", "relay"):
                    folder = Path(name) / f"{server}-{in_flight}-{turn}"
                    folder.mkdir()
                    runs.setdefault(server, []).append(_run(server, in_flight, turn, folder, url))
                    shutil.rmtree(folder)
            rows += [_best(runs[server]) for server in runs]
    return rows


def _best(runs: list[Row]) -> Row:
    best = max(runs, key=lambda row: row.per_second)
    return Row(
        best.server,
        best.in_flight,
        best.per_second,
        min(run.p99_ms for run in runs),
        max(run.peak_mib for run in runs),
        sum(run.refused for run in runs),
    )


def _run(server: str, in_flight: int, turn: int, folder: Path, database: str) -> Row:
    first = (IN_FLIGHT.index(in_flight) * ROUNDS + turn) * 10_000
    with _server(server, folder, database) as watched:
        _load(watched.port, 10, 2, first + 9_000)  # warm
        told = _load(watched.port, REQUESTS[in_flight], in_flight, first)
        return Row(server, in_flight, told["per_second"], told["p99_ms"], watched.peak_mib, int(told["refused"]))


def _load(port: int, requests: int, in_flight: int, first: int) -> dict[str, float]:
    told: dict[str, float] = json.loads(
        subprocess.run(
            [sys.executable, "-m", "tests.bench.load", "127.0.0.1", str(port), "/fhir/Media"]
            + [str(number) for number in (requests, in_flight, first)],
            cwd=ROOT,
            check=True,
            capture_output=True,
        ).stdout
    )
    return told


@contextmanager
def _server(server: str, folder: Path, database: str) -> Iterator[Watched]:
    port = free_port()
    if server != "relay":
        with started(["tests.bench.references", server, str(port), str(folder)], port, "/") as watched:
            yield watched
        return
    environment = {
        "FUNDUS_RELAY_HTTP__PORT": str(port),
        "FUNDUS_RELAY_DATA_DIR": str(folder),
        "FUNDUS_RELAY_DATABASE__URL": database,
        "FUNDUS_RELAY_ANALYSER__BASE_URL": "http://127.0.0.1:9/v1",
        "FUNDUS_RELAY_ANALYSER__USERNAME": "bench",
        "FUNDUS_RELAY_ANALYSER__PASSWORD": "bench",
        "FUNDUS_RELAY_RECORD__BASE_URL": "http://127.0.0.1:9/fhir",
    }
    with started(["fundus_relay", "serve", "--only", "api"], port, "/readyz", environment) as watched:
        yield watched


def table(rows: list[Row]) -> str:
    """As Markdown, with the ratios that count."""
    lines = [
        "| in flight | server | accepts/s | of the floor | p99 ms | peak RSS MiB |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        floor = next(other for other in rows if other.server == "floor" and other.in_flight == row.in_flight)
        refused = f" ({row.refused} refused!)" if row.refused else ""
        ratio = row.per_second / floor.per_second
        lines.append(
            f"| {row.in_flight} | {row.server}{refused} | {row.per_second:.0f} | {ratio:.2f} "
            f"| {row.p99_ms:.0f} | {row.peak_mib:.0f} |"
        )
    return "\n".join(lines)
