"""Secrets changed while photographs come: files of overlays/local are changed, and applied."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import httpx
import psycopg
import pytest
from tests.cluster.clinic import Clinic, failed
from tests.cluster.kubernetes import (
    OURS,
    address,
    apply,
    kubectl,
    names,
    pods,
    rendered,
    restarts,
    rolled_out,
    until,
)

OF_ALL = "read,write,operate"


def _line_of(token: str) -> str:
    return f"{token} sha256:{hashlib.sha256(token.encode()).hexdigest()} {OF_ALL}\n"


async def test_a_token_is_replaced_without_a_restart(
    clinic: Clinic, overlays: Path, shown: Callable[[str], None]
) -> None:
    file = overlays.parents[1] / "deploy" / "overlays" / "local" / "tokens"
    before = await names("api"), await restarts("api")

    async def everywhere(token: str, status: int) -> bool:
        """Whether every process of the API answers it so."""
        async with httpx.AsyncClient(trust_env=False, headers={"Authorization": f"Bearer {token}"}) as client:
            urls = [f"http://{pod['status']['podIP']}:8080/fhir/Task?_count=1" for pod in await pods("api")]
            return {(await client.get(url)).status_code for url in urls} == {status}

    async with clinic.sending() as failures:
        assert await everywhere("demo", 200)
        assert await everywhere("next", 401)
        file.write_text(_line_of("demo") + _line_of("next"))
        await apply(await rendered(overlays / "overlay"))
        let_in_s = await until(lambda: everywhere("next", 200), 90, "the new token is let in")
        clinic.token = "next"
        file.write_text(_line_of("next"))
        await apply(await rendered(overlays / "overlay"))
        refused_s = await until(lambda: everywhere("demo", 401), 90, "the old token is refused")

    assert failed(failures) == []
    assert (await names("api"), await restarts("api")) == before
    shown(f"let in after {let_in_s:.0f} s, the old one refused after {refused_s:.0f} s")


async def test_the_database_password_is_replaced_by_a_rollout(
    clinic: Clinic, overlays: Path, shown: Callable[[str], None]
) -> None:
    file = overlays.parents[1] / "deploy" / "overlays" / "local" / "secrets.env"
    host = (await address("postgresql")).removeprefix("http://")
    old, new = (f"postgresql://{name}:{name}@{host}/relay" for name in ("relay", "relay_next"))
    before = {each: await names(each) for each in OURS}
    with psycopg.connect(old, autocommit=True) as connection:
        connection.execute("create role relay_next login password 'relay_next' in role relay")
        async with clinic.sending() as failures:
            file.write_text(file.read_text().replace("relay:relay@", "relay_next:relay_next@"))
            await kubectl("delete", "job", "fundus-relay-migrate", "--ignore-not-found")
            await apply(await rendered(overlays / "overlay"))
            await rolled_out()
            await kubectl("wait", "--for=condition=Complete", "job/fundus-relay-migrate", "--timeout=60s")
            for each in OURS:
                assert not before[each] & await names(each)

            async def is_left() -> bool:
                sessions = "select count(*) from pg_stat_activity where usename = 'relay' and pid <> pg_backend_pid()"
                found = connection.execute(sessions + " and backend_type = 'client backend'").fetchone()
                return found == (0,)

            await until(is_left, 60, "nobody is there by the old password")
            connection.execute("alter role relay password 'unknown'")
            try:
                with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                    psycopg.connect(old)
                psycopg.connect(new).close()
            finally:
                connection.execute("alter role relay password 'relay'")

    assert failed(failures) == []
    shown(clinic.so_far)
