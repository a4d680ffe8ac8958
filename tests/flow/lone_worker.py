"""A worker process for the tests: tells on its standard output what it does.

Call: `python lone_worker.py DATABASE_URL hang|finish`.
"""

from __future__ import annotations

import asyncio
import signal
import sys

from fundus_relay.adapters.clock import SystemClock
from fundus_relay.adapters.database.ledger import PostgresLedger
from fundus_relay.adapters.database.pool import open_pool
from fundus_relay.pipeline.ports import Job
from fundus_relay.worker.engine import Engine
from fundus_relay.worker.runner import run_worker


def tell(*words: str) -> None:
    print(*words, flush=True)  # the test reads it


async def main(url: str, manner: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)

    async def handle(id: str) -> None:
        tell("begin", id)
        if manner == "hang":
            await asyncio.Event().wait()
        tell("end", id)

    async def poll() -> None:
        tell("poll")

    async def nothing() -> None: ...

    async with open_pool(url) as pool:
        clock = SystemClock()
        ledger = PostgresLedger(pool, clock, Engine().enqueue)
        handlers = dict.fromkeys(Job, handle)
        await run_worker(pool, ledger, clock, handlers, poll, nothing, nothing, stop)
    tell("stopped")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
