"""The guide as FHIR resources: profiles, codes and value sets, where terminology-aware clients look for them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from fundus_relay import guide
from fundus_relay.domain.values import Page
from fundus_relay.fhir.definitions import matching
from fundus_relay.fhir.exchange import searchset
from fundus_relay.fhir.search import LONGEST_QUERY, decode

from .addresses import base_url, id_of, query_of
from .body import form_body
from .errors import NotFound
from .negotiation import fhir_response, prefer


@dataclass(frozen=True, slots=True)
class Definitions:
    """Endpoints of one resource type of the guide."""

    kind: str
    public_url: str | None = None

    async def read(self, request: Request) -> Response:
        """GET Type/id; 304 when the caller has it."""
        resource = guide.artefacts(self.kind).get(id_of(request))
        if resource is None:
            raise NotFound(f"the guide has no such {self.kind}")
        digest = hashlib.sha256(json.dumps(resource, sort_keys=True).encode()).hexdigest()[:16]
        headers = {"ETag": f'W/"{digest}"'}
        if headers["ETag"] in [tag.strip() for tag in request.headers.get("if-none-match", "").split(",")]:
            return fhir_response(None, 304, headers)
        return fhir_response(resource, 200, headers)

    async def search(self, request: Request) -> Response:
        """GET Type?…"""
        return self._found(request, decode(query_of(request)))

    async def search_by_form(self, request: Request) -> Response:
        """POST Type/_search; parameters in the form and in the URL."""
        form = decode(await form_body(request, LONGEST_QUERY))
        return self._found(request, [*decode(query_of(request)), *form])

    def _found(self, request: Request, stated: Sequence[tuple[str, str]]) -> Response:
        """All at once: there are never so many that a client would want pages."""
        found = matching(self.kind, stated, is_lenient=prefer(request).is_lenient)
        base = base_url(request, self.public_url)
        is_count_only = ("_summary", "count") in stated or ("_count", "0") in stated
        page = Page(matches=tuple(found), included=(), total=len(found), next_offset=None)
        self_url = f"{base}/{self.kind}?{query}" if (query := query_of(request)) else f"{base}/{self.kind}"
        return fhir_response(searchset(page, base, self_url=self_url, next_url=None, is_count_only=is_count_only))
