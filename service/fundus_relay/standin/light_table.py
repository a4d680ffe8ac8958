"""Where jobs wait until their pictures are looked at, one after the other."""

from __future__ import annotations

import asyncio
import logging

from .answers import UNSEEN, Seen, result_of
from .book import Book
from .onlooker import Onlooker
from .settings import StandinSettings

log = logging.getLogger(__name__)

FAILED = "LC-ERR-0035 : Please contact Leben Care Support Team."


class LightTable:
    """Takes jobs from the book until it is closed."""

    def __init__(self, book: Book, settings: StandinSettings, onlooker: Onlooker) -> None:
        self._book = book
        self._settings = settings
        self._onlooker = onlooker
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._work: asyncio.Task[None] | None = None

    @property
    def looks(self) -> bool:
        """Whether pictures are looked at, and so have to be kept until then."""
        return self._settings.analyser == "network"

    def open(self) -> None:
        """Begin; what was queued before a restart comes first."""
        for job_id in self._book.queued():
            self._queue.put_nowait(job_id)
        self._work = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop; what was not ended stays in the book."""
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
        self._onlooker.close()

    def put(self, job_id: str) -> None:
        """Look at it when its turn comes; at once when nothing has to be looked at."""
        if self.looks or self._settings.analysis_s:
            self._queue.put_nowait(job_id)
        else:
            self._end(job_id, UNSEEN[self._settings.analyser])

    async def _run(self) -> None:
        while True:
            job_id = await self._queue.get()
            try:
                seen, _ = await asyncio.gather(self._look(job_id), asyncio.sleep(self._settings.analysis_s))
                self._end(job_id, seen)
            except Exception:  # the outermost loop: one job's trouble, such as a full disk, is not that of the next
                log.exception("job-not-ended")

    async def _look(self, job_id: str) -> Seen | None:
        if not self.looks:
            return UNSEEN[self._settings.analyser]
        picture = self._book.picture(job_id)
        return await self._onlooker.see(picture) if picture is not None else None

    def _end(self, job_id: str, seen: Seen | None) -> None:
        job = self._book.job(job_id)
        if job is None or job.state != "QUEUED":
            return
        choice = self._book.choice(job.sha256)
        if choice is not None:
            self._book.end(job_id, *choice)
        elif seen is None:
            self._book.end(job_id, "ERROR", None, FAILED)
        else:
            self._book.end(job_id, "COMPLETED", result_of(seen, self._settings.results), None)
