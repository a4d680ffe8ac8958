"""Time that passed since: everything that is here becomes older, and the clock stays honest."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.flow.world import World

from fundus_relay.adapters.database.pool import connected

TIMES = {
    "study": ("opened_at",),
    "image": ("since", "answered_at", "sent_again_at", "source_purged_at", "prepared_purged_at"),
    "delivery": ("since", "pages_purged_at"),
    "acquisition": ("since", "asked_at", "looked_at"),
    "submission": ("accepted_at",),
    "resource": ("updated",),
    "discard": ("done_at",),
}


def come_to_the_present(world: World) -> None:
    """Files have the machine's time, so the clock has to have it, too."""
    world.clock.advance(datetime.now(UTC) - world.clock.now())


async def grow_older(world: World, blobs: Path, by: timedelta, *, studies: set[str] | None = None) -> None:
    """Make what is here older by that much.

    Args:
        studies: the ids of those that age; all by default, and files with them.
    """
    async with connected(world.pool) as connection:
        for table, columns in TIMES.items():
            changes = ", ".join(f"{column} = {column} - %(by)s" for column in columns)
            mine = {"study": "id = any(%(of)s::uuid[])", "resource": "true", "discard": "true"}
            where = "true" if studies is None else mine.get(table, "study_id = any(%(of)s::uuid[])")
            values = {"by": by, "of": list(studies or ())}
            statement = f"update {table} set {changes} where {where}"  # noqa: S608 - of constants
            await connection.execute(statement.encode(), values)
    for file in files_of(blobs):
        kept_at = file.stat().st_mtime - by.total_seconds()
        os.utime(file, (kept_at, kept_at))


def files_of(blobs: Path) -> list[Path]:
    """Every blob."""
    return [file for file in blobs.glob("[0-9a-f][0-9a-f]/*") if file.is_file()]
