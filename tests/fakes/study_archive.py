"""An archive of studies in memory, with the manners of the real one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fundus_relay.domain.dicom import InstanceName, ListedInstance
from fundus_relay.domain.errors import ArchiveNotAllowed, InstanceNotThere, PictureTooLarge
from fundus_relay.pipeline.ports import Draft

PIECE = 64 * 1024


@dataclass
class FakeStudyArchive:
    """Holds what was put into it; nothing else is allowed.

    Attributes:
        address: base URL; empty when the operator listed no archive.
        is_default: whether it is asked for studies that name none.
        fault: raised for whatever is asked, when it gives an error: it is given the instance, or None for a listing.
        fetched: what was asked for, in order.
    """

    address: str = ""
    is_default: bool = True
    files: dict[InstanceName, tuple[ListedInstance, bytes]] = field(default_factory=dict)
    fault: Callable[[InstanceName | None], Exception | None] = lambda _: None
    fetched: list[InstanceName] = field(default_factory=list)

    def put(self, listed: ListedInstance, file: bytes) -> None:
        self.files[listed.name] = (listed, file)

    def knows(self, address: str) -> bool:
        return bool(self.address) and address == self.address

    @property
    def default(self) -> str | None:
        return self.address if self.address and self.is_default else None

    async def instances(self, address: str, study: str) -> Sequence[ListedInstance]:
        self._admit(address, None)
        return [listed for listed, _ in self.files.values() if listed.name.study == study]

    async def fetch(self, address: str, name: InstanceName, draft: Draft, *, limit: int) -> None:
        self._admit(address, name)
        if name not in self.files:
            raise InstanceNotThere
        self.fetched.append(name)
        _, file = self.files[name]
        for start in range(0, len(file), PIECE):
            if start + PIECE > limit and len(file) > limit:
                raise PictureTooLarge(f"the instance has more than {limit} bytes")
            draft.write(file[start : start + PIECE])

    def _admit(self, address: str, name: InstanceName | None) -> None:
        if not self.knows(address):
            raise ArchiveNotAllowed
        if (error := self.fault(name)) is not None:
            raise error
