"""Pictures whose request failed between blob and row do not stay for ever."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tests.flow.world import World, a_photograph
from tests.unit.imaging.pictures import a_jpeg

from fundus_relay.pipeline.collect import ROUND, collect

EYE = a_jpeg(noise=11)


async def test_a_picture_without_a_row_is_discarded_and_one_with_a_row_never(world: World) -> None:
    await world.accept(await a_photograph(world, EYE))
    await world.finish()
    orphan = await world.ports.blobs.put(b"its request failed before the commit")
    (image,) = await world.images()
    assert image.prepared is not None

    world.clock.advance(datetime.now(UTC) - world.clock.now() + timedelta(days=2))  # blobs live in the real time
    for _ in range(256):
        await collect(world.ports)
        world.clock.advance(ROUND)

    assert await world.ports.blobs.get(image.source.sha256) == EYE
    assert await world.ports.blobs.get(image.prepared.sha256)
    with pytest.raises(KeyError):
        await world.ports.blobs.get(orphan)
