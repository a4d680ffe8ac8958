"""A load generator in a process of its own: N requests, K in flight, over plain sockets.

Usage: python -m tests.bench.load HOST PORT PATH REQUESTS IN_FLIGHT FIRST_NUMBER → one JSON line.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from itertools import count

from .photographs import bodies


async def main(host: str, port: int, path: str, requests: int, in_flight: int, first: int) -> dict[str, float]:
    numbers = iter(range(first, first + requests))
    latencies: list[float] = []
    refused: dict[int, int] = {}

    async def sender() -> None:
        reader, writer = await asyncio.open_connection(host, port, limit=1 << 20)
        for number in numbers:
            began = time.perf_counter()
            parts = bodies().number(number)
            length = sum(map(len, parts))
            writer.write(
                f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/fhir+json\r\n"
                f"Content-Length: {length}\r\n\r\n".encode()
            )
            for part in parts:
                writer.write(part)
            await writer.drain()
            status = await _read_answer(reader)
            latencies.append(time.perf_counter() - began)
            if status != 201:
                refused[status] = refused.get(status, 0) + 1
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(sender() for _ in range(in_flight)))
    seconds = time.perf_counter() - began
    latencies.sort()
    return {
        "per_second": len(latencies) / seconds,
        "p50_ms": 1000 * latencies[len(latencies) // 2],
        "p99_ms": 1000 * latencies[min(len(latencies) - 1, int(len(latencies) * 0.99))],
        "refused": sum(refused.values()),
    }


async def _read_answer(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
    if b"content-length" in fields:
        await reader.readexactly(int(fields[b"content-length"]))
    else:
        for _ in count():
            size = int(await reader.readline(), 16)
            await reader.readexactly(size + 2)
            if size == 0:
                break
    return status


if __name__ == "__main__":
    host, port, path, *numbers = sys.argv[1:]
    print(json.dumps(asyncio.run(main(host, int(port), path, *map(int, numbers)))))
