"""How long a job waits that ended badly."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from procrastinate.jobs import Job as QueuedJob

from fundus_relay.adapters.clock import SystemClock
from fundus_relay.worker.engine import LONGEST_BACKOFF, Patience


def a_wait(exception: BaseException, attempts: int) -> timedelta:
    job = QueuedJob(queue="q", lock=None, queueing_lock=None, task_name="image", attempts=attempts)
    decision = Patience(SystemClock()).get_retry_decision(exception=exception, job=job)
    assert decision.retry_at is not None
    return decision.retry_at - datetime.now(UTC)


def test_a_bug_waits_longer_each_time_and_never_for_ever() -> None:
    waits = [a_wait(ValueError(), attempts) for attempts in range(200)]

    assert timedelta(seconds=1) < waits[0] <= timedelta(seconds=2)
    assert all(later >= earlier - timedelta(seconds=1) for earlier, later in pairwise(waits))
    assert max(waits) <= LONGEST_BACKOFF


def test_a_job_that_was_cancelled_at_shutdown_is_for_another_worker_at_once_whatever_our_clock_says() -> None:
    assert a_wait(asyncio.CancelledError(), 9) < -timedelta(days=365)
