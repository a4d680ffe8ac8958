"""The cluster in which these tests run, by kubectl, and what else only its node can do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from tests.bench.processes import free_port
from tests.deploy.objects import Object

NAMESPACE = "fundus-relay"
OURS = ("api", "worker")


class Refused(Exception):
    """A command that failed, with what it said."""


async def command(*words: str | Path, given: str = "") -> str:
    """What a command prints. Raises Refused."""
    process = await asyncio.create_subprocess_exec(
        *map(str, words), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate(given.encode())
    if process.returncode:
        raise Refused((out + err).decode())
    return out.decode()


async def kubectl(*words: str | Path, given: str = "", namespace: str = NAMESPACE) -> str:
    return await command("kubectl", "--namespace", namespace, *words, given=given)


async def apply(objects: str, *words: str, namespace: str = NAMESPACE) -> str:
    """Server-side, as whoever applies an overlay of deploy/ does."""
    return await kubectl("apply", "--server-side", *words, "--filename", "-", given=objects, namespace=namespace)


async def rendered(folder: Path) -> str:
    return await command("kubectl", "kustomize", folder)


async def found(*words: str, namespace: str = NAMESPACE) -> list[Object]:
    """What `kubectl get` finds."""
    return list(json.loads(await kubectl("get", *words, "--output", "json", namespace=namespace))["items"])


async def pods(component: str) -> list[Object]:
    """Those of one of our Deployments that are not ending, the oldest first."""
    every = await found("pods", "--selector", f"app.kubernetes.io/component={component}")
    living = [each for each in every if "deletionTimestamp" not in each["metadata"]]
    return sorted(living, key=lambda each: str(each["metadata"]["creationTimestamp"]))


async def names(component: str) -> set[str]:
    return {each["metadata"]["name"] for each in await pods(component)}


def is_ready(pod: Object) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions", []))


async def ready(component: str) -> int:
    return sum(map(is_ready, await pods(component)))


async def restarts(component: str) -> int:
    return sum(each["restartCount"] for pod in await pods(component) for each in pod["status"]["containerStatuses"])


async def rolled_out(*components: str) -> None:
    for each in components or OURS:
        await kubectl("rollout", "status", f"deployment/fundus-relay-{each}", "--timeout=180s")


async def until(condition: Callable[[], Awaitable[object]], within_s: float, what: str) -> float:
    """Seconds until it is so."""
    began = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(within_s):
            while not await condition():  # noqa: ASYNC110 - another process tells nobody
                await asyncio.sleep(0.25)
    except TimeoutError:
        raise AssertionError(f"not within {within_s:.0f} s: {what}") from None
    return asyncio.get_running_loop().time() - began


async def address(service: str) -> str:
    """Base URL of a Service."""
    told = json.loads(await kubectl("get", "service", service, "--output", "json"))["spec"]
    return f"http://{told['clusterIP']}:{told['ports'][0]['port']}"


async def kill(pod: Object) -> None:
    """SIGKILL to its first process, as from the node."""
    container = pod["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
    await command("ctr", "--namespace", "k8s.io", "tasks", "kill", "--signal", "SIGKILL", container)


@asynccontextmanager
async def forwarded(target: str, port: int) -> AsyncIterator[str]:
    """Base URL of a pod's port, reached from its own loopback."""
    here = free_port()
    process = await asyncio.create_subprocess_exec(
        *("kubectl", "--namespace", NAMESPACE, "port-forward", target, f"{here}:{port}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert process.stdout
        assert b"Forwarding" in await asyncio.wait_for(process.stdout.readline(), 20)
        yield f"http://127.0.0.1:{here}"
    finally:
        process.terminate()
        await process.wait()


async def at_the_standin(what: str, **said: Any) -> dict[str, Any]:  # any: JSON
    """What it answers under /admin to what it is told; without that, to who looks."""
    async with forwarded("deployment/standin", 8090) as url, httpx.AsyncClient(trust_env=False) as client:
        address = f"{url}/admin/{what}"
        answer = await (client.post(address, json=said) if said else client.get(address))
    return dict(answer.raise_for_status().json())


def secret(name: str, **content: str) -> dict[str, Any]:  # any: an object of Kubernetes
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": content}
