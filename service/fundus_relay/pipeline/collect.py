"""Collecting bytes that no row knows: their request failed after they were durable and before anything was said, or
they were drawn for a report that then said something else, or whose later revision does not have them.

How this works: pictures lie on 256 shelves by the beginning of their digest. Each round looks at one of them, so no
round holds more than a small part of all digests, and each shelf is seen within two days.
"""

from __future__ import annotations

from datetime import timedelta

from .ports import Ports

SPARED_FOR = timedelta(days=1)
"""After it was kept; a request is over in minutes, and an image whose row is coming is not looked for."""

ROUND = timedelta(minutes=10)

AT_ONCE = 20
"""Files that are discarded in one transaction: whoever brings one of them anew waits that long."""


async def collect(ports: Ports) -> None:
    """Discard what nobody knows on the shelf whose turn it is. Raises StoreUnavailable."""
    now = ports.clock.now()
    shelf = f"{int(now.timestamp() / ROUND.total_seconds()) % 256:02x}"
    old = await ports.blobs.kept_before(now - SPARED_FOR, shelf)
    await ports.retention.condemn(await ports.ledger.unknown_pictures(old))
    await discard_condemned(ports)


async def discard_condemned(ports: Ports) -> None:
    """Discard all files that were condemned, but those that something needs, or that were kept again just now.

    What it is interrupted in, the next call does. Raises StoreUnavailable.
    """
    while await _discard_some(ports):
        pass


async def _discard_some(ports: Ports) -> bool:
    kept_before = ports.clock.now() - SPARED_FOR
    async with ports.retention.condemned(AT_ONCE) as condemned:
        for digest in condemned.files:
            condemned.freed[digest] = await ports.blobs.discard(digest, kept_before=kept_before)
    return condemned.is_more
