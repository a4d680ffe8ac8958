"""What the event loop of a process notes about itself, for its probes and its metrics."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress

from fundus_relay.adapters.database.census import count, look, measure
from fundus_relay.adapters.database.pool import Pool
from fundus_relay.api.probes import Health
from fundus_relay.domain.errors import RelayError

TURNS_EVERY_S = 1.0
LOOKS_EVERY_S = 2.0
COUNTS_EVERY_S = 15.0
COUNTS_WITHIN_S = 5.0
"""A database that is slow to count may still serve: who counts in it does not keep us from looking."""

log = logging.getLogger(__name__)


async def note_turns(health: Health) -> None:
    """Note that the event loop turns, until cancelled."""
    while True:
        health.turned()
        await asyncio.sleep(TURNS_EVERY_S)


async def look_after(pool: Pool, health: Health, stop: asyncio.Event) -> None:
    """Look at the database, and count what waits in it now and then, until `stop` is set."""
    count_at_s = 0.0
    while not stop.is_set():
        health.looked(await look(pool))
        measure(pool)
        if time.monotonic() >= count_at_s:
            count_at_s = time.monotonic() + COUNTS_EVERY_S
            try:
                async with asyncio.timeout(COUNTS_WITHIN_S):
                    await count(pool)
            except RelayError as why:
                log.warning("not-counted", extra={"code": why.code, "reason": str(why)})
            except TimeoutError:
                log.warning("not-counted", extra={"code": "took-too-long"})
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOKS_EVERY_S):
                await stop.wait()
