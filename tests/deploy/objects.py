"""Manifests as objects: what a tool renders of deploy/, and questions about it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
HERE = Path(__file__).parent
SUFFIX = re.compile(r"(?<=^fundus-relay-settings)-[a-z0-9]{10}$|(?<=^fundus-relay-secrets)-[a-z0-9]{10}$")

Object = dict[str, Any]  # any: what Kubernetes has


def tool(name: str) -> str:
    """Path of a tool that tests/deploy/tools.sh built. Skips the test when it is not there."""
    lines = [line.split() for line in (HERE / "tools.txt").read_text().splitlines() if not line.startswith("#")]
    version = next(source for each, source in lines if each == name).rpartition("@")[2]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fundus-relay" / "tools"
    path = Path(os.environ.get("FUNDUS_RELAY_TOOLS") or cache) / f"{name}-{version}" / name
    if not path.exists():
        pytest.skip(f"NOT RUN: {name} {version} is not built; `make test-deploy` does, with Go")
    return str(path)


def called(*command: str | Path, refused: bool = False, **how: Any) -> str:  # any: subprocess's keywords
    """What a command prints; the test fails with it when the command fails, or, where it has to fail, does not."""
    done = subprocess.run([str(each) for each in command], capture_output=True, text=True, check=False, **how)
    assert (done.returncode != 0) is refused, done.stdout + done.stderr
    return done.stdout + (done.stderr if refused else "")


def loaded(text: str) -> list[Object]:
    return [each for each in yaml.safe_load_all(text) if each]


@dataclass(frozen=True)
class Tree:
    """A copy of deploy/ that has the secrets' examples as secrets."""

    path: Path

    def kustomized(self, overlay: str) -> list[Object]:
        return loaded(called(tool("kustomize"), "build", self.path / "overlays" / overlay))

    def helmed(self, values: Path) -> list[Object]:
        chart = self.path / "chart"
        return loaded(
            called(
                tool("helm"),
                "template",
                "fundus-relay",
                chart,
                "-n",
                "fundus-relay",
                "--kube-version",
                "1.37",
                "-f",
                values,
            )
        )


def copied(into: Path) -> Tree:
    shutil.copytree(DEPLOY, into / "deploy", symlinks=True)
    production = into / "deploy" / "overlays" / "production"
    for example in production.glob("*.example"):
        shutil.copy(example, production / example.stem)
    return Tree(into / "deploy")


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    return [each for each in objects if each["kind"] in kinds]


def pods(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Name and pod template's spec of whatever makes pods."""
    for each in of_kind(objects, "Deployment", "Job", "StatefulSet", "DaemonSet", "CronJob"):
        yield each["metadata"]["name"], each["spec"]["template"]["spec"]


def containers(objects: list[Object]) -> Iterator[tuple[str, Object, Object]]:
    """The same with each of its containers."""
    for name, pod in pods(objects):
        for container in (*pod.get("initContainers", []), *pod["containers"]):
            yield name, pod, container


def services_of(policy: Object, direction: str) -> Iterator[Object]:
    """Every peer that a policy names; an empty one where it names none, which means everybody."""
    for rule in policy["spec"].get(direction, []):
        yield from rule.get("from" if direction == "ingress" else "to") or [{}]


def without_suffixes(node: Any) -> Any:  # any JSON
    """With the names of ConfigMaps and Secrets as they were before their content's hash was put behind them."""
    if isinstance(node, dict):
        return {key: without_suffixes(value) for key, value in node.items()}
    if isinstance(node, list):
        return [without_suffixes(each) for each in node]
    return SUFFIX.sub("", node) if isinstance(node, str) else node
