"""The stand-in's HTTP interface: the four calls of the document under `/v1`.

Source: Netra API 1.0. HTTP always says 200; the body's `status` is 200, 411 or 500.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .admin import Admin
from .book import Book, Job
from .forms import MAX_BYTES, Form, is_jpeg_or_png, picture, read_form, text
from .light_table import FAILED, LightTable
from .onlooker import Onlooker
from .page import page
from .settings import StandinSettings

WARNING = "fundus-relay stand-in; not a medical device"

log = logging.getLogger(__name__)

Call = Callable[[Form], Mapping[str, object]]


class Refused(Exception):
    """A no in the body, under HTTP 200."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Dropped(Exception):
    """The connection is to be cut without an answer."""


class Silent(Exception):
    """The caller is to wait until it gives up."""


def standin(settings: StandinSettings) -> Starlette:
    """The ASGI application.

    `app.state.connections`, when the server fills it with its connections, is where a connection is cut.
    """
    desk = Desk(settings)
    app = Starlette(routes=desk.routes(), lifespan=desk.lifespan, middleware=[Middleware(Labelled)])
    app.state.connections = ()
    return app


class Labelled:
    """Says on every answer what gave it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def label(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Standin"] = WARNING
            await send(message)

        await self._app(scope, receive, label)


class Desk:
    """The calls, over book and light table."""

    def __init__(self, settings: StandinSettings) -> None:
        self.settings = settings
        self.book = Book(settings.state, settings.credits)
        self.table = LightTable(self.book, settings, Onlooker())
        self.admin = Admin(self.book, settings)
        self.chance = random.Random(settings.seed)  # noqa: S311 - of faults

    def routes(self) -> list[Route]:
        calls: dict[str, Call] = {
            "getToken": self.get_token,
            "doAnalysis": self.do_analysis,
            "getStatus": self.get_status,
            "getResult": self.get_result,
        }
        return [
            *(Route(f"/v1/{name}", self._answering(name, call), methods=["POST"]) for name, call in calls.items()),
            *self.admin.routes(),
            Route("/", self.page),
            Route("/livez", _live),
        ]

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        log.warning("standin-is-no-medical-device")
        self.table.open()
        yield
        await self.table.close()
        self.book.close()

    # ---------------------------------------------------------------------------------------------------------- calls

    def get_token(self, form: Form) -> Mapping[str, object]:
        name, password = self.settings.username, self.admin.password.get_secret_value()
        is_known = hmac.compare_digest(form.get("username", b""), name.encode()) and hmac.compare_digest(
            form.get("password", b""), password.encode()
        )
        if not is_known:
            raise Refused(411, "Invalid username or password.")
        if text(form, "apiRequestType") not in ("", "DIAB_RETINA"):
            raise Refused(411, "Unknown apiRequestType.")
        token, valid_until = self.book.new_token()
        return {
            "status": 200,
            "token": token,
            "remaining": self.book.remaining,
            "validUpto": int(valid_until * 1000),
            "standin": True,
        }

    def do_analysis(self, form: Form) -> Mapping[str, object]:
        self._check_token(form)
        if self.admin.faults.strikes("drop_before"):
            raise Dropped
        data = picture(form)
        if data is None or not is_jpeg_or_png(data):
            raise Refused(411, "LC-ERR-0034 : Only jpeg and png type images allowed.")
        if len(data) > MAX_BYTES:
            raise Refused(411, "LC-ERR-0033 : Max Allowed Single Image Size 5 MB.")
        job_id = self.book.take(data, self.settings.username, keep=self.table.looks)
        if job_id is None:
            raise Refused(411, "No API credits remaining.")
        self._begin(job_id)
        if self.admin.faults.strikes("drop_after"):
            raise Dropped
        if self.admin.faults.strikes("silent_after"):
            raise Silent
        return {"status": 200, "jobId": job_id, "jobStatus": "QUEUED", "remaining": self.book.remaining}

    def _begin(self, job_id: str) -> None:
        faults = self.admin.faults
        if faults.strikes("stuck"):
            return
        if faults.strikes("hold"):
            self.book.end(job_id, "HOLD", None, None)
        elif faults.strikes("fail"):
            self.book.end(job_id, "ERROR", None, FAILED)
        else:
            self.table.put(job_id)

    def get_status(self, form: Form) -> Mapping[str, object]:
        job = self._job(form)
        if self.settings.status_shape == "status" and job.state != "QUEUED":
            return {"status": job.state, "jobId": job.id}
        return {"status": 200, "jobId": job.id, "statusJob": job.state, "remaining": self.book.remaining}

    def get_result(self, form: Form) -> Mapping[str, object]:
        job = self._job(form)
        told: dict[str, object] = {"status": 200, "jobId": job.id}
        if job.used_on is not None:
            told |= {"usedOn": str(job.used_on), "usedBy": job.username}
        told["statusJob"] = job.state
        if job.result is not None:
            told["result"] = job.result
        if job.message is not None:
            told["message"] = job.message
        return told

    def _check_token(self, form: Form) -> None:
        if not self.book.is_valid(text(form, "token")):
            raise Refused(411, "Invalid or expired token.")

    def _job(self, form: Form) -> Job:
        self._check_token(form)
        job = self.book.job(text(form, "jobid"))
        if job is None:
            raise Refused(411, "Unknown jobId.")
        return job

    # ----------------------------------------------------------------------------------------------------------- HTTP

    def _answering(self, name: str, call: Call) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                form = await read_form(request)
            except HTTPException:
                return _error()
            if self.admin.faults.hit(name):
                await asyncio.sleep(self.admin.faults.latency_s)
                fault = self._fault()
                if fault is not None:
                    return fault
            try:
                return JSONResponse(call(form))
            except Refused as why:
                return JSONResponse({"status": why.status, "message": why.message})
            except Dropped:
                _cut(request)
            except Silent:
                await _until_nobody_waits(request)
            return PlainTextResponse("", 500)  # to nobody

        return answer

    def _fault(self) -> Response | None:
        """What is answered in place of an answer, if that is what is wanted now."""
        faults = self.admin.faults
        if faults.strikes("unavailable") or self.chance.random() < faults.unavailable_rate:
            return PlainTextResponse("", 503, {"Retry-After": "1"})
        if faults.strikes("error") or self.chance.random() < faults.error_rate:
            return _error()
        return None

    async def page(self, _: Request) -> Response:
        return HTMLResponse(page(self.book.counts()))


def _cut(request: Request) -> None:
    """End the caller's connection without a word."""
    for connection in tuple(request.app.state.connections):
        if getattr(connection, "client", None) == request.scope.get("client"):
            connection.transport.abort()
            return
    raise RuntimeError("a connection cannot be cut: the server did not put its connections into app.state")


async def _until_nobody_waits(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _error() -> Response:
    return JSONResponse({"status": 500, "message": "Error in API"})


async def _live(_: Request) -> Response:
    return PlainTextResponse("live\n")
