"""What the tools render of deploy/, read as objects, and judged by other people's programs."""

from __future__ import annotations

import re
import shutil
from copy import deepcopy
from pathlib import Path

import pytest
import yaml
from tests.deploy.objects import (
    DEPLOY,
    HERE,
    Object,
    Tree,
    called,
    containers,
    copied,
    of_kind,
    pods,
    services_of,
    tool,
    without_suffixes,
)

VALUES = HERE / "values-production.yaml"
SCHEMAS = HERE / "schemas"
OVERLAYS = ("local", "production")
FIRST_PARTY = {"app.kubernetes.io/name": "fundus-relay"}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return copied(tmp_path_factory.mktemp("deploy"))


@pytest.fixture(scope="module")
def rendered(tree: Tree) -> dict[str, list[Object]]:
    return {overlay: tree.kustomized(overlay) for overlay in OVERLAYS}


@pytest.fixture(params=OVERLAYS)
def objects(request: pytest.FixtureRequest, rendered: dict[str, list[Object]]) -> list[Object]:
    return rendered[request.param]


# ------------------------------------------------------------------------------------------------------------ objects


def test_pod_security_restricted_is_kept_and_asked_for(objects: list[Object]) -> None:
    (namespace,) = of_kind(objects, "Namespace")

    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert len(list(containers(objects))) >= 3
    for name, pod, container in containers(objects):
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] > 10000, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        assert container["securityContext"]["allowPrivilegeEscalation"] is False, name
        assert container["securityContext"]["readOnlyRootFilesystem"] is True, name
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
        assert container["resources"]["requests"].keys() >= {"cpu", "memory"}, name
        assert "memory" in container["resources"]["limits"], name


def test_in_production_every_image_is_named_by_its_digest(rendered: dict[str, list[Object]]) -> None:
    images = [container["image"] for _, _, container in containers(rendered["production"])]

    assert len(images) == 3
    for image in images:
        assert re.fullmatch(r"[\w./-]+@sha256:[0-9a-f]{64}", image)


def test_everything_lies_in_the_namespace(objects: list[Object]) -> None:
    for each in objects:
        if each["kind"] != "Namespace":
            assert each["metadata"]["namespace"] == "fundus-relay", each["metadata"]["name"]


def test_what_pods_refer_to_is_there(objects: list[Object]) -> None:
    there = {(each["kind"], each["metadata"]["name"]) for each in objects}
    asked = set()
    for _, pod in pods(objects):
        asked |= {("Secret", volume["secret"]["secretName"]) for volume in pod["volumes"] if "secret" in volume}
        asked |= {
            ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"])
            for volume in pod["volumes"]
            if "persistentVolumeClaim" in volume
        }
    for _, _, container in containers(objects):
        for source in container.get("envFrom", []):
            asked |= {("Secret", source["secretRef"]["name"])} if "secretRef" in source else set()
            asked |= {("ConfigMap", source["configMapRef"]["name"])} if "configMapRef" in source else set()
    (settings,) = [name for kind, name in asked if kind == "ConfigMap"]

    assert len(asked) >= 3
    assert asked <= there
    assert re.fullmatch(r"fundus-relay-settings-[a-z0-9]{10}", settings)  # a changed setting is a changed pod


def test_secrets_are_secrets_and_settings_are_none(objects: list[Object]) -> None:
    for each in of_kind(objects, "ConfigMap"):
        assert not re.search(r"PASSWORD|TOKEN=|SECRET|DATABASE__URL", " ".join(each["data"])), each["metadata"]["name"]
    secrets = {each["metadata"]["name"]: each for each in of_kind(objects, "Secret")}
    assert "tokens" in secrets["fundus-relay-access"]["data"]


# ------------------------------------------------------------------------------------------------------------ network


def test_nothing_is_reached_and_reaches_but_what_is_named(objects: list[Object]) -> None:
    policies = of_kind(objects, "NetworkPolicy")
    (closed,) = [each for each in policies if each["metadata"]["name"] == "fundus-relay-deny-all"]

    assert closed["spec"] == {"podSelector": {"matchLabels": FIRST_PARTY}, "policyTypes": ["Ingress", "Egress"]}
    for policy in policies:
        for direction in ("ingress", "egress"):
            for rule in policy["spec"].get(direction, []):
                assert rule["ports"], policy["metadata"]["name"]
            for peer in services_of(policy, direction):
                _names_a_party(peer, policy["metadata"]["name"])


def _names_a_party(peer: Object, policy: str) -> None:
    assert peer, policy
    if "ipBlock" in peer:
        assert int(peer["ipBlock"]["cidr"].rpartition("/")[2]) >= 16, policy
        return
    assert peer["podSelector"]["matchLabels"], policy
    if "namespaceSelector" in peer:
        assert peer["namespaceSelector"]["matchLabels"].keys() == {"kubernetes.io/metadata.name"}, policy


def test_only_the_worker_speaks_to_netra_and_to_the_ehr(objects: list[Object]) -> None:
    for name in ("analyser", "record", "archives"):
        (policy,) = [each for each in objects if each["metadata"]["name"] == f"fundus-relay-allow-{name}"]
        assert policy["spec"]["podSelector"]["matchLabels"] == FIRST_PARTY | {"app.kubernetes.io/component": "worker"}


def test_every_pod_is_under_a_policy_that_denies(objects: list[Object]) -> None:
    denied = [
        each["spec"]["podSelector"]
        for each in of_kind(objects, "NetworkPolicy")
        if not each["spec"].get("ingress") and not each["spec"].get("egress")
    ]
    for each in of_kind(objects, "Deployment", "Job"):
        labels = each["spec"]["template"]["metadata"]["labels"]
        assert any(_selects(selector, labels) for selector in denied), each["metadata"]["name"]


def _selects(selector: Object, labels: Object) -> bool:
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()) and all(
        labels.get(each["key"]) in each["values"] for each in selector.get("matchExpressions", [])
    )


def test_the_port_of_probes_is_for_the_monitoring_alone(rendered: dict[str, list[Object]]) -> None:
    production = rendered["production"]
    (public,) = [each for each in of_kind(production, "Service") if each["metadata"]["name"] == "fundus-relay"]
    (ingress,) = of_kind(production, "Ingress")
    opened = {
        each["metadata"]["name"]
        for each in of_kind(production, "NetworkPolicy")
        for rule in each["spec"].get("ingress", [])
        if {"port": "probes", "protocol": "TCP"} in rule["ports"]
    }

    assert [port["name"] for port in public["spec"]["ports"]] == ["http"]
    assert {path["path"] for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]} == {"/fhir", "/guide"}
    assert opened == {"fundus-relay-allow-monitoring"}


# ------------------------------------------------------------------------------------------------------------ replicas


def test_who_scales_counts_the_replicas(rendered: dict[str, list[Object]]) -> None:
    scaled = {
        each["spec"]["scaleTargetRef"]["name"]: each
        for each in of_kind(rendered["production"], "HorizontalPodAutoscaler")
    }
    by_name = {each["metadata"]["name"]: each for each in of_kind(rendered["production"], "Deployment")}

    assert scaled.keys() == by_name.keys() == {"fundus-relay-api", "fundus-relay-worker"}
    for name, each in by_name.items():
        assert "replicas" not in each["spec"]
        assert scaled[name]["spec"]["minReplicas"] >= 2
    kinds = [metric["type"] for metric in scaled["fundus-relay-worker"]["spec"]["metrics"]]
    assert kinds == ["External", "Resource"]


def test_a_drain_takes_one_pod_at_a_time(objects: list[Object]) -> None:
    budgets = {each["metadata"]["name"]: each["spec"] for each in of_kind(objects, "PodDisruptionBudget")}
    by_name = {each["metadata"]["name"]: each["spec"] for each in of_kind(objects, "Deployment")}

    assert budgets.keys() == {"fundus-relay-api", "fundus-relay-worker"}
    for name, budget in budgets.items():
        assert budget["maxUnavailable"] == 1
        assert budget["selector"] == by_name[name]["selector"]


# --------------------------------------------------------------------------------------------------------------- chart


def test_the_chart_has_the_same_objects_as_the_overlay(tree: Tree, rendered: dict[str, list[Object]]) -> None:
    _are_the_same(tree.helmed(VALUES), rendered["production"])


def _are_the_same(charted: list[Object], rendered: list[Object]) -> None:
    made_elsewhere = ("Namespace", "Secret")  # by `helm --create-namespace`, and by whoever keeps secrets

    chart = {_key(each): each for each in map(_plain, charted)}
    overlay = {_key(each): each for each in map(_plain, rendered) if each["kind"] not in made_elsewhere}

    assert chart.keys() == overlay.keys()
    for key, each in overlay.items():
        assert chart[key] == each, key


def test_the_chart_has_the_same_volume_as_the_component(tree: Tree, tmp_path: Path) -> None:
    values = yaml.safe_load(VALUES.read_text()) | {"volume": {"enabled": True}}
    del values["settings"]["FUNDUS_RELAY_BLOBS__URL"]
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    overlay = tree.path / "overlays" / "with-volume"
    shutil.copytree(tree.path / "overlays" / "production", overlay)
    kustomization = yaml.safe_load((overlay / "kustomization.yaml").read_text())
    kustomization["components"].append("../../components/blobs-volume")
    kustomization["patches"] = [each for each in kustomization["patches"] if each["path"] != "parties/blobs.yaml"]
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    settings = (overlay / "settings.env").read_text().splitlines(keepends=True)
    (overlay / "settings.env").write_text("".join(line for line in settings if "BLOBS__URL" not in line))

    chart, rendered = tree.helmed(tmp_path / "values.yaml"), tree.kustomized("with-volume")

    assert len(of_kind(chart, "PersistentVolumeClaim")) == 1
    assert not [each for each in chart if each["metadata"]["name"] == "fundus-relay-allow-blobs"]
    _are_the_same(chart, rendered)


def test_the_chart_has_the_same_route_as_the_component(tree: Tree, tmp_path: Path) -> None:
    values = yaml.safe_load(VALUES.read_text()) | {"gateway": {"enabled": True}, "ingress": {"enabled": False}}
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    route = yaml.safe_load((DEPLOY / "components/gateway/route.yaml").read_text())

    (made,) = of_kind(tree.helmed(tmp_path / "values.yaml"), "HTTPRoute")

    assert made.pop("apiVersion") == route.pop("apiVersion")
    assert made["metadata"].pop("namespace") == "fundus-relay"
    assert made == route
    assert not of_kind(tree.helmed(tmp_path / "values.yaml"), "Ingress")


def test_the_chart_wants_to_know_its_image(tree: Tree) -> None:
    said = called(tool("helm"), "template", "fundus-relay", tree.path / "chart", "--kube-version", "1.37", refused=True)

    assert "image.repository is required" in said


def _key(each: Object) -> tuple[str, str]:
    return each["kind"], each["metadata"]["name"]


def _plain(each: Object) -> Object:
    """Without what tells who rendered it."""
    plain: Object = without_suffixes(deepcopy(each))
    metadata = plain["metadata"]
    annotations = {
        key: value for key, value in metadata.pop("annotations", {}).items() if not key.startswith("helm.sh/")
    }
    labels = metadata.get("labels", {})
    if plain["kind"] == "ConfigMap":
        labels.pop("app.kubernetes.io/name", None)  # kustomize gives generated ones no labels
    if not labels:
        metadata.pop("labels", None)
    return plain | {"annotations": annotations}


# -------------------------------------------------------------------------------------------------------------- judges


@pytest.mark.parametrize("how", [*OVERLAYS, "chart"])
def test_kubernetes_own_schemas_know_every_field(how: str, tree: Tree, tmp_path: Path) -> None:
    objects = tree.helmed(VALUES) if how == "chart" else tree.kustomized(how)

    said = _kubeconform(objects, tmp_path)

    assert f"Valid: {len(objects)}, Invalid: 0, Errors: 0, Skipped: 0" in said


def test_a_misspelt_field_is_refused(rendered: dict[str, list[Object]], tmp_path: Path) -> None:
    objects = deepcopy(rendered["production"])
    context = next(containers(objects))[2]["securityContext"]
    context["readOnlyRootFileSystem"] = context.pop("readOnlyRootFilesystem")

    said = _kubeconform(objects, tmp_path, refused=True)

    assert "readOnlyRootFileSystem" in said


def _kubeconform(objects: list[Object], folder: Path, *, refused: bool = False) -> str:
    (folder / "objects.yaml").write_text(yaml.safe_dump_all(objects))
    schemas = f"{SCHEMAS}/{{{{ .ResourceKind }}}}{{{{ .KindSuffix }}}}.json"
    return called(
        tool("kubeconform"),
        "-strict",
        "-summary",
        "-schema-location",
        schemas,
        folder / "objects.yaml",
        refused=refused,
    )


def test_kube_score_finds_nothing_that_we_do_not_mean(rendered: dict[str, list[Object]], tmp_path: Path) -> None:
    (tmp_path / "objects.yaml").write_text(yaml.safe_dump_all(rendered["production"]))

    said = called(
        tool("kube-score"), "score", "--output-format", "ci", "--exit-one-on-warning", "--ignore-container-cpu-limit",
        "--ignore-test", "container-image-pull-policy", tmp_path / "objects.yaml",
    )  # fmt: skip

    assert said.count("[OK]") > 20


# -------------------------------------------------------------------------------------------------------------- alerts


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """The alerts as Prometheus reads them from a file."""
    groups = yaml.safe_load((DEPLOY / "observability/alerts.yaml").read_text())["spec"]
    (tmp_path / "alerts.yaml").write_text(yaml.safe_dump(groups))
    return tmp_path / "alerts.yaml"


def test_prometheus_reads_the_alerts(rules: Path) -> None:
    assert "SUCCESS" in called(tool("promtool"), "check", "rules", "--lint=all", "--lint-fatal", rules)


def test_alerts_come_when_they_should_and_at_no_other_time(rules: Path) -> None:
    cases = (HERE / "alerts_cases.yaml").read_text()
    (rules.parent / "cases.yaml").write_text(cases)

    assert "SUCCESS" in called(tool("promtool"), "test", "rules", "cases.yaml", cwd=rules.parent)
