"""A worker process: three lanes of jobs, what the leader does, and what brings lost jobs back.

How this works. Each lane is a worker of the engine with its own heartbeat. When the database goes away a lane's
heartbeat fails, the lane stops, and it is started again until the database is back. A lane that has stopped beating
has no handler at work after `pace.grace`, and only then (`pace.dead_after`) may its jobs be taken over; see `rescue`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from procrastinate import App, JobContext, PsycopgConnector

from fundus_relay.adapters.database.ledger import PostgresLedger
from fundus_relay.adapters.database.pool import Pool
from fundus_relay.domain.errors import RelayError
from fundus_relay.pipeline.ports import Clock, Job

from .engine import QUEUE_OF, Patience
from .lane import Lane, Pace
from .leader import end, lead, repeat
from .rescue import AtWork, dead_workers, hand_back_stalled, hand_back_strays

Handler = Callable[[str], Awaitable[object]]

log = logging.getLogger(__name__)


async def run_worker(
    pool: Pool,
    ledger: PostgresLedger,
    clock: Clock,
    handlers: Mapping[Job, Handler],
    poll: Callable[[], Awaitable[object]],
    collect: Callable[[], Awaitable[object]],
    purge: Callable[[], Awaitable[object]],
    stop: asyncio.Event,
    *,
    credits: Callable[[], Awaitable[object]] | None = None,
    pace: Pace = Pace(),  # noqa: B008 - frozen
) -> None:
    """Work until `stop` is set; then take nothing new, let jobs finish for `pace.grace`, and hand back the rest.

    Args:
        handlers: each may be called twice for one id, never twice at the same time unless a live process was taken
            for dead. What they raise is a bug: it is logged, and the job comes again, later and later.
        poll: one batch; called by one process of all.
        collect: one shelf; likewise.
        credits: one look at what waits for them; likewise.
        purge: some steps; likewise.
    """
    at_work = AtWork()
    app = _app(handlers, ledger, clock, at_work)
    await app.open_async(pool)

    async def reconcile() -> None:
        if overdue := await ledger.overdue(clock.now(), 500):
            async with ledger.transaction() as tx:
                for job, id in overdue:
                    await tx.enqueue(job, id)

    async def rescue() -> None:
        await hand_back_stalled(app.job_manager, at_work, pace.dead_after)

    async def look_after_lanes() -> None:
        workers = {lane.worker_id: lane for lane in lanes if lane.worker_id is not None}
        for dead in await dead_workers(pool, list(workers), pace.dead_after):
            await workers[dead].restart()
        await hand_back_strays(app.job_manager, at_work, list(workers))

    lanes = [
        Lane(app, "acquisition", pace.acquisitions, pace),
        Lane(app, "analysis", pace.images, pace),
        Lane(app, "report", pace.reports, pace),
    ]
    kept = [asyncio.create_task(lane.keep(stop)) for lane in lanes]
    rounds = [
        asyncio.create_task(
            lead(
                pool,
                {
                    poll: pace.poll,
                    reconcile: pace.reconcile,
                    rescue: pace.rescue,
                    collect: pace.collect,
                    purge: pace.purge,
                }
                | ({credits: pace.credits} if credits else {}),
            )
        ),
        asyncio.create_task(repeat(look_after_lanes, pace.rescue)),
    ]
    try:  # none of them ends by itself before `stop`: a bug is better seen as a dead process than not at all
        ended, _ = await asyncio.wait([*kept, *rounds], return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()
        await asyncio.wait(kept)
    finally:
        await end(*kept, *rounds)


def _app(handlers: Mapping[Job, Handler], ledger: PostgresLedger, clock: Clock, at_work: AtWork) -> App:
    """The engine with our handlers as its tasks."""
    app = App(connector=PsycopgConnector())

    def register(kind: Job, handler: Handler) -> None:
        @app.task(name=kind.value, queue=QUEUE_OF[kind], pass_context=True, retry=Patience(clock))
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

    @app.periodic(cron="0 * * * *")  # also keeps the engine watching over its heartbeats, see `Lane`
    @app.task(name="sweep", queue="report", lock="sweep", queueing_lock="sweep")
    async def sweep(timestamp: int) -> None:
        await app.job_manager.delete_old_jobs(
            nb_hours=24, include_failed=True, include_cancelled=True, include_aborted=True
        )

    return app


class JobFailed(Exception):
    """A handler raised what it should not; its text may hold anything, so only its code goes on."""
