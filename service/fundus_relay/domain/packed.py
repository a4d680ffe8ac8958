"""Resources of a report that may be large, kept small.

How this works. Nearly all of a large report is components: a box for each lesion, a dozen objects for each box. They
lie deflated, a small part of what the objects take, until somebody asks for the resource whole. All else of a resource,
its head, is at hand.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import overload

from .values import Json

_PACKED = "component"
_FEW = 8


class Packed(Sequence[Json]):
    """A sequence of resources; each access makes a whole one anew. Equal when all its resources are."""

    __slots__ = ("_bodies", "_heads")

    def __init__(self, resources: Iterable[Json] = ()) -> None:
        self._heads: list[Json] = []
        self._bodies: list[bytes | None] = []
        for each in resources:
            self.append(each)

    def append(self, resource: Json) -> Json:
        """Add one, and return its head."""
        body = None
        if len(resource.get(_PACKED, ())) > _FEW:
            text = json.dumps(resource[_PACKED], ensure_ascii=False, separators=(",", ":"))
            body = zlib.compress(text.encode("utf-8", "surrogatepass"), 1)
            resource = {name: value for name, value in resource.items() if name != _PACKED}
        self._heads.append(resource)
        self._bodies.append(body)
        return resource

    @classmethod
    def of(cls, resources: Iterable[Json]) -> Packed:
        """These, packed if they are not yet."""
        return resources if isinstance(resources, Packed) else cls(resources)

    @property
    def heads(self) -> Sequence[Json]:
        """Each resource without its components, if it has more than a few."""
        return self._heads

    def mapped(self, change: Callable[[Json], Json | None]) -> Packed:
        """The same with every head changed, or left out where that gives None. What is packed stays as it is."""
        changed = Packed()
        for head, body in zip(self._heads, self._bodies, strict=True):
            if (told := change(head)) is not None:
                changed._heads.append(told)
                changed._bodies.append(body)
        return changed

    def where(self, holds: Callable[[Json], bool]) -> Iterator[Json]:
        """Those resources, whole, of whose heads something holds."""
        return (self[place] for place, head in enumerate(self._heads) if holds(head))

    @overload
    def __getitem__(self, place: int) -> Json: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Json, ...]: ...
    def __getitem__(self, place: int | slice) -> Json | tuple[Json, ...]:
        if isinstance(place, slice):
            return tuple(self[each] for each in range(*place.indices(len(self))))
        head, body = self._heads[place], self._bodies[place]
        if body is None:
            return head
        return {**head, _PACKED: json.loads(zlib.decompress(body).decode("utf-8", "surrogatepass"))}

    def __len__(self) -> int:
        return len(self._heads)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Packed):
            return self._heads == other._heads and self._bodies == other._bodies
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]  # it can be appended to
