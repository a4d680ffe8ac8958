"""The guide's pages for people, as `make pages` rendered them, under `/guide`.

Nothing is loaded from anywhere else, and a browser is told so: the policy that comes with the pages lets it run their
own scripts alone. Whatever leads from one address to another is relative: a gateway may show us under another scheme,
host or folder.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SITE = Path(str(files("fundus_relay.guide"))) / "site"
POLICY = "content-security-policy.txt"
MISSING = (
    "The pages were not rendered when this was installed: `make pages` does it. GET /fhir/metadata works without.\n"
)
NOT_THERE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Not there - Fundus Relay</title></head>
<body><h1>There is no such page</h1><p><a href="{begin}">To the beginning of the guide</a></p></body></html>
"""


def routes(site: Path = SITE) -> list[Route | Mount]:
    """What answers below `/guide`."""
    policy = site / POLICY
    if not policy.exists():
        return [Route("/guide", _missing), Route("/guide/{path:path}", _missing)]
    headers = {
        "content-security-policy": policy.read_text(),
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-cache",  # ask each time whether it is still so: there are ETags
    }
    return [Route("/guide", _to_the_folder), Mount("/guide", _With(_Pages(directory=site, html=True), headers))]


async def _missing(_: Request) -> Response:
    return PlainTextResponse(MISSING, 404)


async def _to_the_folder(_: Request) -> Response:
    """Pages refer to each other, so their folder has to be one for the browser, too."""
    return RedirectResponse("guide/", 308)


class _Pages(StaticFiles):
    """Files, and folders under their `index.html`."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        try:
            answer = await super().get_response(path, scope)
        except HTTPException as exc:
            if exc.status_code != 404:
                raise
            return HTMLResponse(NOT_THERE.format(begin=_begin(scope)), 404)
        if isinstance(answer, RedirectResponse):
            folder = scope["path"].rpartition("/")[2]
            return RedirectResponse(f"./{quote(folder)}/", 308)
        return answer


def _begin(scope: Scope) -> str:
    """The way from a page that is not there to the first one."""
    folders = scope["raw_path"].partition(b"?")[0].partition(b"/guide/")[2].count(b"/")
    return "../" * folders or "./"


class _With:
    """ASGI middleware: these headers with every answer."""

    def __init__(self, app: ASGIApp, headers: dict[str, str]) -> None:
        self._app = app
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *self._headers]}
            await send(message)

        await self._app(scope, receive, with_headers)
