"""How long a caller is waited for: a head must come whole in time, a body must move, an answer must be taken.

Whoever falls silent there would hold a connection, and a picture, for ever. A body and an answer may take as long as
they need while they move; the time that we take ourselves never counts. Nor may a head grow without end, which the
parser keeps in memory.
"""

from __future__ import annotations

import asyncio
import socket
from array import array
from datetime import timedelta
from fcntl import ioctl
from struct import pack
from termios import TIOCOUTQ

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fundus_relay import metrics

from .errors import BodyTooSlow

LONGEST_HEAD = 64 * 1024
"""Bytes, beyond those that came in one piece. A body may need a quarter of its length for its chunks' own heads."""

HEAD_TOO_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


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


class CallerInTime(HttpToolsProtocol):
    """uvicorn's protocol, which ends a connection that rests between requests, but not within a head or an answer.

    Its own timer serves for both: it is stopped by whatever comes in, so it is set again while no request is under way.
    A head has `timeout_keep_alive` seconds in all; what is left of a body that was refused already has as long as it
    moves. An answer of which nothing was taken in that time is not waited for: the connection is cut.
    """

    _head_due: float | None = None
    _frame_bytes = 0  # of this request that are not body
    _body_bytes = 0
    _taking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it, too
        super().connection_made(transport)
        self._expect_head()
        self._wait()

    def data_received(self, data: bytes) -> None:
        self._frame_bytes += len(data)
        super().data_received(data)
        if self._frame_bytes > LONGEST_HEAD + self._body_bytes // 4 and not self.transport.is_closing():
            self._refuse_head()
        if not self.transport.is_closing() and (self.cycle is None or self.cycle.response_complete):
            self._wait()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._frame_bytes = self._body_bytes = 0
        self._expect_head()

    def on_headers_complete(self) -> None:
        is_sent_away = self._is_sent_away()
        super().on_headers_complete()
        self._head_due = None
        if is_sent_away:
            metrics.sent_away(self.scope["method"])

    def _is_sent_away(self) -> bool:
        """Whether uvicorn answers with 503 by itself, of which no application hears.

        Source: uvicorn 0.54, `on_headers_complete` of this protocol.
        """
        at_most = self.limit_concurrency
        return at_most is not None and (len(self.connections) >= at_most or len(self.tasks) >= at_most)

    def on_body(self, body: bytes) -> None:
        self._frame_bytes -= len(body)
        self._body_bytes += len(body)
        if not self.cycle.body and not self.cycle.response_complete:
            # as it is: uvicorn would copy it twice
            self.cycle.body, body = body, b""  # type: ignore[assignment]  # its `receive` makes bytes of whatever it is
        super().on_body(body)

    def _refuse_head(self) -> None:
        if self._head_due is not None and (self.cycle is None or self.cycle.response_complete):
            self.transport.write(HEAD_TOO_LONG)
        self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect_taking(self._untaken_bytes())

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_expecting()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_expecting()

    def _expect_taking(self, byte_count: int) -> None:
        self._taking = self.loop.call_later(self.timeout_keep_alive, self._see_taken, byte_count)

    def _see_taken(self, before: int) -> None:
        if (left := self._untaken_bytes()) < before:
            self._expect_taking(left)
        else:
            self._cut_off()

    def _untaken_bytes(self) -> int:
        """With those that the kernel holds: it asks for more by the megabyte, for which a slow line takes long."""
        held = array("i", [0])
        ioctl(self.transport.get_extra_info("socket").fileno(), TIOCOUTQ, held)
        return held[0] + self.transport.get_write_buffer_size()

    def _cut_off(self) -> None:
        # without lingering, or the kernel would keep for long what the caller does not take
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
        self.transport.abort()

    def _stop_expecting(self) -> None:
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None

    def _expect_head(self) -> None:
        self._head_due = self.loop.time() + self.timeout_keep_alive

    def _wait(self) -> None:
        self._unset_keepalive_if_required()
        due = self._head_due or self.loop.time() + self.timeout_keep_alive
        self.timeout_keep_alive_task = self.loop.call_at(due, self.timeout_keep_alive_handler)
