"""Two intakes to compare with: the least that a durable one must do, and what one writes without thinking of memory.

Usage: python -m tests.bench.references floor|naive PORT FOLDER
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from fhir.resources.R4B.media import Media


def floor(folder: Path) -> Callable[..., Awaitable[None]]:
    """Stream to a file, SHA-256, fsync, 201."""

    async def app(scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        if scope["type"] != "http":
            return
        digest = hashlib.sha256()
        path = folder / uuid4().hex
        with path.open("wb") as file:
            more = True
            while more:
                message = await receive()
                chunk, more = message.get("body", b""), message.get("more_body", False)
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            await asyncio.to_thread(os.fsync, file.fileno())
        body = digest.hexdigest().encode()
        await send({"type": "http.response.start", "status": 201, "headers": [(b"content-length", b"64")]})
        await send({"type": "http.response.body", "body": body})

    return app


def naive(folder: Path) -> FastAPI:
    """`await request.json()`, fhir.resources, b64decode."""
    app = FastAPI()

    @app.post("/fhir/Media")
    async def media(request: Request) -> JSONResponse:
        resource = Media.model_validate(await request.json())
        picture = base64.b64decode(resource.content.data)
        (folder / hashlib.sha256(picture).hexdigest()).write_bytes(picture)
        return JSONResponse({"resourceType": "Media", "id": uuid4().hex}, status_code=201)

    return app


def queued() -> FastAPI:
    """An analyser that is never done: what is measured against it is what asking costs."""
    app = FastAPI()
    asked = 0

    @app.post("/v1/getToken")
    async def token() -> dict[str, Any]:
        return {"status": 200, "token": "t" * 60, "remaining": 1000, "validUpto": int((time.time() + 7200) * 1000)}

    @app.post("/v1/getStatus")
    async def status() -> dict[str, Any]:
        nonlocal asked
        asked += 1
        return {"status": 200, "jobId": "job", "statusJob": "QUEUED"}

    @app.get("/asked")
    async def count() -> int:
        return asked

    return app


if __name__ == "__main__":
    kind, port, folder = sys.argv[1:]
    app: Any = {"floor": lambda: floor(Path(folder)), "naive": lambda: naive(Path(folder)), "queued": queued}[kind]()
    uvicorn.run(
        app, host="127.0.0.1", port=int(port), log_level="warning", http="httptools", lifespan="off", loop="asyncio"
    )
