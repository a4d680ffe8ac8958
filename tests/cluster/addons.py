"""What a cluster mostly has, and the one of these tests has too: names of Services, and metrics for autoscalers.

`python addons.py STATE ADDRESS` answers DNS at ADDRESS:53, and metrics.k8s.io and external.metrics.k8s.io by TLS at
127.0.0.1:6444 to the API server, which is told so by adapter.yaml. Standard library only.

How this works. A name is looked up by the Service of that name. CPU and memory are what the kubelet says of each
container. An external metric is the highest sample of that name and those labels among what the namespace's pods say at
their `probes` port, which is what a rule of prometheus-adapter with `max` gives.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import struct
import sys
import threading
import urllib.request
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

Json = dict[str, Any]  # any JSON

STATE = Path(sys.argv[1])
TOKEN = (STATE / "pki/tokens.csv").read_text().partition(",")[0]
TRUST = ssl.create_default_context(cafile=str(STATE / "pki/ca.crt"))
SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def asked(path: str) -> Json:
    """What the API server has there."""
    request = urllib.request.Request(f"https://127.0.0.1:6443{path}", headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, context=TRUST, timeout=5) as answer:  # noqa: S310 - https, above
        return dict(json.load(answer))


# --------------------------------------------------------------------------------------------------------------- names


def address_of(name: str) -> str | None:
    """Of service.namespace.svc.cluster.local."""
    service, _, rest = name.partition(".")
    namespace, _, suffix = rest.partition(".")
    if suffix != "svc.cluster.local":
        return None
    try:
        address = asked(f"/api/v1/namespaces/{namespace}/services/{service}")["spec"]["clusterIP"]
    except OSError:
        return None
    return None if address == "None" else str(address)


def answer_to(query: bytes) -> bytes:
    """A name's IPv4 address; that there is no other record of it, or no such name (RFC 1035)."""
    labels, at = [], 12
    while length := query[at]:
        labels.append(query[at + 1 : at + 1 + length].decode())
        at += 1 + length
    (kind,) = struct.unpack_from("!H", query, at + 1)
    found = address_of(".".join(labels).lower())
    records = b""
    if found and kind == 1:
        records = struct.pack("!HHHIH", 0xC00C, 1, 1, 2, 4) + socket.inet_aton(found)
    flags = 0x8580 if found else 0x8583
    return query[:2] + struct.pack("!HHHHH", flags, 1, bool(records), 0, 0) + query[12 : at + 5] + records


def name_services(address: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        wire.bind((address, 53))

        def say(query: bytes, caller: tuple[str, int]) -> None:
            wire.sendto(answer_to(query), caller)

        while True:
            threading.Thread(target=say, args=wire.recvfrom(512), daemon=True).start()


# ------------------------------------------------------------------------------------------------------------- metrics


def usage(namespace: str, selector: str) -> list[Json]:
    """metrics.k8s.io: what the containers of these pods take."""
    pods = asked(f"/api/v1/namespaces/{namespace}/pods?labelSelector={quote(selector)}")["items"]
    wanted = {each["metadata"]["name"] for each in pods}
    summary = asked("/api/v1/nodes/node1/proxy/stats/summary")["pods"]
    return [
        {
            "metadata": {"name": each["podRef"]["name"], "namespace": namespace},
            "timestamp": _now(),
            "window": "10s",
            "containers": [
                {
                    "name": container["name"],
                    "usage": {
                        "cpu": f"{container.get('cpu', {}).get('usageNanoCores', 0)}n",
                        "memory": str(container.get("memory", {}).get("workingSetBytes", 0)),
                    },
                }
                for container in each.get("containers", [])
            ],
        }
        for each in summary
        if each["podRef"]["namespace"] == namespace and each["podRef"]["name"] in wanted
    ]


def highest(namespace: str, metric: str, labels: dict[str, str]) -> list[Json]:
    """external.metrics.k8s.io: the highest sample among the pods that say any."""
    pods = asked(f"/api/v1/namespaces/{namespace}/pods?labelSelector=fundus-relay.dev/has-probes%3Dtrue")["items"]
    samples = []
    for pod in pods:
        if address := pod["status"].get("podIP"):
            samples += _samples(f"http://{address}:8081/metrics", metric, labels)
    if not samples:
        return []
    value = f"{round(max(samples) * 1000)}m"
    return [{"metricName": metric, "metricLabels": labels, "timestamp": _now(), "value": value}]


def _samples(url: str, metric: str, labels: dict[str, str]) -> list[float]:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - http, above
            text = answer.read().decode()
    except OSError:
        return []  # it starts or ends
    return [
        float(value)
        for name, told, value in SAMPLE.findall(text)
        if name == metric and labels.items() <= dict(LABEL.findall(told)).items()
    ]


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Adapter(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        parts = url.path.strip("/").split("/")
        selector = parse_qs(url.query).get("labelSelector", [""])[0]
        group = parts[1] if len(parts) > 1 else ""
        if len(parts) <= 3:
            resources = [
                {"name": "pods", "singularName": "", "namespaced": True, "kind": "PodMetrics", "verbs": ["list"]}
            ]
            body: Json = {
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": f"{group}/v1beta1",
                "resources": resources if group == "metrics.k8s.io" else [],
            }
        elif group == "metrics.k8s.io":
            body = {"kind": "PodMetricsList", "apiVersion": f"{group}/v1beta1", "metadata": {}}
            body["items"] = usage(parts[4], selector)
        else:
            labels = dict(each.split("=", 1) for each in selector.split(",") if each)
            body = {"kind": "ExternalMetricValueList", "apiVersion": f"{group}/v1beta1", "metadata": {}}
            body["items"] = highest(parts[4], parts[5], labels)
        payload = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)


def measure(port: int) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", port), Adapter)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(STATE / "pki/api.crt", STATE / "pki/api.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    threading.Thread(target=name_services, args=(sys.argv[2],), daemon=True).start()
    measure(6444)
