"""What a real API server says to deploy/: to each overlay and component, and to what is broken."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from tests.cluster.kubernetes import Refused, apply, command, found, kubectl, rendered
from tests.deploy.objects import DEPLOY, Object, copied, loaded
from tests.deploy.schemas import CUSTOM

OF_ALL_COMPONENTS = """
namespace: production
resources: [../overlays/production]
components: [../components/gateway]
"""


@pytest.fixture(scope="module")
async def production(cluster: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """overlays/production with the one component that it has no room for, under a name of its own."""
    tree = copied(tmp_path_factory.mktemp("tree"))
    (tree.path / "all").mkdir()
    (tree.path / "all" / "kustomization.yaml").write_text(OF_ALL_COMPONENTS)
    for module, paths in CUSTOM.items():
        done = await command("go", "mod", "download", "-json", module)
        for path in paths:
            await apply((Path(json.loads(done)["Dir"]) / path).read_text())
    await kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    return await rendered(tree.path / "all")


async def test_every_object_of_production_is_applied(production: str, shown: Callable[[str], None]) -> None:
    objects = loaded(production)
    try:
        said = await apply(production, namespace="production")
        kinds = sorted(
            {f"{each['kind']}.{each['apiVersion'].partition('/')[0]}" for each in objects if "/" in each["apiVersion"]}
        )
        there = await found(",".join(kinds), namespace="production")
    finally:
        await kubectl("delete", "namespace", "production", "--ignore-not-found")

    assert len(said.splitlines()) == len(objects)
    wanted = {(each["kind"], each["metadata"]["name"]) for each in objects if "/" in each["apiVersion"]}
    assert wanted <= {(each["kind"], each["metadata"]["name"]) for each in there}
    shown(f"{len(objects)} objects of {len({each['kind'] for each in objects})} kinds, gateway too")


async def test_a_word_that_no_kind_knows_is_refused(production: str) -> None:
    misspelt = production.replace("readOnlyRootFilesystem", "readOnlyRootFileSystem", 1)
    with pytest.raises(Refused, match="readOnlyRootFileSystem: field not declared in schema"):
        await apply(misspelt, "--dry-run=server", namespace="production")


def _a_pod(namespace: str) -> Object:
    template = yaml.safe_load((DEPLOY / "base" / "worker-deployment.yaml").read_text())["spec"]["template"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "one", "namespace": namespace},
        "spec": template["spec"],
    }


def _broken(pod: Object, how: Callable[[Object, Object], object]) -> str:
    pod = copy.deepcopy(pod)
    how(pod["spec"], pod["spec"]["containers"][0])
    return json.dumps(pod)


BREAKAGES: dict[str, Callable[[Object, Object], object]] = {
    "root": lambda pod, container: (
        pod["securityContext"].update(runAsNonRoot=False, runAsUser=0),
        container["securityContext"].update(runAsUser=0),
    ),
    "privileged": lambda pod, container: container["securityContext"].update(
        privileged=True, allowPrivilegeEscalation=True
    ),
    "more privileges": lambda pod, container: container["securityContext"].pop("allowPrivilegeEscalation"),
    "capabilities": lambda pod, container: container["securityContext"].pop("capabilities"),
    "no seccomp": lambda pod, container: pod["securityContext"].pop("seccompProfile"),
    "the host's network": lambda pod, container: pod.update(hostNetwork=True),
    "the host's files": lambda pod, container: pod["volumes"].append({"name": "host", "hostPath": {"path": "/"}}),
}


@pytest.fixture(scope="module")
async def guarded(cluster: Path) -> str:
    """A namespace that is labelled as those of our overlays are, with our identity in it."""
    namespace = yaml.safe_load((DEPLOY / "overlays" / "local" / "namespace.yaml").read_text())
    namespace["metadata"]["name"] = "guarded"
    await apply(json.dumps(namespace))
    await apply((DEPLOY / "base" / "service-account.yaml").read_text(), namespace="guarded")
    return "guarded"


async def test_pod_security_takes_a_pod_as_it_is(guarded: str) -> None:
    await apply(json.dumps(_a_pod(guarded)), "--dry-run=server", namespace=guarded)


@pytest.mark.parametrize("what", BREAKAGES)
async def test_pod_security_refuses_a_pod_with(guarded: str, what: str) -> None:
    with pytest.raises(Refused, match='violates PodSecurity "restricted:latest"'):
        await apply(_broken(_a_pod(guarded), BREAKAGES[what]), "--dry-run=server", namespace=guarded)
