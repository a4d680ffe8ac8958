"""A picture that is read piece by piece is the one that was kept, or its end is not given out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fundus_relay.adapters.blobs import PIECE, DirectoryBlobs
from fundus_relay.domain.errors import PictureLost, StoreUnavailable
from fundus_relay.pipeline.kept import looked_at

PICTURE = bytes(range(256)) * (3 * PIECE // 256) + b"end"
DIGEST = hashlib.sha256(PICTURE).hexdigest()

Damage = Callable[[Path], Any]  # Any: nobody looks at it
DAMAGES: dict[str, Damage] = {
    "first byte": lambda place: place.write_bytes(b"\1" + PICTURE[1:]),
    "last byte": lambda place: place.write_bytes(PICTURE[:-1] + b"\0"),
    "cut short": lambda place: place.write_bytes(PICTURE[:PIECE]),
    "longer": lambda place: place.write_bytes(PICTURE + b"more"),
    "much longer": lambda place: place.write_bytes(PICTURE + bytes(3 * PIECE)),
    "empty": lambda place: place.write_bytes(b""),
    "gone": lambda place: place.unlink(),
}


@pytest.fixture
async def ports(tmp_path: Path) -> Any:  # Any: ports of which only the store is looked at
    blobs = DirectoryBlobs(tmp_path / "blobs")
    await blobs.put(PICTURE)
    return SimpleNamespace(blobs=blobs)


def place(folder: Path) -> Path:
    (found,) = folder.rglob(DIGEST)
    return found


async def test_a_whole_picture_can_be_read_again_and_again(ports: Any) -> None:
    picture = await looked_at(DIGEST, ports)

    assert picture.byte_count == len(PICTURE)
    for _ in range(2):
        assert b"".join([piece async for piece in picture]) == PICTURE


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
async def test_a_damaged_one_is_lost(ports: Any, tmp_path: Path, damage: Damage) -> None:
    damage(place(tmp_path))

    with pytest.raises(PictureLost):
        await looked_at(DIGEST, ports)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
async def test_the_end_of_one_that_was_damaged_meanwhile_is_not_given_out(
    ports: Any, tmp_path: Path, damage: Damage
) -> None:
    picture = await looked_at(DIGEST, ports)
    damage(place(tmp_path))

    byte_count = 0
    with pytest.raises(StoreUnavailable):
        async for piece in picture:
            byte_count += len(piece)

    assert byte_count < len(PICTURE)
