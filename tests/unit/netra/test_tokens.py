"""One token for all: asked for once, early, and again only when it is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from tests.fakes.analyser import TokensInMemory

from fundus_relay.adapters.analyser.tokens import Tokens
from fundus_relay.domain.errors import AnalyserUnavailable, CredentialsRefused
from fundus_relay.netra.replies import TokenReply

BEGIN = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)


class ManualClock:
    def __init__(self) -> None:
        self.time = BEGIN

    def now(self) -> datetime:
        return self.time

    async def wait(self, span: timedelta) -> None:
        self.time += span


class Counter:
    """getToken, counted; each answer has its own token unless it is told otherwise."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.asked = 0
        self.valid_for: timedelta | None = timedelta(hours=2)
        self.failure: Exception | None = None
        self.name: Callable[[int], str] = "token-{}".format
        self.was_asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def __call__(self) -> TokenReply:
        self.asked += 1
        self.was_asked.set()
        await self.may_answer.wait()
        if self.failure is not None:
            raise self.failure
        valid_until = None if self.valid_for is None else self.clock.now() + self.valid_for
        return TokenReply(self.name(self.asked), valid_until, 100 - self.asked)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def ask(clock: ManualClock) -> Counter:
    return Counter(clock)


@pytest.fixture
def store() -> TokensInMemory:
    return TokensInMemory()


@pytest.fixture
def tokens(store: TokensInMemory, ask: Counter, clock: ManualClock) -> Tokens:
    return Tokens(store, ask, clock)


async def test_many_callers_at_once_make_one_question(tokens: Tokens, ask: Counter) -> None:
    assert set(await asyncio.gather(*(tokens.current() for _ in range(64)))) == {"token-1"}
    assert ask.asked == 1


async def test_many_callers_whose_token_was_refused_make_one_question(tokens: Tokens, ask: Counter) -> None:
    refused = await tokens.current()

    assert set(await asyncio.gather(*(tokens.current(refused=refused) for _ in range(64)))) == {"token-2"}
    assert ask.asked == 2


async def test_processes_share_one_token(store: TokensInMemory, ask: Counter, clock: ManualClock) -> None:
    processes = [Tokens(store, ask, clock) for _ in range(8)]

    assert set(await asyncio.gather(*(each.current() for each in processes))) == {"token-1"}
    assert set(await asyncio.gather(*(each.current(refused="token-1") for each in processes))) == {"token-2"}
    assert ask.asked == 2


@pytest.mark.parametrize(("waited", "asked"), [(timedelta(minutes=114), 1), (timedelta(minutes=115), 2)])
async def test_a_token_is_replaced_five_minutes_before_it_ends(
    tokens: Tokens, ask: Counter, clock: ManualClock, waited: timedelta, asked: int
) -> None:
    await tokens.current()
    clock.time += waited
    await tokens.current()

    assert ask.asked == asked


@pytest.mark.parametrize("valid_for", [None, timedelta(hours=-3)])
async def test_a_token_whose_end_cannot_be_believed_is_used_for_as_long_as_the_document_says(
    tokens: Tokens, ask: Counter, clock: ManualClock, valid_for: timedelta | None
) -> None:
    ask.valid_for = valid_for
    await tokens.current()
    clock.time += timedelta(minutes=114)
    await tokens.current()

    assert ask.asked == 1


async def test_a_token_that_ends_within_minutes_is_still_used(tokens: Tokens, ask: Counter, clock: ManualClock) -> None:
    ask.valid_for = timedelta(minutes=2)
    await tokens.current()
    clock.time += timedelta(seconds=59)
    await tokens.current()

    assert ask.asked == 1


async def test_who_joins_a_renewal_that_finds_the_refused_token_asks_again(
    store: TokensInMemory, ask: Counter, clock: ManualClock
) -> None:
    await Tokens(store, ask, clock).current()
    late = Tokens(store, ask, clock)

    one, other = await asyncio.gather(late.current(), late.current(refused="token-1"))

    assert (one, other) == ("token-1", "token-2")


async def test_a_server_that_gives_the_refused_token_again_is_not_asked_for_ever(tokens: Tokens, ask: Counter) -> None:
    ask.name = lambda _: "the-same"
    refused = await tokens.current()

    assert await tokens.current(refused=refused) == "the-same"
    assert ask.asked <= 3


async def test_a_failure_is_told_to_all_who_wait_and_the_next_one_asks_again(tokens: Tokens, ask: Counter) -> None:
    ask.failure = AnalyserUnavailable("getToken: ConnectError")
    told = await asyncio.gather(*(tokens.current() for _ in range(64)), return_exceptions=True)
    ask.failure = None

    assert {type(each) for each in told} == {AnalyserUnavailable}
    assert ask.asked == 1
    assert await tokens.current() == "token-2"


async def test_a_caller_who_gives_up_does_not_stop_the_others(tokens: Tokens, ask: Counter) -> None:
    ask.may_answer.clear()
    callers = [asyncio.create_task(tokens.current()) for _ in range(2)]
    await ask.was_asked.wait()
    callers[0].cancel()
    await asyncio.wait(callers[:1])
    ask.may_answer.set()

    assert await callers[1] == "token-1"


async def test_a_refused_account_is_left_alone_for_a_minute(tokens: Tokens, ask: Counter, clock: ManualClock) -> None:
    ask.failure = CredentialsRefused()
    for _ in range(3):
        with pytest.raises(CredentialsRefused) as refused:
            await tokens.current()
    assert ask.asked == 1
    assert refused.value.retry_after == timedelta(minutes=1)

    clock.time += timedelta(minutes=1)
    ask.failure = None
    assert await tokens.current() == "token-2"


async def test_credits_are_asked_afresh_and_kept(tokens: Tokens, store: TokensInMemory, ask: Counter) -> None:
    await tokens.current()

    assert (await tokens.ask_afresh()).remaining == store.remaining == 98
    assert await tokens.current() == "token-2"


async def test_closing_ends_a_question_that_is_under_way(tokens: Tokens, ask: Counter) -> None:
    ask.may_answer.clear()
    caller = asyncio.create_task(tokens.current())
    await ask.was_asked.wait()

    await tokens.aclose()

    with pytest.raises(asyncio.CancelledError):
        await caller


async def test_what_is_held_shows_no_token(tokens: Tokens, store: TokensInMemory) -> None:
    await tokens.current()

    assert "token-1" not in repr(store.held)
