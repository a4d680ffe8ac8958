"""What an operator reads when the database does not do what it was asked for: why, and no password."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from tests.conftest import an_empty_database

from fundus_relay.adapters.database.migrate import migrate
from fundus_relay.adapters.database.pool import connected, open_pool
from fundus_relay.domain.errors import StoreUnavailable
from fundus_relay.worker.schema import engine_schema

SECRET = "s3cret"


@pytest.fixture
async def stranger(postgres_url: str) -> AsyncIterator[str]:
    """A role without any right, which has to say its password."""
    role = f"stranger_{uuid4().hex}"
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as server:
        row = await (await server.execute("show hba_file")).fetchone()
        assert row is not None
        with open(row[0], "r+") as file:  # noqa: ASYNC230, PTH123 - a few lines
            rest = file.read()
            file.seek(0)
            file.write(f"local all {role} scram-sha-256\n{rest}")
        await server.execute(f"create role {role} login password '{SECRET}'".encode())
        await server.execute("select pg_reload_conf()")
        yield role
        await server.execute(f"drop role {role}".encode())


def at(url: str, *, user: str, password: str = SECRET, database: str | None = None) -> str:
    parts = conninfo_to_dict(url)
    return (
        f"postgresql://{user}:{password}@/{database or parts['dbname']}?host={str(parts['host']).replace('/', '%2F')}"
    )


async def refused(url: str) -> str:
    with pytest.raises(StoreUnavailable) as why:
        await migrate(url, engine_schema())
    return str(why.value)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (
            f"postgresql://u:{SECRET}@127.0.0.1:1/x",
            'connection to server at "127.0.0.1", port 1 failed: Connection refused',
        ),
        (f"postgresql://u:{SECRET}@no-such-host.invalid/x", "failed to resolve host 'no-such-host.invalid'"),
        (f"postgresql://u:{SECRET}@/x?host=%2Fnowhere", '"/nowhere/.s.PGSQL.5432" failed: No such file or directory'),
    ],
)
async def test_a_server_that_is_not_there_is_told_with_its_address(url: str, reason: str) -> None:
    said = await refused(url)

    assert said.startswith("the database cannot be used now: ")
    assert reason in said
    assert SECRET not in said


async def test_a_wrong_password_a_missing_role_and_a_missing_database_are_told(
    postgres_url: str, stranger: str
) -> None:
    wrong = await refused(at(postgres_url, user=stranger, password="not-that"))
    nobody = await refused(at(postgres_url, user="nobody-here"))
    nowhere = await refused(at(postgres_url, user="postgres", database="nothing"))

    assert f'password authentication failed for user "{stranger}"' in wrong
    assert 'role "nobody-here" does not exist' in nobody
    assert 'database "nothing" does not exist' in nowhere
    for said in (wrong, nobody, nowhere):
        assert SECRET not in said and "not-that" not in said


async def test_what_the_account_may_not_do_is_told_by_what_it_is_about(postgres_url: str, stranger: str) -> None:
    async with an_empty_database(postgres_url) as url:
        name = conninfo_to_dict(url)["dbname"]

        assert f"permission denied for database {name}" in await refused(at(url, user=stranger))

    async with open_pool(at(postgres_url, user=stranger)) as pool:
        with pytest.raises(StoreUnavailable, match="permission denied for table pg_authid"):
            async with connected(pool) as connection:
                await connection.execute("select * from pg_authid")


async def test_a_pool_without_connections_says_why_it_has_none() -> None:
    async with open_pool(f"postgresql://u:{SECRET}@127.0.0.1:1/x", size=1) as pool:
        pool.timeout = 1
        with pytest.raises(StoreUnavailable, match="port 1 failed: Connection refused") as why:
            async with connected(pool):
                pass

    assert SECRET not in str(why.value)


@pytest.mark.parametrize("command", ["migrate", "parked"])
def test_a_command_says_it_in_one_line(command: str) -> None:
    environment = {**os.environ, "FUNDUS_RELAY_DATABASE__URL": f"postgresql://u:{SECRET}@127.0.0.1:1/x"}

    done = subprocess.run(
        [sys.executable, "-m", "fundus_relay", command], env=environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert done.stderr == (
        "fundus-relay: store-unavailable: the database cannot be used now:"
        ' connection to server at "127.0.0.1", port 1 failed: Connection refused\n'
    )
