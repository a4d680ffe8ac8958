"""Bringing back jobs that count as running and that nobody runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from procrastinate.exceptions import UniqueViolation
from procrastinate.jobs import Job as QueuedJob
from procrastinate.jobs import Status
from procrastinate.manager import JobManager

from fundus_relay.adapters.database.pool import Pool, connected

from .engine import AT_ONCE

log = logging.getLogger(__name__)


class AtWork:
    """What this process is running now."""

    def __init__(self) -> None:
        self.jobs: set[int] = set()
        self.suspects: set[int] = set()

    @contextmanager
    def on(self, job: QueuedJob) -> Iterator[None]:
        """The job is being run."""
        assert job.id is not None  # noqa: S101 - a job that runs was stored
        self.jobs.add(job.id)
        try:
            yield
        finally:
            self.jobs.discard(job.id)


async def hand_back_stalled(manager: JobManager, at_work: AtWork, dead_after: float) -> None:
    """Hand back the jobs of workers without a heartbeat; for the leader alone."""
    for job in await manager.get_stalled_jobs(seconds_since_heartbeat=dead_after):
        if job.id not in at_work.jobs:  # after a suspend it is our own heartbeat that is old
            await _hand_back(manager, job)


async def dead_workers(pool: Pool, workers: Sequence[int], dead_after: float) -> set[int]:
    """Those of the workers that the engine does not know any more, or whose last heartbeat is too old."""
    async with connected(pool) as connection:
        found = await connection.execute(
            "select id from engine.procrastinate_workers"
            " where id = any(%s) and last_heartbeat > now() - make_interval(secs => %s)",
            [list(workers), dead_after],
        )
        return set(workers) - {row[0] for row in await found.fetchall()}


async def hand_back_strays(manager: JobManager, at_work: AtWork, workers: Sequence[int]) -> None:
    """Hand back the jobs of this process's live workers that it does not run: their end could not be recorded.

    A job is a stray when it is one in two rounds, since between its fetching and its start it looks like one.
    """
    strays = {
        job.id: job
        for worker in workers
        for job in await manager.list_jobs_async(status=Status.DOING.value, worker_id=worker)
        if job.id is not None and job.id not in at_work.jobs
    }
    for id in strays.keys() & at_work.suspects:
        await _hand_back(manager, strays[id])
    at_work.suspects = set(strays)


async def _hand_back(manager: JobManager, job: QueuedJob) -> None:
    log.warning("job-taken-over", extra={"job": job.task_name})
    try:
        await manager.retry_job(job, retry_at=AT_ONCE)
    except UniqueViolation:  # another job for the same id waits already
        await manager.finish_job(job, Status.ABORTED, delete_job=True)
