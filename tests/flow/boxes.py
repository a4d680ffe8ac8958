"""Boxes: an analyser that sees what is green, and where the EHR is told that it is."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import pytest
from PIL import Image
from tests.flow.world import World
from tests.unit.imaging.pictures import edges_of_marked

from fundus_relay.domain.analysis import Analysis, Graded, Lesion
from fundus_relay.domain.geometry import Box


def sees_green(picture: bytes) -> Analysis:
    """One lesion, with whole pixels as edges, where the picture is green."""
    edges = [round(edge) for edge in edges_of_marked(Image.open(BytesIO(picture)))]
    return Graded(True, True, (Lesion("Microaneurysm", Box(*edges), str(edges)),))


async def boxes_at_ehr(world: World) -> list[tuple[float, ...]]:
    return [
        tuple(parts[name]["valueDecimal"] for name in ("xMin", "yMin", "xMax", "yMax"))
        for observation in await world.observations("lesion-regions")
        for component in observation["component"]
        for parts in [{part["url"]: part for part in component["extension"][0]["extension"]}]
        if parts["frame"]["valueCode"] == "source-image"
    ]


def near(box: Box) -> Sequence[float]:
    told: Sequence[float] = pytest.approx((box.x_min, box.y_min, box.x_max, box.y_max), abs=1)
    return told
