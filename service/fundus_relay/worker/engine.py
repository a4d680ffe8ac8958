"""The durable queue: what may be queued, and how our transactions hand jobs to it.

How this works. A job is a kind and one opaque id. At most one job of an id waits (`queueing_lock`) and at most one runs
(`lock`); a job that is asked for while another waits becomes one with it. That other one must then not start before our
change is visible, so we lock its row until our commit: the engine passes locked rows over, and our commit wakes it up
again. No job waits for a later time: what has to wait is a row of ours with `due_at`, and reconcile brings it.

Source: Procrastinate 3.10, sql/schema.sql (procrastinate_fetch_job_v2 with `for update skip locked`; the channels that
procrastinate_notify_queue_job_inserted_v1 notifies).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import psycopg
from procrastinate import App, BaseRetryStrategy, PsycopgConnector, RetryDecision
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException
from procrastinate.jobs import Job as QueuedJob

from fundus_relay.adapters.database.pool import Connection
from fundus_relay.pipeline.ports import Clock, Job

LONGEST_BACKOFF = timedelta(minutes=15)

QUEUE_OF = {Job.ACQUISITION: "acquisition", Job.IMAGE: "analysis", Job.STUDY: "report", Job.DELIVERY: "report"}
"""One lane for each party outside: an EHR or an archive that hangs holds up no analysis, and the other way round."""

log = logging.getLogger(__name__)


AT_ONCE = datetime.fromtimestamp(0, UTC)
"""A time that has passed by everybody's clock; by itself the engine takes this machine's, which may be wrong."""


class Patience(BaseRetryStrategy):
    """What a job that ended badly waits before it runs again: a hand-over nothing, a bug longer and longer."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def get_retry_decision(self, *, exception: BaseException, job: QueuedJob) -> RetryDecision:
        if not isinstance(exception, Exception):  # cancelled at shutdown
            return RetryDecision(retry_at=AT_ONCE)
        backoff = min(timedelta(seconds=2.0 ** min(job.attempts + 1, 16)), LONGEST_BACKOFF)
        return RetryDecision(retry_at=self._clock.now() + backoff)


class Engine:
    """The queue, seen from those who put something into it."""

    def __init__(self) -> None:
        self._app = App(connector=PsycopgConnector())

    async def enqueue(
        self, connection: Connection, jobs: Mapping[tuple[Job, str], int], *, is_first: bool = False
    ) -> None:
        """Queue jobs on our connection: they exist when, and only when, its transaction commits.

        Args:
            jobs: with their priority; the highest is run first.
            is_first: nobody can have asked for any of them before.
        """
        if is_first:
            await self._defer(connection, jobs)
            return
        missing = dict(jobs)
        while True:
            waiting = await _keep_waiting(connection, missing)
            missing = {job: priority for job, priority in missing.items() if _key(*job) not in waiting}
            if not missing or await self._defer_unless_waiting(connection, missing):
                return

    async def _defer_unless_waiting(self, connection: Connection, jobs: Mapping[tuple[Job, str], int]) -> bool:
        """Add jobs; False, and nothing is added, when somebody was faster with one of them."""
        try:
            async with connection.transaction():
                await self._defer(connection, jobs)
        except AlreadyEnqueued:
            return False
        return True

    async def _defer(self, connection: Connection, jobs: Mapping[tuple[Job, str], int]) -> None:
        try:
            await self._app.job_manager.batch_defer_jobs_async(
                [self._job(*job, priority) for job, priority in jobs.items()], connection
            )
        except ConnectorException as exc:
            if isinstance(exc.__cause__, psycopg.Error):
                raise exc.__cause__ from None  # the pool turns it into our error
            raise

    def _job(self, kind: Job, id: str, priority: int) -> QueuedJob:
        key = _key(kind, id)
        return self._app.configure_task(
            kind.value, queue=QUEUE_OF[kind], lock=key, queueing_lock=key, priority=priority, task_kwargs={"id": id}
        ).job


def _key(kind: Job, id: str) -> str:
    return f"{kind.value}:{id}"


async def _keep_waiting(connection: Connection, jobs: Mapping[tuple[Job, str], int]) -> set[str]:
    """Keep those of the jobs that wait already from starting before our commit, and wake them by it.

    One that has become more urgent meanwhile moves up.

    Returns:
        Their keys.
    """
    found = await connection.execute(
        "update engine.procrastinate_jobs as queued"
        " set scheduled_at = null, priority = greatest(queued.priority, asked.priority)"
        " from unnest(%s::text[], %s::int[]) as asked (key, priority)"
        " where queueing_lock = asked.key and status = 'todo' returning queueing_lock, queue_name",
        [[_key(*job) for job in jobs], list(jobs.values())],
    )
    rows = await found.fetchall()
    for queue in {row[1] for row in rows}:
        await connection.execute(
            "select pg_notify(%s, %s)", [f"procrastinate_queue_v1#{queue}", '{"type": "job_inserted", "job_id": 0}']
        )
    return {row[0] for row in rows}
