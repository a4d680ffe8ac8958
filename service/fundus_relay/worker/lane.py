"""A lane: one worker of the engine for the jobs of one party outside, started again whenever it ends."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from procrastinate import App
from procrastinate.worker import Worker

from .leader import end

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between things, and how many at once.

    Attributes:
        acquisitions, images, reports: jobs at once in the lane.
        poll, reconcile, rescue, collect, credits, purge: between two rounds.
        heartbeat: between two beats of a lane.
        grace: that jobs have to finish when their lane stops; then they are cancelled and handed back.
        dead_after: without a heartbeat; must exceed `grace` and the time that a lane needs to notice.
        look: between two looks for jobs without a notification, should one be missed.
    """

    acquisitions: int = 4
    images: int = 8
    reports: int = 8
    poll: float = 1
    reconcile: float = 2
    rescue: float = 4
    collect: float = 600
    credits: float = 2
    purge: float = 60
    heartbeat: float = 2
    grace: float = 10
    dead_after: float = 18
    look: float = 0.5


class Lane:
    """One worker of the engine after the other.

    The engine stops a worker when one of its side tasks (heartbeat, listener) fails, but watches only until the first
    of them ends; a periodic task on the app keeps them all running.
    """

    def __init__(self, app: App, queue: str, size: int, pace: Pace) -> None:
        self._app = app
        self._queue = queue
        self._size = size
        self._pace = pace
        self._worker = self._new_worker()
        self._run: asyncio.Task[None] | None = None

    @property
    def worker_id(self) -> int | None:
        """Of the worker that runs now, as the engine's tables know it."""
        return self._worker.worker_id

    async def keep(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set and the jobs have ended or are handed back."""
        told = asyncio.create_task(_wait(stop))
        try:
            while not stop.is_set():
                self._worker = self._new_worker()
                self._run = asyncio.create_task(_run(self._worker))
                await asyncio.wait([told, self._run], return_when=asyncio.FIRST_COMPLETED)
                if not stop.is_set():
                    self._tell_why(self._run)
                    await asyncio.wait([told], timeout=1)
            self._worker.stop()  # type: ignore[no-untyped-call]  # the engine left its return type out
            if self._run is not None:
                ended, _ = await asyncio.wait([self._run], timeout=self._pace.grace + 5)
                if ended and not self._run.cancelled() and self._run.exception() is not None:
                    self._tell_why(self._run)  # such as a database that is away while we stop
        finally:
            await end(told, *filter(None, [self._run]))

    async def restart(self) -> None:
        """Give the worker up and start another: it does not beat any more, and has not ended either."""
        if self._run is not None:
            await end(self._run)

    def _tell_why(self, run: asyncio.Task[None]) -> None:
        log.warning("lane-stopped", extra={"task": self._queue, "code": _why(run)})

    def _new_worker(self) -> Worker:
        return Worker(
            self._app,
            queues=[self._queue],
            name=self._queue,
            concurrency=self._size,
            fetch_job_polling_interval=self._pace.look,
            shutdown_graceful_timeout=self._pace.grace,
            delete_jobs="successful",
            install_signal_handlers=False,
            update_heartbeat_interval=self._pace.heartbeat,
            stalled_worker_timeout=self._pace.dead_after,
        )


async def _run(worker: Worker) -> None:
    await worker.run()  # type: ignore[no-untyped-call]  # as above


async def _wait(stop: asyncio.Event) -> None:
    await stop.wait()


def _why(run: asyncio.Task[None]) -> str:
    if run.cancelled():
        return "given-up"
    return type(exc).__name__ if (exc := run.exception()) else "side-task"
