"""The schemas of the kinds that deploy/ has, for kubeconform: from Kubernetes' own OpenAPI, and from CRDs.

`python tests/deploy/schemas.py` writes them anew into tests/deploy/schemas; it asks Go's module proxy for the modules.
Each schema is whole, since kubeconform follows no reference into a second file, and refuses what it does not know.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

KUBERNETES = "k8s.io/kubernetes@v1.37.2"
CUSTOM = {
    "sigs.k8s.io/gateway-api@v1.6.3": ["config/crd/standard/gateway.networking.k8s.io_httproutes.yaml"],
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": [
        "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
    ],
}
KINDS = {
    "ConfigMap", "Deployment", "HorizontalPodAutoscaler", "Ingress", "Job", "Namespace", "NetworkPolicy",
    "PersistentVolumeClaim", "PodDisruptionBudget", "Secret", "Service", "ServiceAccount",
}  # fmt: skip
OUT = Path(__file__).parent / "schemas"
INT_OR_STRING = {"oneOf": [{"type": "string"}, {"type": "integer"}]}
QUANTITY = {"oneOf": [{"type": "string"}, {"type": "number"}]}

Node = Any  # any JSON


def strict(node: Node) -> Node:
    """Without words and extensions, and closed to members that are not listed."""
    if isinstance(node, list):
        return [strict(each) for each in node]
    if not isinstance(node, dict):
        return node
    if node.get("x-kubernetes-int-or-string") or node.get("format") == "int-or-string":
        return INT_OR_STRING
    plain = {key: strict(value) for key, value in node.items() if not _is_left_out(key, value)}
    is_open = node.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in node
    if isinstance(node.get("properties"), dict) and not is_open:
        plain["additionalProperties"] = False
    return plain


def _is_left_out(key: str, value: Node) -> bool:
    return key.startswith("x-kubernetes") or (key == "description" and isinstance(value, str))


def used(node: Node, definitions: dict[str, Node], found: set[str]) -> set[str]:
    """Names of all definitions that a schema refers to."""
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        if isinstance(value, str) and value.startswith("#/definitions/"):
            name = value.removeprefix("#/definitions/")
            if name not in found:
                found.add(name)
                used(definitions[name], definitions, found)
        used(value, definitions, found)
    return found


def of_kubernetes(openapi: Node) -> None:
    definitions = {name: strict(each) for name, each in openapi["definitions"].items()}
    definitions["io.k8s.apimachinery.pkg.api.resource.Quantity"] = QUANTITY
    for name, each in openapi["definitions"].items():
        for what in each.get("x-kubernetes-group-version-kind", []):
            is_old = name.endswith(".autoscaling.v1.HorizontalPodAutoscaler")
            if what["kind"] in KINDS and not is_old and name.endswith(f".{what['version']}.{what['kind']}"):
                schema = dict(definitions[name])
                schema["required"] = sorted({*schema.get("required", []), "apiVersion", "kind", "metadata"})
                schema["definitions"] = {each: definitions[each] for each in sorted(used(schema, definitions, set()))}
                write(what["kind"], what["group"], what["version"], schema)


def of_definition(crd: Node) -> None:
    for version in crd["spec"]["versions"]:
        if version["name"] == "v1":
            schema = strict(version["schema"]["openAPIV3Schema"])
            schema["properties"]["metadata"] = {"type": "object"}
            write(crd["spec"]["names"]["kind"], crd["spec"]["group"], "v1", schema)


def write(kind: str, group: str, version: str, schema: Node) -> None:
    parts = (kind, group.partition(".")[0], version)
    name = "-".join(part.lower() for part in parts if part)
    (OUT / f"{name}.json").write_text(json.dumps(schema, separators=(",", ":"), sort_keys=True) + "\n")


def module(name: str) -> Path:
    told = subprocess.run(["go", "mod", "download", "-json", name], check=True, capture_output=True).stdout
    return Path(json.loads(told)["Dir"])


if __name__ == "__main__":
    yaml.SafeLoader.yaml_implicit_resolvers.pop("=", None)  # PyYAML stumbles over a bare "="
    OUT.mkdir(exist_ok=True)
    of_kubernetes(json.loads((module(KUBERNETES) / "api/openapi-spec/swagger.json").read_text()))
    for name, files in CUSTOM.items():
        for file in files:
            of_definition(yaml.safe_load((module(name) / file).read_text()))
