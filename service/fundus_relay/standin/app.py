"""The stand-in's HTTP interface: the four calls of the document under `/v1`, faults and counts under `/admin`.

Source: Netra API 1.0. HTTP always says 200; the body's `status` is 200, 411 or 500.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from html import escape

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from .book import Book, Job
from .faults import Faults
from .forms import MAX_BYTES, Form, is_jpeg_or_png, picture, read_form, text
from .light_table import FAILED, LightTable
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


def standin(settings: StandinSettings) -> Starlette:
    """The ASGI application.

    `app.state.connections`, when the server fills it with its connections, is where a connection is cut.
    """
    desk = Desk(settings)
    app = Starlette(routes=desk.routes(), lifespan=desk.lifespan)
    app.state.connections = ()
    return app


class Desk:
    """The calls, over book and light table."""

    def __init__(self, settings: StandinSettings) -> None:
        self.settings = settings
        self.book = Book(settings.state, settings.credits)
        self.table = LightTable(self.book, settings)
        self.faults = Faults(settings.latency_s, settings.error_rate, random.Random(settings.seed))  # noqa: S311 - faults

    def routes(self) -> list[Route]:
        calls: dict[str, Call] = {
            "getToken": self.get_token,
            "doAnalysis": self.do_analysis,
            "getStatus": self.get_status,
            "getResult": self.get_result,
        }
        return [
            *(Route(f"/v1/{name}", self._answering(name, call), methods=["POST"]) for name, call in calls.items()),
            Route("/", self.page),
            Route("/livez", _live),
            Route("/admin/faults", self.set_faults, methods=["GET", "POST"]),
            Route("/admin/results", self.choose_result, methods=["POST"]),
            Route("/admin/account", self.set_account, methods=["POST"]),
            Route("/admin/counts", self.counts),
            Route("/admin/jobs", self.jobs),
            Route("/admin/reset", self.reset, methods=["POST"]),
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
        is_known = hmac.compare_digest(text(form, "username"), self.settings.username) and hmac.compare_digest(
            form.get("password", b""), self.settings.password.get_secret_value().encode()
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
        if self.faults.strikes("drop_before"):
            raise Dropped
        data = picture(form)
        if data is None or not is_jpeg_or_png(data):
            raise Refused(411, "LC-ERR-0034 : Only jpeg and png type images allowed.")
        if len(data) > MAX_BYTES:
            raise Refused(411, "LC-ERR-0033 : Max Allowed Single Image Size 5 MB.")
        job_id = self.book.take(data, self.settings.username)
        if job_id is None:
            raise Refused(411, "No API credits remaining.")
        self._begin(job_id)
        if self.faults.strikes("drop_after"):
            raise Dropped
        return {"status": 200, "jobId": job_id, "jobStatus": "QUEUED", "remaining": self.book.remaining}

    def _begin(self, job_id: str) -> None:
        if self.faults.strikes("stuck"):
            return
        if self.faults.strikes("hold"):
            self.book.end(job_id, "HOLD", None, None)
        elif self.faults.strikes("fail"):
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

    def _answering(self, name: str, call: Call) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            form = await read_form(request)
            if self.faults.hits(name):
                await asyncio.sleep(self.faults.latency_s)
                if self.faults.strikes("unavailable"):
                    return PlainTextResponse("", 503, {"Retry-After": "1"})
                if self.faults.strikes("error") or self.faults.chance.random() < self.faults.error_rate:
                    return _told({"status": 500, "message": "Error in API"})
            try:
                return _told(call(form))
            except Refused as why:
                return _told({"status": why.status, "message": why.message})
            except Dropped:
                _cut(request)
                return PlainTextResponse("", 500)

        return answer

    # ---------------------------------------------------------------------------------------------------------- admin

    async def set_faults(self, request: Request) -> Response:
        """Faults from now on; see `faults.COUNTED`. Open to whoever reaches the port: bind it to loopback."""
        if request.method == "POST":
            try:
                self.faults.change(await request.json())
            except ValueError as why:
                return JSONResponse({"error": str(why)}, 422)
        return JSONResponse(self.faults.told())

    async def choose_result(self, request: Request) -> Response:
        """{"sha256": ..., "state": "COMPLETED", "result": "...", "message": null}: the answer for that picture."""
        said = await request.json()
        self.book.choose(said["sha256"], said.get("state", "COMPLETED"), said.get("result"), said.get("message"))
        return JSONResponse(said)

    async def set_account(self, request: Request) -> Response:
        """{"credits": n} and {"revoke_tokens": true}."""
        said = await request.json()
        if "credits" in said:
            self.book.set_credits(int(said["credits"]))
        if said.get("revoke_tokens"):
            self.book.revoke_tokens()
        return JSONResponse(self.book.counts())

    async def counts(self, _: Request) -> Response:
        return JSONResponse(self.book.counts())

    async def jobs(self, request: Request) -> Response:
        """Jobs of the picture with ?sha256=, newest first."""
        jobs = self.book.jobs_of(request.query_params.get("sha256", ""))
        return JSONResponse([{"jobId": job.id, "state": job.state, "result": job.result} for job in jobs])

    async def reset(self, _: Request) -> Response:
        self.faults.clear()
        self.book.reset(self.settings.credits)
        return JSONResponse(self.book.counts())

    async def page(self, _: Request) -> Response:
        """What a person sees who opens the address."""
        rows = "".join(
            f"<tr><th>{escape(str(name))}</th><td>{escape(str(value))}</td></tr>"
            for name, value in self.book.counts().items()
            if name != "by_sha256"
        )
        return HTMLResponse(
            "<!doctype html><meta charset=utf-8><title>Stand-in</title>"
            "<style>body{font:16px system-ui;margin:2rem auto;max-width:50rem;padding:0 1rem}"
            "p.warning{background:#fff3cd;padding:.6rem 1rem;border-left:.4rem solid #e69f00}"
            "th{text-align:left;padding-right:2rem}</style>"
            "<h1>Stand-in for the Netra.AI API</h1>"
            "<p class=warning><strong>No medical device.</strong> This imitates the analyser for demonstration and "
            "tests. Nothing that it says may be used for care.</p>"
            f"<table>{rows}</table>"
            "<p>Its network was trained on the Indian Diabetic Retinopathy Image Dataset (Porwal et al., 2018, CC BY "
            "4.0); its rule's counts come from the SRahim DR image data set (2025). See the model card.</p>",
            headers={"X-Standin": WARNING},
        )


def _cut(request: Request) -> None:
    """End the caller's connection without a word."""
    for connection in tuple(request.app.state.connections):
        if getattr(connection, "client", None) == request.scope.get("client"):
            connection.transport.abort()


def _told(body: Mapping[str, object]) -> Response:
    return JSONResponse(body, headers={"X-Standin": WARNING})


async def _live(_: Request) -> Response:
    return PlainTextResponse("live\n", headers={"X-Standin": WARNING})
