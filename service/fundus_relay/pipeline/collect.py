"""Collecting bytes that no row knows: their request failed after they were durable and before anything was said, or
they were drawn for a report that then said something else, or whose later revision does not have them.

How this works: pictures lie on 256 shelves by the beginning of their digest. Each round looks at one of them, so no
round holds more than a small part of all digests, and each shelf is seen within two days.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from .ports import Ports

SPARED_FOR = timedelta(days=1)
"""After it was kept; a request is over in minutes, and an image whose row is coming is not looked for."""

ROUND = timedelta(minutes=10)

log = logging.getLogger(__name__)


async def collect(ports: Ports) -> None:
    """Discard what nobody knows on the shelf whose turn it is. Raises StoreUnavailable."""
    now = ports.clock.now()
    shelf = f"{int(now.timestamp() / ROUND.total_seconds()) % 256:02x}"
    old = await ports.blobs.kept_before(now - SPARED_FOR, shelf)
    unknown = await ports.ledger.unknown_pictures(old)
    discarded = [await ports.blobs.discard(digest, kept_before=now - SPARED_FOR) for digest in unknown]
    if any(discarded):
        log.info("pictures-discarded", extra={"count": sum(discarded)})
