"""The outermost loop: every request is logged without what it carries, and a bug gets an answer without details."""

from __future__ import annotations

import logging
import time
from typing import Any
from uuid import uuid4

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fundus_relay import metrics

from .errors import bug_response

log = logging.getLogger(__name__)


class Guard:
    """ASGI middleware. Paths and queries hold ids of patients: the log gets the name of the endpoint instead."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, began, status = uuid4().hex, time.perf_counter(), 0

        async def noting_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], (b"x-request-id", request_id.encode())]}
            await send(message)

        try:
            await self._app(scope, receive, noting_send)
        except Exception:
            log.exception("request-failed", extra={"request": request_id})
            if status:
                raise  # the answer has begun: only a broken connection tells that it is not whole
            await bug_response(request_id)(scope, receive, noting_send)
        finally:
            fields: dict[str, Any] = {
                "request": request_id,
                "method": metrics.method_known(scope["method"]),
                "route": getattr(scope.get("endpoint"), "__name__", None),
                "status": status,
                "caller": getattr(scope.get("caller"), "name", None),
                "duration_ms": round((time.perf_counter() - began) * 1000, 1),
            }
            log.info("request", extra=fields)
            metrics.answered(fields["route"], scope["method"], status, time.perf_counter() - began)
