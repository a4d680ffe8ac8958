"""What the parts of a purge have in common: places to go on from, and the list of files that are to be discarded."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from fundus_relay.domain.policy import Kept
from fundus_relay.pipeline.ports import Old

from .pool import Connection

NOWHERE = "00000000-0000-0000-0000-000000000000"


def place(before: datetime, after: Old | None, limit: int) -> dict[str, object]:
    """Parameters of a look that goes on behind `after`."""
    since, id = (after.since, after.id) if after else (datetime(1, 1, 1, tzinfo=UTC), NOWHERE)
    return {"before": before, "since": since, "id": id, "limit": limit}


async def condemn(connection: Connection, files: Sequence[tuple[str, Kept]]) -> None:
    """Write files down that are to be discarded, each a row of its own: nobody waits for whoever brings it again."""
    if files:
        digests, kept = zip(*dict.fromkeys(files), strict=True)
        await connection.execute(
            "insert into discard (sha256, kept) select * from unnest(%s::text[], %s::text[])",
            [list(digests), [str(each) for each in kept]],
        )
