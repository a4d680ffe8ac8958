"""What the service's own tables say of the photographs that were sent, and whether all of them came to a good end."""

from __future__ import annotations

import asyncio

import psycopg
from tests.cluster.clinic import Clinic
from tests.cluster.kubernetes import address, forwarded, until
from tests.system.faults.audit import Findings, audit, unfinished


async def database() -> str:
    host = (await address("postgresql")).removeprefix("http://")
    return f"postgresql://relay:relay@{host}/relay"


async def settled(clinic: Clinic) -> tuple[Findings, float]:
    """What is found when everything is at rest, and the seconds until it is."""
    url = await database()

    async def is_at_rest() -> bool:
        return not await asyncio.to_thread(unfinished, url)

    rested_s = await until(is_at_rest, 180, "everything is at rest")
    async with forwarded("deployment/standin", 8090) as standin:
        return await audit(clinic.photographs, clinic.ehr, standin, url), rested_s


async def images(condition: str) -> int:
    """How many there are of which that is true."""
    return await _number(f"select count(*) from image where {condition}")  # noqa: S608 - of a test


async def possibly_double() -> int:
    """Credits that the service counts as possibly spent twice."""
    return await _number("select possibly_double_spent from account")


async def _number(query: str) -> int:
    async with await psycopg.AsyncConnection.connect(await database(), options="-c search_path=relay") as connection:
        row = await (await connection.execute(query.encode())).fetchone()
    assert row
    return int(row[0])
