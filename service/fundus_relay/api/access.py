"""Who is let in: a bearer token that is known, with the scope that the request asks for. Source: RFC 6750.

What is not named here as open asks for a token. A GET, and a search by POST, is `read`; all else is `write`.
"""

from __future__ import annotations

import re
from typing import Protocol

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Asked

from fundus_relay.domain.access import Caller, Scope

from .errors import HttpRefusal, NotAuthenticated, NotPermitted, refusal_response

OPEN = re.compile(r"/(?:livez|readyz|fhir/metadata)/?|/guide(?:/.*)?", re.DOTALL)
"""Paths that show nothing of anybody."""

_SEARCH_BY_FORM = re.compile(r"/fhir/[^/]+/_search/?")
_BEARER = re.compile(r"bearer +([!-~]+) *", re.IGNORECASE)


class Callers(Protocol):
    """Who may call. Tokens of another kind, such as SMART's, come in as another of these."""

    def of(self, token: str) -> Caller | None:
        """Whose token this is, or None."""
        ...


class Access:
    """ASGI middleware. Without callers everybody is let in."""

    def __init__(self, app: ASGIApp, callers: Callers | None) -> None:
        self._app, self._callers = app, callers

    async def __call__(self, scope: Asked, receive: Receive, send: Send) -> None:
        if self._callers is None or scope["type"] != "http" or OPEN.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        try:
            caller = _caller(Headers(scope=scope), self._callers)
            scope["caller"] = caller
            _permit(caller, needed(scope["method"], scope["path"]))
        except HttpRefusal as why:
            await refusal_response(why)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def needed(method: str, path: str) -> Scope:
    """The scope for a request."""
    is_search = method == "POST" and _SEARCH_BY_FORM.fullmatch(path)
    return Scope.READ if method in {"GET", "HEAD"} or is_search else Scope.WRITE


def _caller(headers: Headers, callers: Callers) -> Caller:
    stated = headers.getlist("authorization")
    found = _BEARER.fullmatch(stated[0]) if len(stated) == 1 else None
    if found is None:
        raise NotAuthenticated(headers={"WWW-Authenticate": 'Bearer realm="fundus-relay"'})
    caller = callers.of(found[1])
    if caller is None:
        how = 'Bearer realm="fundus-relay", error="invalid_token", error_description="this token is not known"'
        raise NotAuthenticated(headers={"WWW-Authenticate": how})
    return caller


def _permit(caller: Caller, scope: Scope) -> None:
    if scope not in caller.scopes:
        how = f'Bearer realm="fundus-relay", error="insufficient_scope", scope="{scope}"'
        raise NotPermitted(f"this needs the scope {scope}", headers={"WWW-Authenticate": how})
