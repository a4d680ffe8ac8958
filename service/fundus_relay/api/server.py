"""The HTTP server of the service, the stand-in and the demonstration EHR: uvicorn, with our limits, on our socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import ceil
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fundus_relay.settings import Http

from .silence import CallerInTime

STOP_WITHIN_S = 25
TAKING_LEAVE_S = 1.0
"""In which callers who keep connections are told with their next answer that this one ends."""


class CannotListen(Exception):
    """The address is taken, not ours, or not to be had."""


async def listen(app: Any, http: Http, stop: asyncio.Event, *, leave_s: float = 0) -> None:  # Any: an ASGI application
    """Answer until `stop` is set, then finish what is under way. Sets `stop` when the server ends by itself.

    Args:
        leave_s: that it goes on answering then, closing each connection with its answer: a request that meets the end
            of a connection which rests is lost, and who sent it cannot know whether it was read.

    Raises: CannotListen.
    """
    config = uvicorn.Config(
        _Leaving(app, stop),
        http=CallerInTime,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=http.max_connections,
        timeout_keep_alive=ceil(http.silence.total_seconds()),
        timeout_graceful_shutdown=STOP_WITHIN_S,
    )
    server = _Server(config)
    if hasattr(app, "state"):
        app.state.connections = server.server_state.connections
    with bound(http.host, http.port) as listening:
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        waiting = asyncio.create_task(stop.wait())
        await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
        await _take_leave(server, serving, leave_s)
        server.should_exit = True
        waiting.cancel()
        stop.set()
        await serving


async def _take_leave(server: uvicorn.Server, serving: asyncio.Task[None], leave_s: float) -> None:
    """Return when nobody is connected any more, and at the latest after so many seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(leave_s):
            while server.server_state.connections and not serving.done():  # noqa: ASYNC110 - uvicorn tells nobody
                await asyncio.sleep(0.02)


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises CannotListen."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as why:
        raise CannotListen(f"cannot listen on {host}:{port}: {why.strerror}") from why
    # asyncio sets this on sockets of its own making only; without it an answer waits for the caller's delayed ACK
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


class _Leaving:
    """ASGI middleware: from the moment in which `stop` is set every answer is the last of its connection."""

    def __init__(self, app: ASGIApp, stop: asyncio.Event) -> None:
        self._app = app
        self._stop = stop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_last(message: Message) -> None:
            if message["type"] == "http.response.start" and self._stop.is_set():
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await send(message)

        await self._app(scope, receive, send_last)


class _Server(uvicorn.Server):
    """A server that leaves the signals to us."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
