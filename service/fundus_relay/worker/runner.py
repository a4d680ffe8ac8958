"""A worker process: two lanes of jobs, what the leader does, and what brings lost jobs back.

How this works. Each lane is a worker of the engine with its own heartbeat. When the database goes away a lane's
heartbeat fails, the lane stops, and it is started again until the database is back. A lane that has stopped beating
has no handler at work after `pace.grace`, and only then (`pace.dead_after`) may its jobs be taken over; see `rescue`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from procrastinate import App, JobContext, PsycopgConnector

from fundus_relay.adapters.database.ledger import PostgresLedger
from fundus_relay.adapters.database.pool import Pool
from fundus_relay.domain.errors import RelayError
from fundus_relay.pipeline.ports import Clock, Job

from .engine import QUEUE_OF, Patience
from .leader import lead, repeat
from .rescue import AtWork, hand_back_stalled, hand_back_strays

Handler = Callable[[str], Awaitable[object]]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between things, and how many at once.

    Attributes:
        images, reports: jobs at once in the lane.
        poll, reconcile, rescue: between two rounds.
        heartbeat: between two beats of a lane.
        grace: that jobs have to finish when their lane stops; then they are cancelled and handed back.
        dead_after: without a heartbeat; must exceed `grace` and the time that a lane needs to notice.
        look: between two looks for jobs without a notification, should one be missed.
    """

    images: int = 8
    reports: int = 8
    poll: float = 1
    reconcile: float = 2
    rescue: float = 4
    heartbeat: float = 2
    grace: float = 10
    dead_after: float = 18
    look: float = 0.5


async def run_worker(  # noqa: PLR0917 - all but the last are the worker's world
    pool: Pool,
    ledger: PostgresLedger,
    clock: Clock,
    handlers: Mapping[Job, Handler],
    poll: Callable[[], Awaitable[object]],
    stop: asyncio.Event,
    *,
    pace: Pace = Pace(),
) -> None:
    """Work until `stop` is set; then take nothing new, let jobs finish for `pace.grace`, and hand back the rest.

    Args:
        handlers: each may be called twice for one id, never twice at the same time unless a live process was taken
            for dead. What they raise is a bug: it is logged, and the job comes again, later and later.
        poll: one batch; called by one process of all.
    """
    at_work = AtWork()
    app = _app(handlers, ledger, at_work)
    await app.open_async(pool)

    async def reconcile() -> None:
        if overdue := await ledger.overdue(clock.now(), 500):
            async with ledger.transaction() as tx:
                for job, id in overdue:
                    await tx.enqueue(job, id)

    async def rescue() -> None:
        await hand_back_stalled(app.job_manager, at_work, pace.dead_after)

    async def strays() -> None:
        await hand_back_strays(app.job_manager, at_work)

    lanes = {"analysis": pace.images, "report": pace.reports}
    tasks = [
        *(asyncio.create_task(_keep_lane(app, queue, size, stop, pace)) for queue, size in lanes.items()),
        asyncio.create_task(lead(pool, {poll: pace.poll, reconcile: pace.reconcile, rescue: pace.rescue})),
        asyncio.create_task(repeat(strays, pace.rescue)),
    ]
    told = asyncio.create_task(stop.wait())
    try:
        ended, _ = await asyncio.wait([told, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()  # none ends by itself: a bug is better seen as a dead process than not at all
    finally:
        for task in (told, *tasks):
            task.cancel()
        await asyncio.gather(told, *tasks, return_exceptions=True)


def _app(handlers: Mapping[Job, Handler], ledger: PostgresLedger, at_work: AtWork) -> App:
    """The engine with our handlers as its tasks."""
    app = App(connector=PsycopgConnector())

    def register(kind: Job, handler: Handler) -> None:
        @app.task(name=kind.value, queue=QUEUE_OF[kind], pass_context=True, retry=Patience())
        async def run(context: JobContext, id: str) -> None:
            with at_work.on(context.job):
                try:
                    if kind is Job.STUDY:
                        async with ledger.looking_at(id):
                            await handler(id)
                    else:
                        await handler(id)
                except Exception as bug:
                    code = bug.code if isinstance(bug, RelayError) else type(bug).__name__
                    log.exception("job-failed", extra={"job": kind.value, kind.value: id, "code": code})
                    raise JobFailed(code) from None

    for kind, handler in handlers.items():
        register(kind, handler)

    @app.periodic(cron="0 * * * *")  # also keeps the engine watching over its heartbeats, see `_keep_lane`
    @app.task(name="sweep", queue="report", lock="sweep", queueing_lock="sweep")
    async def sweep(timestamp: int) -> None:
        await app.job_manager.delete_old_jobs(
            nb_hours=24, include_failed=True, include_cancelled=True, include_aborted=True
        )

    return app


class JobFailed(Exception):
    """A handler raised what it should not; its text may hold anything, so only its code goes on."""


async def _keep_lane(app: App, queue: str, size: int, stop: asyncio.Event, pace: Pace) -> None:
    """Run a lane, again and again while the database is away.

    The engine stops a worker when one of its side tasks (heartbeat, listener) fails, but watches only until the first
    of them ends; a periodic task on the app keeps them all running.
    """
    while not stop.is_set():
        try:
            await app.run_worker_async(
                queues=[queue],
                name=queue,
                concurrency=size,
                fetch_job_polling_interval=pace.look,
                shutdown_graceful_timeout=pace.grace,
                delete_jobs="successful",
                install_signal_handlers=False,
                update_heartbeat_interval=pace.heartbeat,
                stalled_worker_timeout=pace.dead_after,
            )
        except Exception as exc:
            log.warning("lane-stopped", extra={"task": queue, "code": type(exc).__name__})
        await asyncio.sleep(1)
