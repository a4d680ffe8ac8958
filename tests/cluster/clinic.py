"""Who sends photographs into the cluster, and the book of what it was told; it lies outside every pod.

Half of the photographs come by connections that are kept open, half each by one of its own. A request that fails is
written down, and sent again under the same name (`If-None-Exist`), as an EHR does: so the book is right in the end, and
a test says which failures it allows.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count

import httpx
from tests.system.faults.callers import SYSTEM, Photograph, know_patients, media_of
from tests.unit.imaging.pictures import a_jpeg

from fundus_relay.domain.geometry import Box

PATIENCE_S = 30
OF_A_PATIENT = 2


def picture(number: int) -> str:
    """One of 5,000, by where its green square is."""
    left, top = 16 * (number % 80), 16 * (number // 80)
    return base64.b64encode(a_jpeg(marked=Box(left, top, left + 16, top + 16), minimal=True, quality=30)).decode()


@dataclass(frozen=True)
class Failure:
    """A request without a 2xx.

    Attributes:
        status: None where a connection broke, was refused or stayed silent.
        is_kept: it went over a connection that had been open before.
    """

    photograph: str
    status: int | None
    said: str
    is_kept: bool

    @property
    def is_crossed(self) -> bool:
        """Whether it may have met, on its way, the end of a kept connection. HTTP/1.1 leaves it to the client to send
        again what it may send twice (RFC 9112, 9.3.1).
        """
        return self.is_kept and self.status is None


def failed(failures: Sequence[Failure]) -> list[Failure]:
    """Those that no end of a kept connection explains."""
    return [each for each in failures if not each.is_crossed]


@dataclass
class Clinic:
    """Attributes: `token` is what it sends, and may be changed while it does."""

    relay: str
    ehr: str
    token: str = "demo"
    photographs: list[Photograph] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=count)

    @property
    def so_far(self) -> str:
        crossed = sum(each.is_crossed for each in self.failures)
        return f"{len(self.photographs)} images so far, {crossed} sent again since a kept connection ended"

    @asynccontextmanager
    async def sending(self, per_second: float = 2.0) -> AsyncIterator[list[Failure]]:
        """Photographs come until the context ends; then all have been acknowledged. Yields what fails meanwhile."""
        before = len(self.failures)
        failures: list[Failure] = []
        is_over = asyncio.Event()
        async with AsyncExitStack() as stack:
            kept = await stack.enter_async_context(self._client())

            async def come() -> None:
                async with asyncio.TaskGroup() as each:
                    while not is_over.is_set():
                        each.create_task(self._send(await self._next(), kept))
                        await asyncio.wait([waiting], timeout=1 / per_second)

            waiting = asyncio.create_task(is_over.wait())
            coming = asyncio.create_task(come())
            try:
                yield failures
            finally:
                is_over.set()
                await coming
                failures += self.failures[before:]

    async def send(self, how_many: int, at_once: int = 4) -> None:
        turn = asyncio.Semaphore(at_once)

        async def one(photograph: Photograph) -> None:
            async with turn:
                await self._send(photograph, kept)

        async with self._client() as kept, asyncio.TaskGroup() as each:
            for _ in range(how_many):
                each.create_task(one(await self._next()))

    async def _next(self) -> Photograph:
        """Each patient comes to one visit, and has two pictures taken."""
        number = next(self.numbers)
        visit = number // OF_A_PATIENT
        photograph = Photograph(f"cluster-{number}", f"p{visit}", f"v{visit}", number)
        self.photographs.append(photograph)
        if number % OF_A_PATIENT == 0:
            await know_patients(self.ehr, [photograph])
        return photograph

    async def _send(self, photograph: Photograph, kept: httpx.AsyncClient) -> None:
        media = media_of(photograph, await asyncio.to_thread(picture, photograph.noise))
        named = {"If-None-Exist": f"identifier={SYSTEM}|{photograph.name}"}
        is_kept = bool(photograph.noise % 2)
        while not photograph.told:
            headers = named | {"Authorization": f"Bearer {self.token}"}
            try:
                if is_kept:
                    answer = await kept.post("/Media", json=media, headers=headers)
                else:
                    async with self._client() as own:
                        answer = await own.post("/Media", json=media, headers=headers)
            except httpx.HTTPError as exc:
                self.failures.append(Failure(photograph.name, None, repr(exc), is_kept))
            else:
                if answer.is_success:
                    photograph.told.add(answer.json()["id"])
                    return
                self.failures.append(Failure(photograph.name, answer.status_code, answer.text[:300], is_kept))
            await asyncio.sleep(0.5)

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S, base_url=f"{self.relay}/fhir")
