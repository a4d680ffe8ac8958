"""What plain YAML tells of deploy/: everything that needs no tool."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.deploy.objects import DEPLOY, ROOT, Object, containers, loaded, pods

from fundus_relay.__main__ import _parser
from fundus_relay.environment import variables
from fundus_relay.settings import Settings

BASE = [each for path in sorted((DEPLOY / "base").glob("*.yaml")) for each in loaded(path.read_text())]
OURS = [each for each in BASE if each["kind"] != "Kustomization"]
DEPLOYMENTS = [each for each in OURS if each["kind"] == "Deployment"]
METRIC = re.compile(r"\bfundus_relay_[a-z_]+")


def _folders() -> Iterator[Path]:
    """Every folder that kustomize reads."""
    return (path.parent for path in sorted(DEPLOY.rglob("kustomization.yaml")))


@pytest.mark.parametrize("folder", list(_folders()), ids=lambda folder: str(folder.relative_to(DEPLOY)))
def test_every_file_holds_one_object_and_is_listed(folder: Path) -> None:
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    files = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"}

    assert files == {each for each in kustomization.get("resources", []) if each.endswith(".yaml")}
    for file in files:
        assert len(loaded((folder / file).read_text())) == 1, file


def test_pods_run_as_nobody_and_can_do_nothing_but_their_work() -> None:
    assert {name for name, _, _ in containers(OURS)} == {
        "fundus-relay-api",
        "fundus-relay-worker",
        "fundus-relay-migrate",
    }
    for _, pod in pods(OURS):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert not [volume for volume in pod["volumes"] if "hostPath" in volume]
    for _, _, container in containers(OURS):
        assert container["securityContext"] == {
            "runAsUser": 10001,
            "runAsGroup": 10001,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}  # noqa: S108 - a mount of its own
        assert {"cpu", "memory", "ephemeral-storage"} == container["resources"]["requests"].keys()
        assert {"memory", "ephemeral-storage"} == container["resources"]["limits"].keys()


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda each: each["metadata"]["name"])
def test_a_database_that_is_away_makes_pods_not_ready_and_restarts_none(deployment: Object) -> None:
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    startup, live, ready = (container[f"{which}Probe"] for which in ("startup", "liveness", "readiness"))

    assert live["httpGet"] == startup["httpGet"] == {"path": "/livez", "port": "probes"}
    assert ready["httpGet"] == {"path": "/readyz", "port": "probes"}
    # an answer that is slow for a while restarts nothing, and takes from the Service at once
    assert _patience_s(live) >= 60
    assert _patience_s(ready) <= 15
    assert _patience_s(startup) >= 120  # migrations of a large database


def _patience_s(probe: Object) -> int:
    return int(probe["periodSeconds"] * probe["failureThreshold"])


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda each: each["metadata"]["name"])
def test_a_process_has_the_time_that_it_takes_to_stop(deployment: Object) -> None:
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    rest = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)

    assert pod["terminationGracePeriodSeconds"] - rest > 30  # README: give it 30 seconds before a SIGKILL
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_the_command_line_has_the_commands_that_pods_run() -> None:
    for name, _, container in containers(OURS):
        given = _parser().parse_args(container["args"])
        assert callable(given.run)
        assert getattr(given, "only", "migrate") == name.removeprefix("fundus-relay-")


def test_settings_of_files_are_settings_of_the_service() -> None:
    known = {name for name, _ in variables(Settings, "FUNDUS_RELAY_")}
    groups = {name.split("__")[0] for name in known}
    files = [*DEPLOY.rglob("settings.env"), *DEPLOY.rglob("secrets.env"), *DEPLOY.rglob("secrets.env.example")]
    given = {line.split("=")[0] for path in files for line in path.read_text().splitlines() if "=" in line}
    ours = {name for name in given if name.startswith("FUNDUS_RELAY_")}
    to_come = {"FUNDUS_RELAY_PROBES", "FUNDUS_RELAY_ACCESS"} - groups

    assert len(ours) >= 12
    assert {name for name in ours if name.split("__")[0] not in to_come} <= known


def test_ports_of_settings_are_ports_of_containers() -> None:
    settings = dict(line.split("=") for line in (DEPLOY / "base/settings.env").read_text().splitlines())
    ports = {each["name"]: each["containerPort"] for _, _, one in containers(OURS) for each in one.get("ports", [])}

    assert ports == {
        "http": int(settings["FUNDUS_RELAY_HTTP__PORT"]),
        "probes": int(settings["FUNDUS_RELAY_PROBES__PORT"]),
    }


def test_tokens_lie_where_the_settings_look_for_them() -> None:
    settings = dict(line.split("=") for line in (DEPLOY / "base/settings.env").read_text().splitlines())
    tokens = Path(settings["FUNDUS_RELAY_ACCESS__TOKENS"])

    for deployment in DEPLOYMENTS:
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        assert str(tokens.parent) in {mount["mountPath"] for mount in container["volumeMounts"]}
    for overlay in ("local", "production"):
        kustomization = yaml.safe_load((DEPLOY / "overlays" / overlay / "kustomization.yaml").read_text())
        access = next(each for each in kustomization["secretGenerator"] if each["name"] == "fundus-relay-access")
        assert access["files"] == [tokens.name]


def test_no_secret_is_in_git_but_those_of_the_demonstration() -> None:
    ignored = (ROOT / ".gitignore").read_text().splitlines()

    for name in ("secrets.env", "tokens"):
        assert f"/deploy/overlays/production/{name}" in ignored
        for line in (DEPLOY / "overlays/production" / f"{name}.example").read_text().splitlines():
            assert "..." in line or "0" * 64 in line or line.startswith("#"), line
    assert hashlib.sha256(b"demo").hexdigest() in (DEPLOY / "overlays/local/tokens").read_text()


@pytest.mark.parametrize("file", ["alerts.yaml", "dashboard.json"])
def test_metrics_that_are_watched_are_told(file: str) -> None:
    sources = [path.read_text() for path in (ROOT / "service/fundus_relay").rglob("*.py")]
    told = "\n".join(source for source in sources if "prometheus_client" in source)
    if not told:
        pytest.skip("NOT RUN: the service has no metrics yet")
    watched = {
        re.sub(r"_(total|bucket|sum|count)$", "", each)
        for each in METRIC.findall((DEPLOY / "observability" / file).read_text())
    }

    assert len(watched) >= 5
    for name in watched:
        assert f'"{name}"' in told or f'"{name.removeprefix("fundus_relay_")}"' in told, name


def test_panels_of_the_dashboard_do_not_overlap() -> None:
    panels = json.loads((DEPLOY / "observability/dashboard.json").read_text())["panels"]
    taken = [
        (column, row)
        for place in (panel["gridPos"] for panel in panels)
        for column in range(place["x"], place["x"] + place["w"])
        for row in range(place["y"], place["y"] + place["h"])
    ]

    assert len(panels) >= 8
    assert len(taken) == len(set(taken))
    assert max(column for column, _ in taken) < 24
