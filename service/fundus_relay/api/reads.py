"""Showing resources: read, vread, search, bytes of photographs and pages, the CapabilityStatement."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime, parsedate_to_datetime

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from fundus_relay import __version__
from fundus_relay.domain.errors import PicturePurged
from fundus_relay.domain.values import Json
from fundus_relay.fhir.capability import capability_statement
from fundus_relay.fhir.exchange import instant, searchset, shown, version_tag
from fundus_relay.fhir.pages import blob_of, digest_of, is_overlay, is_purged, kept_binary
from fundus_relay.fhir.search import LONGEST_QUERY, decode, is_supported
from fundus_relay.fhir.search_parameters import PARAMETERS
from fundus_relay.pipeline.ports import Blobs, Ledger

from .addresses import base_url, id_of, kind_of, query_of
from .body import form_body
from .errors import NotFound
from .negotiation import fhir_response, prefer, takes_picture, version_named
from .paging import links, window

PAGE = 50
LONGEST_PAGE = 200
REPLACED = "replaced"
"""ETag of a page that no revision of a report has any more."""


@dataclass(frozen=True, slots=True)
class Reads:
    """Endpoints that only look."""

    ledger: Ledger
    blobs: Blobs
    started: datetime
    public_url: str | None = None
    needs_token: bool = False

    async def metadata(self, request: Request) -> Response:
        """GET metadata."""
        base = base_url(request, self.public_url)
        return fhir_response(capability_statement(base, __version__, self.started, needs_token=self.needs_token))

    async def read(self, request: Request) -> Response:
        """GET Type/id; 304 when the caller has the newest version."""
        resource = await self._stored(kind_of(request, "instance"), id_of(request))
        headers = _version_headers(resource)
        if _is_known(request, resource):
            return fhir_response(None, 304, headers)
        return fhir_response(shown(resource, base_url(request, self.public_url)), 200, headers)

    async def vread(self, request: Request) -> Response:
        """GET Type/id/_history/version."""
        kind, id, version = kind_of(request, "version"), id_of(request), str(request.path_params["version"])
        if not re.fullmatch(r"[1-9]\d{0,8}", version):
            raise NotFound("there is no such version")
        resource = await self._stored(kind, id, int(version))
        return fhir_response(shown(resource, base_url(request, self.public_url)), 200, _version_headers(resource))

    async def search(self, request: Request) -> Response:
        """GET Type?…"""
        return await self._page(request, kind_of(request, "type"), decode(query_of(request)))

    async def search_by_form(self, request: Request) -> Response:
        """POST Type/_search; parameters in the form and in the URL."""
        kind = kind_of(request, "search")
        form = decode(await form_body(request, LONGEST_QUERY))
        return await self._page(request, kind, [*decode(query_of(request)), *form])

    async def binary(self, request: Request) -> Response:
        """GET Binary/id: a page of a report, or the photograph of the Media of that id.

        As bytes or, for who accepts FHIR JSON, as a Binary.
        """
        file = await self._file(id_of(request))
        digest = blob_of(file.binary)
        headers = {"ETag": f'"{digest or REPLACED}"', "Cache-Control": "private", "X-Content-Type-Options": "nosniff"}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return fhir_response(None, 304, headers)
        kind = file.binary["contentType"]
        if digest is None:
            as_bytes = Response(b64decode(file.binary["data"]), 200, headers, media_type=kind)
            return as_bytes if takes_picture(request) else fhir_response(file.binary, 200, headers)
        if takes_picture(request):
            headers |= {"Content-Length": str(file.size)} if file.size else {}
            return StreamingResponse(self.blobs.stream(digest), 200, headers, media_type=kind)
        told = {name: value for name, value in file.binary.items() if name != "_data"}
        return fhir_response({**told, "data": b64encode(await self.blobs.get(digest)).decode()}, 200, headers)

    async def _file(self, id: str) -> _File:
        async with self.ledger.transaction() as tx:
            media = await tx.resources.read("Media", id)
            page = await tx.resources.read("Binary", id) if media is None or is_overlay(media) else None
            if page is None and media is not None and await tx.is_purged(digest_of(media)):
                raise PicturePurged("the photograph was purged: it is older than the operator keeps photographs")
        if media is not None and not is_overlay(media):
            content = media["content"]
            return _File(kept_binary(id, content["contentType"], digest_of(media)), content["size"])
        if page is None:
            raise NotFound("there is no such Binary")
        if is_purged(page):
            raise PicturePurged("the page was purged: it is older than the operator keeps pages of reports")
        return _File(page, None)

    async def _stored(self, kind: str, id: str, version: int | None = None) -> Json:
        async with self.ledger.transaction() as tx:
            resource = await tx.resources.read(kind, id, version)
        if resource is None:
            raise NotFound(f"there is no such {kind}, or no such version of it")
        return resource

    async def _page(self, request: Request, kind: str, stated: Sequence[tuple[str, str]]) -> Response:
        base = base_url(request, self.public_url)
        if prefer(request).is_lenient:
            stated = [(name, value) for name, value in stated if is_supported(kind, name)]
        asked = window(stated, most=LONGEST_PAGE, usual=PAGE)
        parameters = [(name, _local(kind, name, value, base)) for name, value in stated]
        async with self.ledger.transaction() as tx:
            page = await tx.resources.search(kind, parameters, count=asked.count, offset=asked.offset)
        self_url, next_url = links(f"{base}/{kind}", stated, asked.count, page.next_offset)
        return fhir_response(
            searchset(page, base, self_url=self_url, next_url=next_url, is_count_only=asked.is_count_only)
        )


@dataclass(frozen=True, slots=True)
class _File:
    """What a Binary's id stands for, and how many bytes it has if we know."""

    binary: Json
    size: int | None


def _version_headers(resource: Json) -> dict[str, str]:
    return {"ETag": version_tag(resource), "Last-Modified": format_datetime(instant(resource), usegmt=True)}


def _is_known(request: Request, resource: Json) -> bool:
    """If-None-Match, when there, decides alone. Source: RFC 9110 §13.2.2."""
    if (tags := request.headers.get("if-none-match")) is not None:
        return resource["meta"]["versionId"] in [str(version_named(tag)) for tag in tags.split(",")]
    try:
        since = parsedate_to_datetime(request.headers.get("if-modified-since", ""))
        return instant(resource).replace(microsecond=0) <= since
    except (TypeError, ValueError, OverflowError):
        return False


def _local(kind: str, name: str, value: str, base: str) -> str:
    """References to our own endpoint by its full URL become what is stored: `Type/id`."""
    parameter = PARAMETERS.get(kind, {}).get(name.partition(":")[0])
    if parameter is None or parameter.type != "reference":
        return value
    return ",".join(part.removeprefix(f"{base}/") for part in value.split(","))
