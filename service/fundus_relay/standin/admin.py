"""What tests and demonstrations may do with the stand-in, under `/admin`: faults, chosen answers, account, counts.

Nothing protects these addresses but that they answer callers on loopback only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from ipaddress import IPv6Address, ip_address
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .book import Book
from .faults import Faults
from .settings import StandinSettings

Handler = Callable[[Request], Awaitable[Response]]


class Choice(BaseModel):
    """The answer for a picture, whatever it shows: `result` is sent as it stands."""

    model_config = ConfigDict(extra="forbid")

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    state: Literal["COMPLETED", "ERROR", "HOLD"] = "COMPLETED"
    result: str | None = None
    message: str | None = None


class Account(BaseModel):
    """What becomes of the account. A new password is forgotten with the process, as faults are."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    password: SecretStr | None = None
    credits: int | None = Field(None, ge=0)
    revoke_tokens: bool = False
    expire_tokens: bool = False


class Admin:
    """Attributes: `faults` and `password`, as they are now."""

    def __init__(self, book: Book, settings: StandinSettings) -> None:
        self._book = book
        self._settings = settings
        self.faults = Faults.by(settings)
        self.password = settings.password

    def routes(self) -> list[Route]:
        return [
            Route("/admin/faults", _guarded(self.tell_faults)),
            Route("/admin/faults", _guarded(self.set_faults), methods=["POST"]),
            Route("/admin/results", _guarded(self.choose_result), methods=["POST"]),
            Route("/admin/account", _guarded(self.set_account), methods=["POST"]),
            Route("/admin/reset", _guarded(self.reset), methods=["POST"]),
            Route("/admin/counts", _guarded(self.counts)),
            Route("/admin/jobs", _guarded(self.jobs)),
        ]

    async def tell_faults(self, _: Request) -> Response:
        return JSONResponse(self.faults.model_dump(mode="json"))

    async def set_faults(self, request: Request) -> Response:
        """Change the faults that are named; the others stay."""
        said = Faults.model_validate_json(await request.body())
        self.faults = self.faults.model_copy(update={name: getattr(said, name) for name in said.model_fields_set})
        return JSONResponse(self.faults.model_dump(mode="json"))

    async def choose_result(self, request: Request) -> Response:
        choice = Choice.model_validate_json(await request.body())
        self._book.choose(choice.sha256, choice.state, choice.result, choice.message)
        return JSONResponse(choice.model_dump())

    async def set_account(self, request: Request) -> Response:
        account = Account.model_validate_json(await request.body())
        if account.password is not None:
            self.password = account.password
        if account.credits is not None:
            self._book.set_credits(account.credits)
        if account.revoke_tokens:
            self._book.revoke_tokens()
        if account.expire_tokens:
            self._book.expire_tokens()
        return JSONResponse(self._book.counts())

    async def reset(self, _: Request) -> Response:
        """As at the first start: no job, no token, no choice, all credits, faults and password of the settings."""
        self.faults = Faults.by(self._settings)
        self.password = self._settings.password
        self._book.reset(self._settings.credits)
        return JSONResponse(self._book.counts())

    async def counts(self, _: Request) -> Response:
        """How many analyses were paid, in all and for each picture; credits; how often a token was asked for."""
        return JSONResponse(self._book.counts())

    async def jobs(self, request: Request) -> Response:
        """Jobs, the newest first; with `?sha256=` those of one picture."""
        jobs = self._book.jobs_of(request.query_params.get("sha256"))
        return JSONResponse(
            [{"jobId": job.id, "sha256": job.sha256, "state": job.state, "result": job.result} for job in jobs]
        )


def _guarded(handle: Handler) -> Handler:
    async def answer(request: Request) -> Response:
        if not _is_here(request):
            return JSONResponse({"error": "only for callers on loopback"}, 403)
        try:
            return await handle(request)
        except ValidationError as why:
            return JSONResponse({"error": why.errors(include_url=False, include_input=False)}, 422)

    return answer


def _is_here(request: Request) -> bool:
    try:
        address = ip_address(request.client.host if request.client else "")
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback
