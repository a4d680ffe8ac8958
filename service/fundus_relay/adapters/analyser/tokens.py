"""The token that all processes share: one of them asks for it, early, and once when it is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from fundus_relay.domain.errors import CredentialsRefused
from fundus_relay.netra.replies import TokenReply
from fundus_relay.pipeline.ports import Clock

EARLY = timedelta(minutes=5)
"""How long before its end a token is replaced."""

LIFETIME = timedelta(hours=2)
"""Taken when `validUpto` says nothing that can be believed. Source: "Valid for 2 hours", getToken, Netra API 1.0."""

CALM = timedelta(minutes=1)
"""How long a refused account is left alone: who knocks with a wrong password again and again gets locked out."""


@dataclass(frozen=True, slots=True)
class Held:
    """The token as it stands in the store.

    Attributes:
        use_until: when it is to be replaced, a little before it ends.
    """

    token: str | None = field(default=None, repr=False)
    use_until: datetime | None = None


class Turn(Protocol):
    """Exclusive access to the store."""

    held: Held

    async def keep(self, held: Held, remaining: int | None, at: datetime) -> None:
        """Put a new token there, with the credits that came with it; durable when the turn ends."""
        ...


class TokenStore(Protocol):
    """Where the token lies, for all processes. Both raise StoreUnavailable."""

    async def look(self) -> Held:
        """The token as it is now; waits for nobody."""
        ...

    def turn(self) -> AbstractAsyncContextManager[Turn]:
        """Exclusive access; waits until nobody else has it."""
        ...


class Tokens:
    """This process's view of the token. Any number of callers make one question.

    Args:
        ask: calls getToken.
    """

    def __init__(self, store: TokenStore, ask: Callable[[], Awaitable[TokenReply]], clock: Clock) -> None:
        self._store = store
        self._ask = ask
        self._clock = clock
        self._held = Held()
        self._renewing: asyncio.Task[str] | None = None
        self._calm_until: datetime | None = None

    async def current(self, *, refused: str | None = None) -> str:
        """A token that is good for minutes, and is not the one that was just refused.

        Raises: AnalyserUnavailable, CredentialsRefused, StoreUnavailable.
        """
        known = self._usable(self._held, refused) or await self._renewed(refused)
        if known == refused:  # we joined callers who did not know yet that it is refused
            known = await self._renewed(refused)
        return known

    async def ask_afresh(self) -> TokenReply:
        """Call getToken now, whatever is known. Raises as `current`."""
        async with self._store.turn() as turn:
            return await self._ask_and_keep(turn)

    async def aclose(self) -> None:
        """Stop asking."""
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait([self._renewing])

    async def _renewed(self, refused: str | None) -> str:
        """Join the renewal that is under way, or begin one; it goes on when a caller gives up."""
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._renew(refused))
            self._renewing.add_done_callback(_look_at)
        return await asyncio.shield(self._renewing)

    async def _renew(self, refused: str | None) -> str:
        self._held = await self._store.look()
        if (known := self._usable(self._held, refused)) is not None:
            return known
        async with self._store.turn() as turn:
            self._held = turn.held  # another process may have been faster
            if (known := self._usable(self._held, refused)) is not None:
                return known
            return (await self._ask_and_keep(turn)).token

    async def _ask_and_keep(self, turn: Turn) -> TokenReply:
        now = self._clock.now()
        if self._calm_until is not None and now < self._calm_until:
            raise CredentialsRefused(retry_after=self._calm_until - now)
        try:
            reply = await self._ask()
        except CredentialsRefused as why:
            self._calm_until = now + CALM
            raise CredentialsRefused(str(why), retry_after=CALM) from why
        held = Held(reply.token, _use_until(reply.valid_until, now))
        await turn.keep(held, reply.remaining, self._clock.now())
        self._held = held
        return reply

    def _usable(self, held: Held, refused: str | None) -> str | None:
        if held.token is None or held.use_until is None or held.token == refused:
            return None
        return held.token if self._clock.now() < held.use_until else None


def _use_until(valid_until: datetime | None, now: datetime) -> datetime:
    """Five minutes before its end, or at half its life when that is later.

    A token that has already ended by our clock says that the clocks differ; its refusal will tell when it ends.
    """
    if valid_until is None or valid_until <= now:
        valid_until = now + LIFETIME
    return max(valid_until - EARLY, now + (valid_until - now) / 2)


def _look_at(task: asyncio.Task[str]) -> None:
    """So that a failure is not reported as unseen when every caller has given up."""
    if not task.cancelled():
        task.exception()
