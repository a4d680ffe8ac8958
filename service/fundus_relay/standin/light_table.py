"""Where pictures are looked at: one after the other, in a process of its own, so that a bad one harms nobody."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from .answers import NORMAL, Seen, result_of
from .book import Book
from .settings import StandinSettings

log = logging.getLogger(__name__)

FAILED = "LC-ERR-0035 : Please contact Leben Care Support Team."


class LightTable:
    """Takes jobs from the book until it is closed."""

    def __init__(self, book: Book, settings: StandinSettings) -> None:
        self._book = book
        self._settings = settings
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._pool: ProcessPoolExecutor | None = None
        self._work: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin; what was queued before a restart comes first."""
        for job_id in self._book.queued():
            self._queue.put_nowait(job_id)
        self._work = asyncio.create_task(self._run())

    async def close(self) -> None:
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            for process in list((self._pool._processes or {}).values()):
                process.kill()

    def put(self, job_id: str) -> None:
        """Look at it when its turn comes; at once when nothing has to be looked at."""
        if self._settings.analyser == "instant" and not self._settings.analysis_s:
            self._end(job_id, NORMAL)
        else:
            self._queue.put_nowait(job_id)

    async def _run(self) -> None:
        while True:
            job_id = await self._queue.get()
            picture = self._book.picture(job_id)
            if picture is None:
                continue
            seen, _ = await asyncio.gather(self._look(picture), asyncio.sleep(self._settings.analysis_s))
            self._end(job_id, seen)

    async def _look(self, picture: bytes) -> Seen | None:
        """What is seen, or None when looking failed twice."""
        if self._settings.analyser == "instant":
            return NORMAL
        from .eyes.look import look

        for _ in range(2):
            try:
                return await asyncio.get_running_loop().run_in_executor(self._started_pool(), look, picture)
            except BrokenProcessPool:
                self._pool = None
                log.warning("eyes-restarted")
            except Exception as exc:
                log.warning("picture-not-analysed", extra={"code": type(exc).__name__})
                return None
        return None

    def _started_pool(self) -> ProcessPoolExecutor:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(max_workers=1, mp_context=context)
        return self._pool

    def _end(self, job_id: str, seen: Seen | None) -> None:
        job = self._book.job(job_id)
        if job is None:
            return
        choice = self._book.choice(job.sha256)
        if choice is not None:
            self._book.end(job_id, *choice)
        elif seen is None:
            self._book.end(job_id, "ERROR", None, FAILED)
        else:
            self._book.end(job_id, "COMPLETED", result_of(seen, self._settings.results), None)
