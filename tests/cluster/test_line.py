"""overlays/local as its pods live."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import datetime

import httpx
import pytest
from tests.cluster.clinic import Clinic
from tests.cluster.kubernetes import OURS, found, kubectl, pods, restarts, until
from tests.system.faults.callers import Photograph
from tests.unit.imaging.pictures import a_jpeg

from fundus_relay.domain.geometry import Size

pytestmark = pytest.mark.usefixtures("line")

WRITABLE = ["/tmp", "/var/lib/fundus-relay"]  # noqa: S108 - of the pod's own


async def test_the_job_has_migrated_and_everything_is_ready(shown: Callable[[str], None]) -> None:
    await kubectl("wait", "--for=condition=Complete", "job/fundus-relay-migrate", "--timeout=60s")

    (deployments) = await found("deployments")
    assert {each["metadata"]["name"]: each["status"].get("readyReplicas") for each in deployments} == {
        "fundus-relay-api": 2, "fundus-relay-worker": 2, "postgresql": 1, "standin": 1, "ehr": 1,
    }  # fmt: skip
    (claim,) = await found("persistentvolumeclaims")
    assert claim["status"]["phase"] == "Bound"
    for each in OURS:
        assert await restarts(each) == 0
        shown(f"{each} ready after {max([_ready_after_s(pod) for pod in await pods(each)]):.0f} s")


def _ready_after_s(pod: dict[str, dict[str, str | list[dict[str, str]]]]) -> float:
    began = datetime.fromisoformat(str(pod["metadata"]["creationTimestamp"]))
    (at,) = [each["lastTransitionTime"] for each in pod["status"]["conditions"] if each["type"] == "Ready"]
    return (datetime.fromisoformat(at) - began).total_seconds()


@pytest.mark.parametrize("component", OURS)
async def test_a_process_has_no_privilege_and_writes_nowhere_but_in_its_volumes(component: str) -> None:
    target = f"deployment/fundus-relay-{component}"
    status = await kubectl("exec", target, "--", "cat", "/proc/1/status")
    for line in ("Uid:\t10001\t10001\t10001\t10001", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000"):
        assert line in status
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status
    tried = (
        "for at in / /opt /etc /var /tmp /var/lib/fundus-relay; do touch $at/here 2>/dev/null && echo $at; done; true"
    )
    assert (await kubectl("exec", target, "--", "sh", "-c", tried)).split() == WRITABLE
    assert "kubernetes.io" not in await kubectl("exec", target, "--", "cat", "/proc/mounts")


async def test_nobody_is_let_in_without_a_token(clinic: Clinic) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"{clinic.relay}/fhir/Task")).status_code == 401


async def test_a_large_photograph_becomes_a_report(clinic: Clinic, shown: Callable[[str], None]) -> None:
    picture = a_jpeg(Size(3600, 3600), noise=40, quality=95)
    media = {
        "resourceType": "Media",
        "status": "completed",
        "subject": {"reference": "Patient/large"},
        "content": {"contentType": "image/jpeg", "data": base64.b64encode(picture).decode()},
    }
    async with httpx.AsyncClient(trust_env=False, timeout=60, headers={"Authorization": "Bearer demo"}) as client:
        await client.put(f"{clinic.ehr}/fhir/Patient/large", json={"resourceType": "Patient", "id": "large"})
        answer = await client.post(f"{clinic.relay}/fhir/Media", json=media)
        assert answer.status_code == 201, answer.text
        clinic.photographs.append(Photograph("large", "large", "", 0, {answer.json()["id"]}))

        async def arrived() -> bool:
            held = await client.get(f"{clinic.ehr}/fhir/DiagnosticReport", params={"subject": "Patient/large"})
            return bool(held.json().get("entry"))

        took_s = await until(arrived, 90, "a report at the EHR")
    shown(f"{len(picture) / 1e6:.1f} MB, report after {took_s:.0f} s")
