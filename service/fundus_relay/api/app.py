"""The HTTP application: FHIR R4 under `/fhir`, pages for people under `/guide`, probes beside them.

Every route answers with and without a slash at its end and never redirects: a redirected POST would send megabytes
twice, and some clients drop their credentials on the way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from fundus_relay import __version__
from fundus_relay.domain.errors import RelayError, StoreUnavailable
from fundus_relay.fhir.definitions import KINDS
from fundus_relay.pipeline.ports import Blobs, Clock, ImageArchive, Ledger, StudyArchive
from fundus_relay.pipeline.receive import Limits
from fundus_relay.tracing import Tracer

from . import pages
from .access import Access, Callers
from .addresses import kind_of, not_allowed
from .definitions import Definitions
from .errors import NotAcceptable, NotFound, refusal_response
from .guard import Guard
from .negotiation import fhir_response, takes_json
from .reads import Reads
from .silence import BodyInTime
from .traced import Traced
from .writes import Writes

READY_WITHIN_S = 1.0

Endpoint = Callable[[Request], Awaitable[Response]]


def application(
    *,
    ledger: Ledger,
    blobs: Blobs,
    archive: ImageArchive,
    studies: StudyArchive,
    clock: Clock,
    limits: Limits,
    max_body_bytes: int,
    public_url: str | None = None,
    silence: timedelta = timedelta(seconds=30),
    ehr_urls: tuple[str, ...] = (),
    old_after: timedelta | None = None,
    callers: Callers | None = None,
    tracer: Tracer | None = None,
) -> FastAPI:
    """The endpoint over these ports.

    Args:
        public_url: base of the FHIR endpoint as callers see it; by default as each request addressed it.
        silence: in the middle of a body, after which it is refused.
        ehr_urls: bases under which senders may refer to what the EHR has.
        old_after: photographs of longer ago are backfill; none without it.
        callers: who may call; everybody by default.
        tracer: of requests that bring something; without one nothing is traced.
    """
    app = FastAPI(
        title="Fundus Relay",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    reads = Reads(ledger, blobs, clock.now(), public_url, needs_token=callers is not None)
    writes = Writes(ledger, blobs, archive, studies, clock, limits, max_body_bytes, public_url, ehr_urls, old_after)
    _route(app, "/fhir", {"POST": writes.exchange})
    _route(app, "/fhir/metadata", {"GET": reads.metadata})
    _route(app, "/fhir/Binary/{id}", {"GET": reads.binary}, is_json=False)
    for kind in KINDS:
        defined = Definitions(kind, public_url)
        _route(app, f"/fhir/{kind}", {"GET": defined.search})
        _route(app, f"/fhir/{kind}/_search", {"POST": defined.search_by_form})
        _route(app, f"/fhir/{kind}/{{id}}", {"GET": defined.read})
    _route(app, "/fhir/{kind}", {"GET": reads.search, "POST": writes.create})
    _route(app, "/fhir/{kind}/_search", {"POST": reads.search_by_form})
    _route(app, "/fhir/{kind}/{id}", {"GET": reads.read, "PUT": writes.update})
    _route(app, "/fhir/{kind}/{id}/_history/{version}", {"GET": reads.vread})
    app.router.routes.extend(pages.routes())
    app.add_route("/livez", _live, methods=["GET"])
    app.add_route("/readyz", _readiness(ledger), methods=["GET"])
    app.add_exception_handler(RelayError, _refused)
    app.add_exception_handler(HTTPException, _not_routed)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_middleware(Traced, tracer=tracer or Tracer())
    app.add_middleware(Access, callers=callers)
    app.add_middleware(BodyInTime, limit=silence)
    app.add_middleware(Guard)
    return app


def _route(app: FastAPI, path: str, endpoints: Mapping[str, Endpoint], *, is_json: bool = True) -> None:
    """Methods of a path, with and without the last slash; any other method is refused in FHIR's words."""

    async def endpoint(request: Request) -> Response:
        if is_json and not takes_json(request):
            raise NotAcceptable("answers are application/fhir+json", element="http.Accept")
        chosen = endpoints.get("GET" if request.method == "HEAD" else request.method)
        if chosen is None:
            _refuse_method(request, path, endpoints)
        assert chosen is not None  # noqa: S101 - the line before never returns without one
        request.scope["endpoint"] = chosen
        return await chosen(request)

    for each in (path, f"{path}/"):
        route = Route(each, endpoint)
        route.methods = None  # whatever the method, it is the endpoint that answers
        app.router.routes.append(route)


def _refuse_method(request: Request, path: str, endpoints: Mapping[str, Endpoint]) -> None:
    levels = {"/fhir/{kind}": "type", "/fhir/{kind}/{id}": "instance"}
    if path in levels:
        kind_of(request, levels[path])  # knows what this type allows
    raise not_allowed(list(endpoints))


def _readiness(ledger: Ledger) -> Endpoint:
    async def ready(_: Request) -> Response:
        """The database answers within a second."""
        try:
            async with asyncio.timeout(READY_WITHIN_S), ledger.transaction() as tx:
                await tx.resources.read("Patient", "-")
        except (StoreUnavailable, TimeoutError):
            return PlainTextResponse("the database does not answer\n", 503, {"Retry-After": "5"})
        return PlainTextResponse("ready\n")

    return ready


async def _live(_: Request) -> Response:
    """The process turns; nothing else is asked."""
    return PlainTextResponse("live\n")


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, RelayError)  # noqa: S101 - what it is registered for
    return refusal_response(error)


async def _not_routed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - what it is registered for
    if error.status_code == 404:
        return refusal_response(NotFound("there is nothing at this address"))
    if error.status_code == 405:
        return refusal_response(not_allowed(["GET"]))  # of a probe
    return fhir_response(None, error.status_code, error.headers)


async def _gone(_: Request, __: Exception) -> Response:
    """The sender left while sending; nobody reads this."""
    return Response(status_code=400)
