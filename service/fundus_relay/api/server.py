"""The HTTP server of the service, the stand-in and the demonstration EHR: uvicorn, with our limits, on our socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from typing import Any

import uvicorn

from fundus_relay.settings import Http

from .silence import CallerInTime

STOP_WITHIN_S = 25


class CannotListen(Exception):
    """The address is taken, not ours, or not to be had."""


async def listen(app: Any, http: Http, stop: asyncio.Event) -> None:  # Any: an ASGI application
    """Answer until `stop` is set, then finish what is under way. Sets `stop` when the server ends by itself.

    Raises: CannotListen.
    """
    config = uvicorn.Config(
        app,
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
        server.should_exit = True
        waiting.cancel()
        stop.set()
        await serving


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


class _Server(uvicorn.Server):
    """A server that leaves the signals to us."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
