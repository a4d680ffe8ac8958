"""How long a caller is waited for in the middle of a request: a head must come whole in time, a body must move.

Whoever falls silent there would hold a connection, and a draft of a picture, for ever. A body may take as long as it
needs while it moves; the time that we take ourselves never counts.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .errors import BodyTooSlow


class BodyInTime:
    """ASGI middleware: a body that does not move within `limit` is refused, and its connection closed."""

    def __init__(self, app: ASGIApp, limit: timedelta) -> None:
        self._app = app
        self._limit_s = limit.total_seconds()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_whole = False

        async def receive_in_time() -> Message:
            nonlocal is_whole
            if is_whole:
                return await receive()  # tells when the caller leaves, which it need not do soon
            try:
                async with asyncio.timeout(self._limit_s):
                    message = await receive()
            except TimeoutError as exc:
                text = f"nothing of the body came for {self._limit_s:g} s"
                raise BodyTooSlow(text, headers={"Connection": "close"}) from exc
            is_whole = not message.get("more_body", False)
            return message

        await self._app(scope, receive_in_time if scope["type"] == "http" else receive, send)


class HeadInTime(HttpToolsProtocol):
    """uvicorn's protocol, which ends a connection that rests between requests, but not one that rests within a head.

    Its own timer serves for both: it is stopped by whatever comes in, so it is set again while no request is under way.
    A head has `timeout_keep_alive` seconds in all; what is left of a body that was refused already has as long as it
    moves.
    """

    _head_due: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it, too
        super().connection_made(transport)
        self._expect_head()
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.transport.is_closing() and (self.cycle is None or self.cycle.response_complete):
            self._wait()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._expect_head()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._head_due = None

    def _expect_head(self) -> None:
        self._head_due = self.loop.time() + self.timeout_keep_alive

    def _wait(self) -> None:
        self._unset_keepalive_if_required()
        due = self._head_due or self.loop.time() + self.timeout_keep_alive
        self.timeout_keep_alive_task = self.loop.call_at(due, self.timeout_keep_alive_handler)
