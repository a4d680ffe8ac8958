"""The pool and the migrations, on a real server."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
from tests.interruption import Interruption
from tests.proxy import Proxy, proxied

from fundus_relay.adapters.database.embedded import SOCKET_NAME, embedded_postgres
from fundus_relay.adapters.database.migrate import migrate
from fundus_relay.adapters.database.pool import Pool, StoreLimitExceeded, connected, open_pool
from fundus_relay.adapters.database.schema import migrations
from fundus_relay.domain.errors import StoreUnavailable
from fundus_relay.worker.schema import engine_schema


async def test_a_migrated_database_is_left_as_it_is(database_url: str) -> None:
    assert await migrate(database_url, engine_schema()) == []


async def test_eight_processes_that_migrate_at_once_apply_everything_once(tmp_path: Path) -> None:
    with embedded_postgres(tmp_path) as url:
        applied = await asyncio.gather(*(migrate(url, engine_schema()) for _ in range(8)))

    assert sorted(len(names) for names in applied) == [0] * 7 + [
        1 + len(migrations())
    ]  # the engine, and each file of ours


async def test_the_pool_survives_a_restart_of_the_database(tmp_path: Path) -> None:
    with embedded_postgres(tmp_path) as url:
        async with open_pool(url, size=2) as pool:
            before = await _backend(pool)
            with pytest.raises(StoreUnavailable):
                await _kill_every_connection(pool)
            after = await _backend(pool)

    assert before != after


@pytest.mark.slow  # the pauses between attempts have to grow first
async def test_a_database_that_comes_back_is_connected_to_within_three_seconds(tmp_path: Path) -> None:
    server = Interruption(tmp_path)
    with embedded_postgres(tmp_path) as url:
        async with open_pool(url, size=4) as pool:
            await asyncio.to_thread(server.stop)
            until = time.monotonic() + 8
            while time.monotonic() < until:
                with pytest.raises(StoreUnavailable):
                    await _backend(pool)
            await asyncio.to_thread(server.start)
            began = time.monotonic()
            while time.monotonic() - began < 3:
                with suppress(StoreUnavailable):
                    await _backend(pool)
                    return
    pytest.fail("no connection in time")


async def test_a_connection_that_is_cut_is_replaced_before_it_is_given_out(database_url: str) -> None:
    async with proxied(_socket(database_url)) as proxy, open_pool(_through(proxy, database_url), size=2) as pool:
        await pool.wait()
        before = await _backend(pool)
        await proxy.cut()
        after = await _backend(pool)

    assert before != after


async def test_a_statement_whose_answer_never_comes_is_given_up(database_url: str) -> None:
    url, silence = database_url, timedelta(seconds=0.5)
    async with proxied(_socket(url)) as proxy, open_pool(_through(proxy, url), longest_silence=silence) as pool:
        async with asyncio.timeout(10):
            with pytest.raises(StoreUnavailable):
                async with connected(pool) as connection:
                    await connection.execute("select 1")
                    proxy.is_silent = True
                    await connection.execute("select 2")
            proxy.is_silent = False
            while True:  # the other connection of the pool is dead as well, and is found out when it is used
                with suppress(StoreUnavailable):
                    await _backend(pool)
                    break


async def test_who_listens_may_wait_for_ever(database_url: str) -> None:
    silence = timedelta(seconds=0.1)
    async with open_pool(database_url, longest_silence=silence) as pool, connected(pool) as connection:
        await connection.execute("select 1")
        await connection.commit()
        assert [each async for each in connection.notifies(timeout=0.5)] == []
        await connection.execute("select 1")


async def test_both_sides_look_whether_the_other_lives(database_url: str) -> None:
    url = database_url
    async with proxied(_socket(url)) as proxy, open_pool(_through(proxy, url)) as pool, connected(pool) as connection:
        with socket.socket(fileno=os.dup(connection.pgconn.socket)) as ours:
            assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 5
        theirs = await connection.execute(
            "select boot_val <> '5' from pg_settings where name = 'tcp_keepalives_idle' and source = 'session'"
        )
        assert await theirs.fetchall() == [(True,)]


async def test_a_server_that_died_in_the_end_needs_no_stop(tmp_path: Path) -> None:
    with embedded_postgres(tmp_path):
        os.kill(_server(tmp_path), signal.SIGKILL)

    with embedded_postgres(tmp_path) as url:
        psycopg.connect(url).close()


async def test_a_server_that_is_killed_comes_back_with_its_data(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with embedded_postgres(tmp_path) as url:
        async with open_pool(url, size=2) as pool:
            async with connected(pool) as connection:
                await connection.execute("create table public.kept as select pg_postmaster_start_time() as began")
            os.kill(_server(tmp_path), signal.SIGKILL)

            await _until_it_is_another_server(pool)

    assert "embedded-database-died" in caplog.messages


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("08006", StoreUnavailable),
        ("25006", StoreUnavailable),
        ("25P03", StoreUnavailable),
        ("40001", StoreUnavailable),
        ("53100", StoreUnavailable),
        ("55P03", StoreUnavailable),
        ("57014", StoreUnavailable),
        ("58030", StoreUnavailable),
        ("54000", StoreLimitExceeded),
        ("54001", StoreLimitExceeded),
        ("22021", psycopg.DataError),
        ("23505", psycopg.IntegrityError),
        ("42601", psycopg.ProgrammingError),
    ],
)
async def test_only_what_may_pass_is_said_to_pass(pool: Pool, state: str, told: type[Exception]) -> None:
    with pytest.raises(told):
        async with connected(pool) as connection:
            await connection.execute(f"do $$ begin raise exception 'x' using errcode = '{state}'; end $$".encode())


async def test_a_database_out_of_reach_is_told_within_seconds(tmp_path: Path) -> None:
    with embedded_postgres(tmp_path) as url:
        pass  # stopped again
    async with open_pool(url) as pool:
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await _backend(pool)

    assert time.monotonic() - began < 8


def test_data_outlive_the_server(tmp_path: Path) -> None:
    with embedded_postgres(tmp_path) as url, psycopg.connect(url) as connection:
        connection.execute("create table kept as select 7 as it")
    with embedded_postgres(tmp_path) as url, psycopg.connect(url) as connection:
        assert connection.execute("select it from kept").fetchone() == (7,)


def test_only_the_last_user_stops_the_server(tmp_path: Path) -> None:
    with embedded_postgres(tmp_path) as url:
        with embedded_postgres(tmp_path) as other:
            assert other == url
        psycopg.connect(url).close()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)


@pytest.mark.parametrize("name", ["a, b", "it's a folder, with spaces", "deep/" * 12 + "x" * 60])
def test_any_folder_will_do(tmp_path: Path, name: str) -> None:
    with embedded_postgres(tmp_path / name) as url:
        psycopg.connect(url).close()


def test_a_process_id_that_now_belongs_to_another_program_does_not_keep_the_server_down(tmp_path: Path) -> None:
    with embedded_postgres(tmp_path):
        left = (tmp_path / "data" / "postmaster.pid").read_text()
    (tmp_path / "data" / "postmaster.pid").write_text("1\n" + left.split("\n", 1)[1])

    with embedded_postgres(tmp_path) as url:
        psycopg.connect(url).close()


def test_nothing_listens_on_tcp_and_commits_are_durable(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        settings = [
            connection.execute(f"show {name}").fetchone()
            for name in ("listen_addresses", "fsync", "synchronous_commit", "full_page_writes")
        ]

    assert settings == [("",), ("on",), ("on",), ("on",)]


def _socket(url: str) -> Path:
    folder = parse_qs(urlsplit(url).query)["host"][0]
    return Path(folder) / SOCKET_NAME


def _through(proxy: Proxy, url: str) -> str:
    """The same database by TCP."""
    return f"postgresql://postgres@127.0.0.1:{proxy.port}{urlsplit(url).path}"


async def _backend(pool: Pool) -> int:
    async with connected(pool) as connection:
        row = await (await connection.execute("select pg_backend_pid()")).fetchone()
    assert row is not None
    return int(row[0])


async def _kill_every_connection(pool: Pool) -> None:
    async with connected(pool) as connection:
        await connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'fundus-relay%'"
            " order by pid = pg_backend_pid()"
        )


def _server(folder: Path) -> int:
    """Id of its first process."""
    return int((folder / "data" / "postmaster.pid").read_text().split()[0])


async def _until_it_is_another_server(pool: Pool) -> None:
    """Wait until a server answers that began after the table was written, and has it."""
    async with asyncio.timeout(30):
        while True:
            with suppress(StoreUnavailable):
                async with connected(pool) as connection:
                    query = "select began < pg_postmaster_start_time() from public.kept"
                    if await (await connection.execute(query)).fetchone() == (True,):
                        return
