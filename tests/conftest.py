"""One PostgreSQL server for a test run, and a fresh database for every test that asks for one."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import hypothesis  # noqa: F401 - else its plugin does, at the very end, where CPython 3.11 may refuse to compile it
import psycopg
import pytest

from fundus_relay.adapters.clock import SystemClock
from fundus_relay.adapters.database.embedded import embedded_postgres
from fundus_relay.adapters.database.ledger import PostgresLedger
from fundus_relay.adapters.database.migrate import migrate
from fundus_relay.adapters.database.pool import Pool, open_pool
from fundus_relay.worker.engine import Engine
from fundus_relay.worker.schema import engine_schema

TEMPLATE = "relay_template"


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """URL of the server's own database; empty."""
    with tempfile.TemporaryDirectory(prefix="fundus-relay-tests-") as folder, embedded_postgres(Path(folder)) as url:
        yield url


@pytest.fixture(scope="session")
async def template(postgres_url: str) -> str:
    """Name of a database that is migrated and that nobody uses, to be copied."""
    await _administer(postgres_url, f"create database {TEMPLATE}")
    await migrate(database_at(postgres_url, TEMPLATE), engine_schema())
    return TEMPLATE


@pytest.fixture
async def database_url(postgres_url: str, template: str) -> AsyncIterator[str]:
    """URL of a migrated database of this test alone."""
    name = f"test_{uuid4().hex}"
    await _administer(postgres_url, f"create database {name} template {template} strategy file_copy")
    yield database_at(postgres_url, name)
    await _administer(postgres_url, f"drop database {name} with (force)")


@asynccontextmanager
async def an_empty_database(postgres_url: str) -> AsyncIterator[str]:
    """URL of a database without any table."""
    name = f"empty_{uuid4().hex}"
    await _administer(postgres_url, f"create database {name}")
    yield database_at(postgres_url, name)
    await _administer(postgres_url, f"drop database {name} with (force)")


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with open_pool(database_url, size=10) as opened:
        yield opened


@pytest.fixture
def ledger(pool: Pool) -> PostgresLedger:
    return PostgresLedger(pool, SystemClock(), Engine().enqueue)


def database_at(url: str, name: str) -> str:
    """URL of another database of the same server."""
    return url.replace("@/postgres?", f"@/{name}?")


async def _administer(url: str, statement: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(statement.encode())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: the last one alone would keep every other process waiting."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What ran, folder by folder: processes side by side name no files as they go."""
    tally: dict[str, Counter[str]] = {}
    seconds: Counter[str] = Counter()
    for outcome, reports in terminalreporter.stats.items():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                folder = "/".join(Path(report.nodeid.partition("::")[0]).parts[:2])
                seconds[folder] += report.duration
                if outcome:  # setting up and tearing down have none
                    tally.setdefault(folder, Counter())[outcome] += 1
    terminalreporter.section("what ran")
    for folder, counts in sorted(tally.items()):
        told = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
        terminalreporter.write_line(f"{folder:20} {seconds[folder]:7.1f} s  {told}")
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport) and report.when == "call":
                for what, told in report.user_properties:
                    terminalreporter.write_line(f"{what}: {told}")
