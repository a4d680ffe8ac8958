"""What the count of credits proves, whatever happens around the uploads; the marks are the real ledger's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.flow.world import ManualClock

from fundus_relay.adapters.database.ledger import PostgresLedger
from fundus_relay.adapters.database.pool import Pool
from fundus_relay.domain.geometry import Size
from fundus_relay.domain.states import ImageState
from fundus_relay.domain.values import Image, StoredPicture
from fundus_relay.pipeline.ambiguity import unaccounted
from fundus_relay.pipeline.ports import Transaction

IMAGES = 4
TOP_UP = 1000
EVENTS = ("leave", "be_taken", "be_answered", "be_lost", "be_judged")
AROUND = ("hear_a_count", "notice_a_count", "somebody_else_pays", "top_up")
HAPPENINGS = st.lists(st.tuples(st.sampled_from(EVENTS + AROUND), st.integers(0, IMAGES - 1)), max_size=40)

OVERLAPPING = [
    *(("leave", 0), ("be_taken", 0), ("hear_a_count", 0), ("notice_a_count", 0)),
    *(("leave", 1), ("be_answered", 0), ("be_taken", 1), ("be_lost", 1), ("be_judged", 1)),
]
"""The count holds an upload that is confirmed only later; the next one must not be taken for it."""


@dataclass
class Account:
    """The account at the analyser's, and uploads that run into each other; what cannot happen now does not.

    Attributes:
        heard: a count that the analyser told and that has not been written down yet.
        told: image → what remained when its present upload was taken.
        wrong: images that were judged unpaid and were paid.
    """

    tx: Transaction
    images: list[Image]
    credits: int = 50
    heard: int | None = None
    told: dict[int, int] = field(default_factory=dict)
    wrong: list[int] = field(default_factory=list)
    cleared: int = 0

    async def happen(self, what: str, which: int) -> None:
        if what in AROUND:
            await getattr(self, what)()
        else:
            await getattr(self, what)(which)

    async def leave(self, which: int) -> None:
        image = self.images[which]
        if image.state is ImageState.PREPARED:
            mark = await self.tx.account.mark_credits()
            await self._move(which, ImageState.SENDING, credit_mark=mark, attempt=image.attempt + 1)

    async def be_taken(self, which: int) -> None:
        if self.images[which].state is ImageState.SENDING and which not in self.told:
            self.credits -= 1
            self.told[which] = self.credits

    async def be_answered(self, which: int) -> None:
        if self.images[which].state is ImageState.SENDING and which in self.told:
            await self._move(which, ImageState.ANALYSING)
            await self.tx.account.confirm_upload(self.told.pop(which))
            await self._again(which)

    async def be_lost(self, which: int) -> None:
        if self.images[which].state is ImageState.SENDING:
            await self._move(which, ImageState.SENDING, reason="upload-ambiguous")

    async def be_judged(self, which: int) -> None:
        image = self.images[which]
        if image.state is not ImageState.SENDING or image.reason is None or image.credit_mark is None:
            return
        if unaccounted(image.credit_mark, self.credits, await self.tx.account.uploads_confirmed()) == 0:
            self.cleared += 1
            self.wrong += [which] if which in self.told else []
        self.told.pop(which, None)
        await self._move(which, ImageState.PREPARED)

    async def hear_a_count(self) -> None:
        self.heard = self.credits

    async def notice_a_count(self) -> None:
        """As the row of the token does."""
        if self.heard is not None:
            await run(self.tx, "update account set remaining = %s", [self.heard])

    async def somebody_else_pays(self) -> None:
        self.credits -= 1

    async def top_up(self) -> None:
        self.credits += TOP_UP

    async def _again(self, which: int) -> None:
        """Another photograph takes the place of one that is done with."""
        self.images[which] = await add_image(self.tx, self.images[which].study_id)

    async def _move(self, which: int, to: ImageState, **changes: Any) -> None:  # Any: as the port says
        moved = await self.tx.move_image(self.images[which], to, **changes)
        assert moved is not None
        self.images[which] = moved


class Undo(Exception):
    """So that an example leaves nothing behind."""


async def carry_out(pool: Pool, happenings: Sequence[tuple[str, int]]) -> Account:
    ledger = PostgresLedger(pool, ManualClock(), _nothing)
    try:
        async with ledger.transaction() as tx:
            await run(tx, "update account set remaining = 50", [])
            study = await tx.open_study("a", {}, {})
            account = Account(tx, [await add_image(tx, study.id) for _ in range(IMAGES)])
            for what, which in happenings:
                await account.happen(what, which)
            undo()
    except Undo:
        pass
    return account


def undo() -> None:
    raise Undo


async def _nothing(*_: object) -> None: ...


async def run(tx: Any, query: str, values: Sequence[object]) -> None:  # Any: the transaction's own way to the database
    await tx._commit.send(query, values)


async def add_image(tx: Transaction, study_id: str) -> Image:
    picture = StoredPicture(uuid4().hex, "image/jpeg", 1, Size(1, 1))
    image, _ = await tx.add_image(
        Image(str(uuid4()), study_id, "m", picture, None, ImageState.PREPARED, ManualClock().now())
    )
    return image


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(happenings=HAPPENINGS)
@example(happenings=OVERLAPPING)
async def test_no_upload_that_was_taken_is_ever_held_for_unpaid(pool: Pool, happenings: list[tuple[str, int]]) -> None:
    account = await carry_out(pool, happenings)

    assert account.wrong == []


async def test_what_was_not_taken_is_cleared_while_uploads_overlap(pool: Pool) -> None:
    first = [("leave", 0), ("be_taken", 0), ("leave", 1), ("be_answered", 0), ("leave", 2), ("be_lost", 1)]
    account = await carry_out(pool, [*first, ("be_lost", 2), ("be_judged", 1), ("be_judged", 2)])

    assert account.cleared == 2
