"""Waiting for a database, or a blob store, that is not there yet when the process starts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count
from typing import TypeVar

from fundus_relay.domain.errors import StoreUnavailable

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 15.0

T = TypeVar("T")

log = logging.getLogger(__name__)


class ToldToStop(Exception):
    """Nobody waits for the store any more."""


async def patiently(attempt: Callable[[], Awaitable[T]], stop: asyncio.Event) -> T:
    """What the attempt gives, once the store is there.

    Raises: ToldToStop, once `stop` is set.
    """
    for tried in count(1):
        try:
            return await attempt()
        except StoreUnavailable as why:
            seconds = min(FIRST_WAIT_S * 2.0 ** min(tried - 1, 16), LONGEST_WAIT_S)
            log.warning(
                "store-awaited",
                extra={"code": why.code, "reason": str(why), "attempt": tried, "retry_after_s": seconds},
            )
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), seconds)
        if stop.is_set():
            raise ToldToStop
    raise AssertionError("count never ends")
