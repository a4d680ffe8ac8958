"""One cluster for all of these tests, the whole line in it, and a table of what was shown."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.cluster.clinic import Clinic
from tests.cluster.kubernetes import address, apply, kubectl, rendered, rolled_out
from tests.deploy.objects import copied

HERE = Path(__file__).parent
LIVES = os.environ.get("TESTS_CLUSTER")
SHOWN: dict[str, tuple[str, list[str]]] = {}
"""Row → outcome, and figures."""


@pytest.fixture(scope="session")
def cluster() -> Path:
    """The folder of the cluster in which this runs."""
    if not LIVES:
        pytest.skip("NOT RUN: no cluster is started here; `make test-cluster` does, and runs these tests in it")
    return Path(LIVES)


@pytest.fixture
def shown(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Puts a figure beside the test's row of the table."""
    return SHOWN.setdefault(request.node.nodeid, ("", []))[1].append


@pytest.fixture(scope="session")
def overlays(cluster: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree's kustomizations, in which a test may change a file and apply it, as who runs this does."""
    root = tmp_path_factory.mktemp("tree")
    copied(root)
    for each in ("overlay", "autoscaled"):
        shutil.copytree(HERE / each, root / "tests" / "cluster" / each)
    return root / "tests" / "cluster"


@pytest.fixture(scope="session")
async def line(cluster: Path, overlays: Path) -> None:
    """overlays/local, applied, migrated and ready; it stays until the cluster ends."""
    await apply((HERE / "volume.yaml").read_text().replace("STATE", str(cluster)))
    await apply((HERE / "adapter.yaml").read_text(), namespace="kube-system")
    await apply(await rendered(overlays / "overlay"))
    for each in ("postgresql", "standin", "ehr"):
        await kubectl("rollout", "status", f"deployment/{each}", "--timeout=120s")
    await rolled_out()


@pytest.fixture(scope="session")
async def clinic(line: None) -> AsyncIterator[Clinic]:
    yield Clinic(await address("fundus-relay"), await address("ehr"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> object:
    report = yield
    if LIVES and (report.when == "call" or report.failed):
        SHOWN[item.nodeid] = (report.outcome, SHOWN.get(item.nodeid, ("", []))[1])
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if SHOWN:
        terminalreporter.section("what was shown in a cluster")
    for row, (outcome, figures) in SHOWN.items():
        name = row.rpartition("::")[2].removeprefix("test_").replace("_", " ")
        terminalreporter.write_line(f"{outcome:7} {name:90} {'; '.join(figures)}")
