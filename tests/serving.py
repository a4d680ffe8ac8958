"""The real application, and a real server on loopback for as long as a context lasts."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from tests.fakes.study_archive import FakeStudyArchive
from tests.said import Heard

from fundus_relay.adapters.blobs import DirectoryBlobs
from fundus_relay.adapters.clock import SystemClock
from fundus_relay.adapters.image_archive import HttpImageArchive
from fundus_relay.api.app import application
from fundus_relay.pipeline.ports import Ledger
from fundus_relay.pipeline.receive import Limits


def an_application(ledger: Ledger, folder: Path, **how: Any) -> FastAPI:  # Any: as `application`
    """The FHIR endpoint over a real ledger and blobs in a folder; override what matters."""
    parts: dict[str, Any] = {
        "blobs": DirectoryBlobs(folder),
        "archive": HttpImageArchive(sources=(), private_networks=()),
        "studies": FakeStudyArchive(),
        "clock": SystemClock(),
        "limits": Limits(),
        "max_body_bytes": 30_000_000,
        **how,
    }
    app = application(ledger=ledger, **parts)
    app.add_middleware(Heard)
    return app


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # the test runner's own stay


@asynccontextmanager
async def served(app: Any, **tls: Any) -> AsyncIterator[str]:  # Any: an ASGI application; uvicorn's settings
    """Its base URL, `http://127.0.0.1:PORT`, once it answers; `https://localhost:PORT` when there is a certificate."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server = _Server(uvicorn.Config(app, log_config=None, http="httptools", timeout_graceful_shutdown=1, **tls))
    app.state.connections = server.server_state.connections
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        while not server.started:
            if serving.done():
                serving.result()
                raise RuntimeError("the server ended before it started")
            await asyncio.sleep(0.01)
        yield f"{'https://localhost' if tls else 'http://127.0.0.1'}:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
        listening.close()
