"""Requests that bring something begin a trace, or go on with their caller's; those that read are no part of any."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as Asked

from fundus_relay import metrics, tracing
from fundus_relay.domain.access import Scope

from .access import needed


class Traced:
    """ASGI middleware, behind the one that knows callers: who is not let in begins no trace."""

    def __init__(self, app: ASGIApp, tracer: tracing.Tracer) -> None:
        self._app, self._tracer = app, tracer

    async def __call__(self, scope: Asked, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or needed(scope["method"], scope["path"]) is not Scope.WRITE:
            await self._app(scope, receive, send)
            return
        status = 0

        async def noting_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        stated = Headers(scope=scope).getlist("traceparent")
        with self._tracer.request(stated[0] if len(stated) == 1 else ""):
            try:
                await self._app(scope, receive, noting_send)
            finally:
                route = getattr(scope.get("endpoint"), "__name__", None)
                tracing.tell(route=route, method=metrics.method_known(scope["method"]), status=status)
                if status >= 500:
                    tracing.failed(str(status))
