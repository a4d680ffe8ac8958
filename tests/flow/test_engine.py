"""The durable engine: real workers, killed, stopped, and left without their database."""

from __future__ import annotations

import asyncio
import logging
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from fundus_relay.adapters.clock import SystemClock
from fundus_relay.adapters.database.embedded import _Server
from fundus_relay.adapters.database.ledger import PostgresLedger
from fundus_relay.adapters.database.migrate import migrate
from fundus_relay.adapters.database.pool import Pool, connected, open_pool
from fundus_relay.pipeline.ports import Job
from fundus_relay.worker.engine import Engine
from fundus_relay.worker.lane import Pace
from fundus_relay.worker.runner import Handler, run_worker
from fundus_relay.worker.schema import engine_schema

LONE_WORKER = Path(__file__).with_name("lone_worker.py")
QUICK = Pace(rescue=0.2, heartbeat=0.2, grace=0.5, dead_after=1.5)


class Script:
    """A handler that tells what it was given and does what the test says.

    Attributes:
        begun: ids in the order of their beginning.
        may_end: unset, a handler waits.
    """

    def __init__(self, *, waits: bool = False) -> None:
        self.begun: asyncio.Queue[str] = asyncio.Queue()
        self.ended: asyncio.Queue[str] = asyncio.Queue()
        self.may_end = asyncio.Event()
        self.failures: list[Exception] = []
        if not waits:
            self.may_end.set()

    async def __call__(self, id: str) -> None:
        self.begun.put_nowait(id)
        if self.failures:
            raise self.failures.pop()
        await self.may_end.wait()
        self.ended.put_nowait(id)


async def do_nothing() -> None: ...


@asynccontextmanager
async def working(
    pool: Pool,
    ledger: PostgresLedger,
    handler: Handler,
    *,
    poll: Callable[[], Awaitable[object]] = do_nothing,
    pace: Pace = QUICK,
) -> AsyncIterator[asyncio.Event]:
    """A worker in this process; stopped at the end, or when the event that is given is set."""
    stop = asyncio.Event()
    worker = asyncio.create_task(
        run_worker(
            pool,
            ledger,
            clock=SystemClock(),
            handlers=dict.fromkeys(Job, handler),
            poll=poll,
            collect=do_nothing,
            purge=do_nothing,
            stop=stop,
            pace=pace,
        )
    )
    try:
        yield stop
    finally:
        stop.set()
        await worker


async def enqueue(ledger: PostgresLedger, id: str, job: Job = Job.IMAGE) -> None:
    async with ledger.transaction() as tx:
        await tx.enqueue(job, id)


async def a_line(process: asyncio.subprocess.Process, *beginnings: str, within: float) -> str:
    """The next line of the process that begins with one of these words."""
    assert process.stdout is not None
    async with asyncio.timeout(within):
        async for line in process.stdout:
            if line.decode().startswith(beginnings):
                return line.decode().strip()
    raise AssertionError("the process ended before it said so")


@asynccontextmanager
async def a_process(url: str, manner: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(LONE_WORKER), url, manner, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def statuses(pool: Pool) -> list[str]:
    """Of our jobs; the engine's hourly sweep is there, too, in the first minutes of an hour."""
    async with connected(pool) as connection:
        found = await connection.execute(
            "select status::text from engine.procrastinate_jobs where task_name <> 'sweep' order by id"
        )
        return [row[0] for row in await found.fetchall()]


@pytest.mark.slow
async def test_the_jobs_of_a_killed_worker_are_taken_over_within_30_seconds(
    database_url: str, ledger: PostgresLedger
) -> None:
    id = str(uuid4())
    async with a_process(database_url, "hang") as victim:
        await enqueue(ledger, id)
        assert await a_line(victim, "begin", within=10) == f"begin {id}"
        async with a_process(database_url, "finish") as heir:
            victim.kill()
            assert await a_line(heir, "end", within=30) == f"end {id}"


async def test_another_process_polls_at_once_when_the_one_that_polled_is_killed(database_url: str) -> None:
    async with a_process(database_url, "finish") as victim:
        await a_line(victim, "poll", within=10)
        async with a_process(database_url, "finish") as heir:
            victim.kill()
            await a_line(heir, "poll", within=10)


async def test_a_worker_that_is_told_to_stop_finishes_and_leaves(database_url: str, ledger: PostgresLedger) -> None:
    async with a_process(database_url, "finish") as process:
        await a_line(process, "poll", within=10)
        process.terminate()
        await a_line(process, "stopped", within=15)
        assert await process.wait() == 0


async def test_of_two_workers_one_polls(pool: Pool, ledger: PostgresLedger) -> None:
    polling = 0
    rounds: asyncio.Queue[int] = asyncio.Queue()

    async def poll() -> None:
        nonlocal polling
        polling += 1
        rounds.put_nowait(polling)
        await ledger.census()
        polling -= 1

    pace = Pace(poll=0.05)
    async with (
        working(pool, ledger, Script(), poll=poll, pace=pace),
        working(pool, ledger, Script(), poll=poll, pace=pace),
    ):
        async with asyncio.timeout(20):
            at_once = [await rounds.get() for _ in range(20)]

    assert set(at_once) == {1}


async def test_a_job_starts_within_50_milliseconds(pool: Pool, ledger: PostgresLedger) -> None:
    script = Script()
    delays = []
    async with working(pool, ledger, script, pace=Pace()), asyncio.timeout(60):
        await enqueue(ledger, "warm")
        await script.begun.get()
        for number in range(30):
            began = time.perf_counter()
            await enqueue(ledger, str(number))
            await script.begun.get()
            delays.append(time.perf_counter() - began)

    assert statistics.median(delays) < 0.05, delays


async def test_a_job_asked_for_while_it_runs_runs_once_more_and_not_at_the_same_time(
    pool: Pool, ledger: PostgresLedger
) -> None:
    script = Script(waits=True)
    async with working(pool, ledger, script), asyncio.timeout(30):
        await enqueue(ledger, "a")
        await script.begun.get()
        for _ in range(10):
            await enqueue(ledger, "a")
        assert await statuses(pool) == ["doing", "todo"]
        assert script.begun.empty()
        script.may_end.set()
        assert [await script.ended.get(), await script.ended.get()] == ["a", "a"]

    assert script.begun.qsize() == 1


async def test_a_bug_is_told_without_its_text_and_the_job_comes_again(
    pool: Pool, ledger: PostgresLedger, caplog: pytest.LogCaptureFixture
) -> None:
    script = Script()
    script.failures = [KeyError("Erika Mustermann")]
    with caplog.at_level(logging.INFO):
        async with working(pool, ledger, script), asyncio.timeout(30):
            await enqueue(ledger, "a")
            assert await script.ended.get() == "a"

    told = [record for record in caplog.records if record.message == "job-failed"]
    assert [(record.__dict__["image"], record.__dict__["code"]) for record in told] == [("a", "KeyError")]
    others = [record for record in caplog.records if record.message != "job-failed"]
    assert not any("Mustermann" in logging.Formatter().format(record) for record in others)


async def test_a_job_that_outlasts_the_grace_is_handed_back(pool: Pool, ledger: PostgresLedger) -> None:
    script = Script(waits=True)
    async with working(pool, ledger, script) as stop, asyncio.timeout(20):
        await enqueue(ledger, "a")
        await script.begun.get()
        stop.set()

    assert await statuses(pool) == ["todo"]


async def test_a_job_that_counts_as_running_and_does_not_is_handed_back(pool: Pool, ledger: PostgresLedger) -> None:
    script = Script(waits=True)
    async with working(pool, ledger, script), asyncio.timeout(20):
        await enqueue(ledger, "a")
        await script.begun.get()
        await enqueue(ledger, "lost", Job.IMAGE)
        await script.begun.get()
        async with connected(pool) as connection:  # as if the end of an earlier run could not be recorded
            await connection.execute(
                "insert into engine.procrastinate_jobs (queue_name, task_name, lock, args, status, worker_id)"
                " select queue_name, task_name, 'image:stray', jsonb_build_object('id', 'stray'), 'doing', worker_id"
                " from engine.procrastinate_jobs where task_name = 'image' limit 1"
            )
        assert await script.begun.get() == "stray"


@contextmanager
def a_server(folder: Path) -> Iterator[str]:
    """A server that nobody watches: it stays away while a test wants it to."""
    server = _Server(folder)
    server.start()
    try:
        yield server.url
    finally:
        server.stop()


async def test_a_worker_stops_although_the_database_is_away(tmp_path: Path) -> None:
    script = Script()
    with a_server(tmp_path) as url:
        await migrate(url, engine_schema())
        async with open_pool(url) as pool:
            ledger = PostgresLedger(pool, SystemClock(), Engine().enqueue)
            async with working(pool, ledger, script), asyncio.timeout(30):
                await enqueue(ledger, "a")
                await script.ended.get()
                await asyncio.to_thread(_Server(tmp_path).stop)
        _Server(tmp_path).start()


async def test_a_worker_goes_on_by_itself_when_the_database_was_away(tmp_path: Path) -> None:
    script = Script()
    with a_server(tmp_path) as url:
        await migrate(url, engine_schema())
        async with open_pool(url) as pool:
            ledger = PostgresLedger(pool, SystemClock(), Engine().enqueue)
            async with working(pool, ledger, script), asyncio.timeout(60):
                await enqueue(ledger, "before")
                assert await script.ended.get() == "before"
                server = _Server(tmp_path)
                await asyncio.to_thread(server.stop)
                await asyncio.to_thread(server.start)
                await enqueue(ledger, "after")
                while await script.ended.get() != "after":  # the end of the first may not have been recorded
                    pass
