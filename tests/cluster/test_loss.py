"""Pods replaced, broken, killed and driven away while photographs come. What became of them: test_settlement.py."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
from tests.cluster.clinic import Clinic, Failure, failed
from tests.cluster.kubernetes import (
    OURS,
    Refused,
    is_ready,
    kill,
    kubectl,
    names,
    pods,
    ready,
    restarts,
    rolled_out,
    until,
)

EAT = """
import os, time
open("/proc/1/oom_score_adj", "w").write("1000")  # so it is the one that is chosen, while each of these is the smaller
for _ in range(16):
    if not os.fork():
        eaten = bytearray(os.urandom(1 << 20)) * 100
        time.sleep(60)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
async def at_rest(line: None) -> AsyncIterator[None]:
    """Each leaves two of each behind, ready."""
    yield
    for each in OURS:
        await until(lambda component=each: _has_two(component), 120, f"two of {each}")


async def test_a_rollout_of_api_and_worker_fails_no_request(clinic: Clinic, shown: Callable[[str], None]) -> None:
    before = {each: await names(each) for each in OURS}
    async with clinic.sending() as failures:
        for each in OURS:
            await kubectl("rollout", "restart", f"deployment/fundus-relay-{each}")
        await rolled_out()
        for each in OURS:
            assert not before[each] & await names(each)

    assert failed(failures) == []
    shown(clinic.so_far)


async def test_a_bad_image_takes_no_pod_away_and_is_undone(clinic: Clinic, shown: Callable[[str], None]) -> None:
    before = {each: await names(each) for each in OURS}

    async def is_waiting() -> bool:
        waits = [
            state["state"].get("waiting", {}).get("reason", "")
            for component in OURS
            for pod in await pods(component)
            for state in pod["status"].get("containerStatuses", [])
        ]
        return sum("Image" in each for each in waits) == len(OURS)

    async with clinic.sending() as failures:
        for each in OURS:
            await kubectl("set", "image", f"deployment/fundus-relay-{each}", f"{each}=localhost/fundus-relay:nowhere")
        await until(is_waiting, 60, "both have a pod without an image")
        for each in OURS:
            assert before[each] == {pod["metadata"]["name"] for pod in await pods(each) if is_ready(pod)}
            await kubectl("rollout", "undo", f"deployment/fundus-relay-{each}")
        await rolled_out()

    assert {each: await names(each) for each in OURS} == before
    assert failed(failures) == []
    shown(clinic.so_far)


async def test_a_killed_worker_fails_no_request(clinic: Clinic, shown: Callable[[str], None]) -> None:
    async with clinic.sending() as failures:
        await _kill_both("worker")

    assert failed(failures) == []
    shown(f"by SIGKILL and by force; {clinic.so_far}")


async def test_a_worker_without_memory_fails_no_request(clinic: Clinic, shown: Callable[[str], None]) -> None:
    before = await restarts("worker")
    async with clinic.sending() as failures:
        name = (await pods("worker"))[0]["metadata"]["name"]
        with pytest.raises(Refused):  # it dies with its container
            await kubectl("exec", name, "--", "python3", "-c", EAT)
        await until(lambda: _more("worker", before), 90, "its container is started again")
        (pod,) = [each for each in await pods("worker") if each["metadata"]["name"] == name]
        ended = pod["status"]["containerStatuses"][0]["lastState"]["terminated"]
        assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)
        await rolled_out("worker")

    assert failed(failures) == []
    shown(f"OOMKilled at its limit; {clinic.so_far}")


async def test_a_killed_api_breaks_connections_and_nothing_else(clinic: Clinic, shown: Callable[[str], None]) -> None:
    async with clinic.sending(per_second=4) as failures:
        await _kill_both("api")

    assert _answered(failures) == []
    shown(f"{len(failures)} requests without an answer, sent again; {clinic.so_far}")


async def test_a_drain_leaves_one_of_each_and_waits(clinic: Clinic, shown: Callable[[str], None]) -> None:
    before = {each: await names(each) for each in OURS}
    async with clinic.sending() as failures:
        try:
            with pytest.raises(Refused, match="would violate the pod's disruption budget"):
                await kubectl(
                    *("drain", "node1", "--pod-selector", "fundus-relay.dev/has-probes=true"),
                    *("--delete-emptydir-data", "--timeout", "20s"),
                )
            for each in OURS:
                assert await ready(each) == 1
        finally:
            await kubectl("uncordon", "node1")
        await rolled_out()
        for each in OURS:
            assert len(before[each] & await names(each)) == 1

    assert failed(failures) == []
    shown(f"the second of each is refused to it; {clinic.so_far}")


async def _kill_both(component: str) -> None:
    """One pod's container by SIGKILL; when that is back, the other pod by force."""
    before = await restarts(component)
    first, second = await pods(component)
    await kill(first)
    await until(lambda: _more(component, before), 90, "its container is started again")
    await rolled_out(component)
    await kubectl("delete", "pod", second["metadata"]["name"], "--grace-period=0", "--force")
    await rolled_out(component)


def _answered(failures: list[Failure]) -> list[Failure]:
    return [each for each in failures if each.status is not None]


async def _more(component: str, before: int) -> bool:
    return await restarts(component) > before


async def _has_two(component: str) -> bool:
    return await ready(component) == 2
