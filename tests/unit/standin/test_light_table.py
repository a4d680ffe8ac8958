"""Jobs across a restart: what was queued is looked at then, what ended stays as it ended."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.unit.standin import lookers

from fundus_relay.standin.book import Book
from fundus_relay.standin.light_table import FAILED, LightTable
from fundus_relay.standin.onlooker import Look, Onlooker
from fundus_relay.standin.settings import StandinSettings

NETWORK, INSTANT = StandinSettings(analyser="network"), StandinSettings(analyser="instant")


async def ended(book: Book, job_id: str) -> tuple[str, str | None]:
    """Its state and message, once it is no longer queued."""
    async with asyncio.timeout(30):
        while (job := book.job(job_id)) is None or job.state == "QUEUED":  # noqa: ASYNC110 - the book has no event
            await asyncio.sleep(0)
    return job.state, job.message


async def after_a_restart(file: Path, look: Look, job_id: str) -> tuple[str, str | None]:
    book = Book(file, credits=0)
    table = LightTable(book, NETWORK, Onlooker(look))
    table.open()
    try:
        return await ended(book, job_id)
    finally:
        await table.close()
        book.close()


def taken(file: Path) -> str:
    book = Book(file, credits=1)
    job_id = book.take(b"a picture", "demo")
    book.close()
    assert job_id is not None
    return job_id


@pytest.mark.parametrize(
    ("look", "end"), [(lookers.gently, ("COMPLETED", None)), (lookers.clumsily, ("ERROR", FAILED))]
)
async def test_what_was_queued_before_a_restart_is_looked_at_after_it(
    tmp_path: Path, look: Look, end: tuple[str, str | None]
) -> None:
    job_id = taken(tmp_path / "book.sqlite")

    assert await after_a_restart(tmp_path / "book.sqlite", look, job_id) == end


async def test_the_picture_of_a_job_that_ended_is_forgotten(tmp_path: Path) -> None:
    job_id = taken(tmp_path / "book.sqlite")

    await after_a_restart(tmp_path / "book.sqlite", lookers.gently, job_id)

    assert Book(tmp_path / "book.sqlite", 0).picture(job_id) is None


async def test_what_ended_is_not_ended_again(tmp_path: Path) -> None:
    book = Book(tmp_path / "book.sqlite", credits=1)
    job_id = book.take(b"a picture", "demo") or ""
    book.end(job_id, "HOLD", None, None)

    LightTable(book, INSTANT, Onlooker()).put(job_id)

    assert await ended(book, job_id) == ("HOLD", None)


def test_a_job_that_cannot_be_paid_is_not_taken_and_a_full_one_is_paid_once(tmp_path: Path) -> None:
    book = Book(tmp_path / "book.sqlite", credits=1)

    assert book.take(b"one", "demo") is not None
    assert book.take(b"two", "demo") is None
    assert (book.remaining, book.counts()["uploads"]) == (0, 1)


def test_a_picture_that_nobody_looks_at_is_not_kept(tmp_path: Path) -> None:
    book = Book(tmp_path / "book.sqlite", credits=1)

    job_id = book.take(b"a picture", "demo", keep=False) or ""

    assert book.picture(job_id) is None
    assert book.queued() == [job_id]
