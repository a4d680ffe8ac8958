"""The image as a pod runs it: user 10001, no capability, a root that is read-only, two folders that can be written.

`make test-image` builds it first, with root and Debian's Buildah and debootstrap. The image's root is mounted in
a namespace of its own, so that nothing of it stays; what is not shown is the runtime's seccomp filter.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from tests.deploy.objects import DEPLOY
from tests.system.stack import a_stack

from fundus_relay.demonstration.pictures import painted_eye
from fundus_relay.environment import variables
from fundus_relay.settings import Settings

IMAGE = "localhost/fundus-relay:dev"
PLACES = "/tmp /var/lib/fundus-relay"  # noqa: S108 - of the pod's own
POD = """
set -eu
root=$1 writable=$2; shift 2
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
for place in $writable; do mount -t tmpfs -o mode=2775,uid=0,gid=10001,size=256m tmpfs "$root$place"; done
mount -t tmpfs -o mode=0755 tmpfs "$root/mnt"
install -m 0440 -g 10001 "$TOKENS" "$root/mnt/tokens"
mount -o remount,ro "$root/mnt"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
exec chroot "$root" /usr/bin/setpriv --reuid 10001 --regid 10001 --groups 10001 --no-new-privs --inh-caps=-all \
  --bounding-set=-all "$@"
"""

KNOWN = {name for name, _ in variables(Settings, "FUNDUS_RELAY_")}
TOKEN = {"Authorization": "Bearer demo"}

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Pod:
    """Base URL of its endpoint, URL of its probe, and its first process."""

    base: str
    readyz: str
    process: asyncio.subprocess.Process


def _buildah(*arguments: str) -> str:
    return subprocess.run(["buildah", *arguments], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def image() -> Iterator[Path]:
    """Its root file system."""
    if not os.environ.get("TESTS_IMAGE"):
        pytest.skip("NOT RUN: the image is not run; `make test-image` builds it and does")
    if os.geteuid() != 0 or not shutil.which("buildah"):
        pytest.skip("NOT RUN: the image is not run, because that needs root and Buildah")
    if subprocess.run(["buildah", "inspect", "--type", "image", IMAGE], capture_output=True, check=False).returncode:
        pytest.skip("NOT RUN: the image is not run, because there is none")
    container = _buildah("from", "--pull-never", IMAGE)
    try:
        yield Path(_buildah("mount", container))
    finally:
        _buildah("rm", container)


@asynccontextmanager
async def _through_tcp(sockets: str) -> AsyncIterator[int]:
    """The database's socket, at a port of loopback: a pod cannot reach a folder of another user."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(65536):
                writer.write(piece)
                await writer.drain()
        except OSError:
            pass  # whoever went away is not missed
        finally:
            writer.close()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(f"{sockets}/.s.PGSQL.5432")
        await asyncio.gather(carry(reader, inner_writer), carry(inner_reader, writer))

    async with await asyncio.start_server(meet, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@asynccontextmanager
async def _pod(
    image: Path, database: str, standin: str, ehr: str, *, writable: str = PLACES, **others: str
) -> AsyncIterator[Pod]:
    """A pod that serves, with the settings of deploy/base and the tokens of overlays/local."""
    host, _, name = database.partition("@/")[2].partition("?host=")[::-1]
    port, probes_port = _free_port(), _free_port()
    as_deployed = dict(line.split("=") for line in (DEPLOY / "base/settings.env").read_text().splitlines())
    async with _through_tcp(httpx.URL(f"http://x/?host={host}").params["host"]) as database_port:
        settings = {
            "PATH": "/opt/fundus-relay/bin:/usr/bin:/bin:/usr/sbin",
            "PYTHONDONTWRITEBYTECODE": "1",
            "TOKENS": str(DEPLOY / "overlays/local/tokens"),
            "FUNDUS_RELAY_DATA_DIR": "/var/lib/fundus-relay",
            **{name: value for name, value in as_deployed.items() if name in KNOWN},
            "FUNDUS_RELAY_HTTP__PORT": str(port),
            "FUNDUS_RELAY_DATABASE__URL": f"postgresql://postgres@127.0.0.1:{database_port}/{name}",
            "FUNDUS_RELAY_ANALYSER__BASE_URL": f"{standin}/v1",
            "FUNDUS_RELAY_ANALYSER__USERNAME": "demo",
            "FUNDUS_RELAY_ANALYSER__PASSWORD": "demo",
            "FUNDUS_RELAY_ANALYSER__POLL_INTERVAL": "0.5",
            "FUNDUS_RELAY_RECORD__BASE_URL": ehr,
            **others,
        }
        if "FUNDUS_RELAY_ACCESS__TOKENS" in KNOWN:
            settings["FUNDUS_RELAY_ACCESS__TOKENS"] = "/mnt/tokens"
        if "FUNDUS_RELAY_PROBES__PORT" in KNOWN:
            settings["FUNDUS_RELAY_PROBES__PORT"] = str(probes_port)
        process = await asyncio.create_subprocess_exec(
            *("unshare", "--mount", "--propagation", "private", "sh", "-c", POD, "pod", str(image), writable),
            *("fundus-relay", "serve"),
            env=settings,
            stderr=subprocess.PIPE,
        )
        try:
            ready = probes_port if "FUNDUS_RELAY_PROBES__PORT" in KNOWN else port
            yield Pod(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{ready}/readyz", process)
        finally:
            if process.returncode is None:
                process.terminate()
                await asyncio.wait_for(process.wait(), 40)


async def _answers(client: httpx.AsyncClient, pod: Pod) -> None:
    async with asyncio.timeout(60):
        while True:
            if pod.process.returncode is not None:
                assert pod.process.stderr
                raise AssertionError((await pod.process.stderr.read()).decode())
            with suppress(httpx.TransportError):
                if (await client.get(pod.readyz)).is_success:
                    return
            await asyncio.sleep(0.05)


async def test_a_photograph_travels_through_a_pod_that_can_write_two_folders_alone(
    image: Path, database_url: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    picture = painted_eye()
    media = {
        "resourceType": "Media",
        "status": "completed",
        "subject": {"reference": "Patient/in-a-pod"},
        "content": {"contentType": "image/jpeg", "data": base64.b64encode(picture).decode()},
    }
    async with (
        a_stack(tmp_path, {"FUNDUS_RELAY_STANDIN__ANALYSER": "instant"}, stderr=subprocess.DEVNULL) as stack,
        httpx.AsyncClient(trust_env=False, timeout=30, headers=TOKEN) as client,
    ):
        await client.put(f"{stack.ehr}/Patient/in-a-pod", json={"resourceType": "Patient", "id": "in-a-pod"})
        began = time.monotonic()
        async with _pod(image, database_url, stack.standin, stack.ehr) as pod:
            await _answers(client, pod)
            started_s = time.monotonic() - began
            answer = await client.post(f"{pod.base}/fhir/Media", json=media)
            assert answer.status_code == 201, answer.text
            task = await _ended(client, f"{pod.base}/fhir/Task?focus=Media/{answer.json()['id']}")
            assert task["businessStatus"]["coding"][0]["code"] == "delivered", json.dumps(task)

            status = _status(pod.process.pid)
            assert "Uid:\t10001\t10001\t10001\t10001" in status
            assert "CapEff:\t0000000000000000" in status
            assert "CapBnd:\t0000000000000000" in status
            assert "NoNewPrivs:\t1" in status
        assert pod.process.returncode == 0
    record_property("a pod starts in", f"{started_s:.1f} s")


def _status(process_id: int) -> str:
    return Path(f"/proc/{process_id}/status").read_text()


async def _ended(client: httpx.AsyncClient, url: str) -> dict[str, dict[str, list[dict[str, str]]]]:
    async with asyncio.timeout(60):
        while True:
            (entry,) = (await client.get(url)).json()["entry"]
            task = entry["resource"]
            if task["status"] not in {"requested", "received", "accepted", "in-progress"}:
                return dict(task)
            await asyncio.sleep(0.2)


@pytest.mark.parametrize(
    ("writable", "blobs"),
    [
        ("/tmp", "/var/lib/fundus-relay/blobs"),  # noqa: S108 - as above
        ("", "s3://photographs"),
    ],
    ids=["no volume", "no temporary folder"],
)
async def test_a_pod_without_a_place_for_photographs_takes_none(
    image: Path, database_url: str, writable: str, blobs: str
) -> None:
    nobody = "http://127.0.0.1:9"
    how = {"writable": writable, "FUNDUS_RELAY_BLOBS__URL": blobs, "AWS_REGION": "nowhere"}
    async with (
        _pod(image, database_url, nobody, nobody, **how) as pod,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        assert pod.process.stderr
        said = await asyncio.wait_for(pod.process.stderr.readuntil(b"store-awaited"), 60)
        with pytest.raises(httpx.ConnectError):
            await client.post(f"{pod.base}/fhir/Media", json={})
    assert b'"started"' not in said


def test_the_bill_of_materials_names_what_is_installed(image: Path) -> None:
    bill = json.loads((image / "opt/fundus-relay/sbom.cdx.json").read_text())
    named = {each["name"] for each in bill["components"]}
    installed = {
        path.name.split("-")[0].lower().replace("_", "-").replace(".", "-")
        for path in (image / "opt/fundus-relay/lib").rglob("*.dist-info")
    }

    assert len(named) > 30
    assert installed - {"fundus-relay"} == named
    assert not {"pip", "setuptools"} & named


def test_the_image_is_small_enough_and_holds_no_secret(
    image: Path, record_property: Callable[[str, object], None]
) -> None:
    told = json.loads(_buildah("inspect", "--type", "image", IMAGE))["OCIv1"]["config"]

    assert told["User"] == "10001:10001"
    assert told["Entrypoint"] == ["fundus-relay"]
    assert not [each for each in told["Env"] if "PASSWORD" in each or "TOKEN" in each]
    ours, whole = _byte_count(image / "opt/fundus-relay"), _byte_count(image)
    assert ours < 400_000_000
    record_property("the image has", f"{whole / 1e6:.0f} MB, {ours / 1e6:.0f} MB of them the service and its libraries")


def _byte_count(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
