"""Secrets changed while photographs come: files of overlays/local are changed, and applied."""

from __future__ import annotations

import hashlib
import json
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
    at_the_standin,
    kubectl,
    names,
    pods,
    rendered,
    restarts,
    rolled_out,
    until,
)
from tests.cluster.settlement import images, settled
from tests.system.faults.audit import Findings

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


REFUSED = "analyser-credentials-refused"
PASSWORD = "FUNDUS_RELAY_ANALYSER__PASSWORD"


async def _change_at_the_analyser(old: str, new: str) -> None:
    """Its account's password, which ends every token, and the photographs that come from then on wait."""
    await at_the_standin("account", password=new, revoke_tokens=True)
    async with httpx.AsyncClient(trust_env=False, base_url=f"{await address('standin')}/v1") as client:
        told = [
            (await client.post("/getToken", data={"username": "demo", "password": each})).json()["status"]
            for each in (old, new)
        ]
    assert told == [411, 200]
    await until(_are_waiting, 60, "photographs wait for the account")


async def _are_waiting() -> bool:
    return await images(f"reason = '{REFUSED}'") > 0


async def _go_on() -> bool:
    return not await _are_waiting()


async def _paid_once(clinic: Clinic, before: Findings) -> str:
    """That each photograph since then was paid once, and nothing else is wrong."""
    found, _ = await settled(clinic)
    assert not found.wrong
    assert (found.counted, found.paid - before.paid) == (before.counted, found.images - before.images)
    return f"{found.paid - before.paid} images paid once each"


async def test_the_analysers_password_is_replaced_in_its_secret(clinic: Clinic, shown: Callable[[str], None]) -> None:
    """As the chart says, whose secrets keep their names."""
    before, _ = await settled(clinic)
    (worker, *_) = await pods("worker")
    (name,) = [each["secretRef"]["name"] for each in worker["spec"]["containers"][0]["envFrom"] if "secretRef" in each]
    async with clinic.sending() as failures:
        await _change_at_the_analyser("demo", "second")
        changed = json.dumps({"stringData": {PASSWORD: "second"}})
        await kubectl("patch", "secret", name, "--patch", changed)
        await kubectl("rollout", "restart", *(f"deployment/fundus-relay-{each}" for each in OURS))
        await rolled_out("worker")
        release = ("fundus-relay", "release", "--reason", REFUSED)
        released = json.loads(await kubectl("exec", "deployment/fundus-relay-worker", "--", *release))
        on_s = await until(_go_on, 45, "what was released goes on")
        await rolled_out()

    assert released["count"] > 0
    assert failed(failures) == []
    shown(f"{released['count']} released go on after {on_s:.0f} s; {await _paid_once(clinic, before)}")


async def test_the_analysers_password_is_replaced_by_a_rollout(
    clinic: Clinic, overlays: Path, shown: Callable[[str], None]
) -> None:
    """As the runbook says, and nothing is released by hand."""
    file = overlays.parents[1] / "deploy" / "overlays" / "local" / "secrets.env"
    before, _ = await settled(clinic)
    were = {each: await names(each) for each in OURS}
    async with clinic.sending() as failures:
        await _change_at_the_analyser("second", "third")
        file.write_text(file.read_text().replace(f"{PASSWORD}=demo", f"{PASSWORD}=third"))
        await kubectl("delete", "job", "fundus-relay-migrate", "--ignore-not-found")
        await apply(await rendered(overlays / "overlay"))
        await rolled_out()
        for each in OURS:
            assert not were[each] & await names(each)
        on_s = await until(_go_on, 180, "what waited goes on by itself")

    assert failed(failures) == []
    shown(f"what waited goes on by itself {on_s:.0f} s after the rollout; {await _paid_once(clinic, before)}")
