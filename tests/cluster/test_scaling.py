"""Workers come and go with the age of the queue, which the adapter reads where Prometheus would."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.cluster.clinic import Clinic, failed
from tests.cluster.kubernetes import NAMESPACE, apply, found, kubectl, ready, rendered, until
from tests.deploy.objects import Object

METRIC = "fundus_relay_oldest_waiting_seconds"
WAITING = 60
MOST = 4


async def _autoscaler() -> Object:
    (it,) = [
        each for each in await found("horizontalpodautoscalers") if each["metadata"]["name"] == "fundus-relay-worker"
    ]
    return it


async def test_workers_come_when_photographs_wait_and_go_when_none_does(
    clinic: Clinic, overlays: Path, shown: Callable[[str], None]
) -> None:
    failures_before = len(clinic.failures)
    await kubectl("scale", "--replicas=0", "deployment/fundus-relay-worker")
    await clinic.send(WAITING)
    await until(lambda: _has_waited(20), 60, "the first waits for 20 s")

    await apply(await rendered(overlays / "autoscaled"))
    await kubectl("scale", "--replicas=1", "deployment/fundus-relay-worker")
    out_s = await until(lambda: _are_wanted(MOST), 120, "four workers")
    in_s = await until(lambda: _are_left(2), 240, "two workers again")

    metric, cpu = (await _autoscaler())["status"]["currentMetrics"]
    assert metric["external"]["metric"]["name"] == METRIC
    assert cpu["resource"]["current"]["averageUtilization"] > 0
    assert failed(clinic.failures[failures_before:]) == []
    shown(f"1 → {MOST} within {out_s:.0f} s, {MOST} → 2 after {in_s:.0f} s more")


async def _has_waited(seconds: float) -> bool:
    """Whether the adapter says so."""
    path = f"/apis/external.metrics.k8s.io/v1beta1/namespaces/{NAMESPACE}/{METRIC}"
    (told,) = json.loads(await kubectl("get", "--raw", f"{path}?labelSelector=subject%3Dimage,state%3Dreceived"))[
        "items"
    ]
    return int(told["value"].removesuffix("m")) > seconds * 1000


async def _are_wanted(count: int) -> bool:
    (deployment,) = [each for each in await found("deployments") if each["metadata"]["name"] == "fundus-relay-worker"]
    return bool(deployment["spec"]["replicas"] == count)


async def _are_left(count: int) -> bool:
    return await _are_wanted(count) and await ready("worker") == count
