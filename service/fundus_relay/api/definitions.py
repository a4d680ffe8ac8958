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
from fundus_relay.fhir.definitions import is_supported, matching
from fundus_relay.fhir.exchange import searchset
from fundus_relay.fhir.search import LONGEST_QUERY, decode

from .addresses import base_url, id_of, query_of
from .body import form_body
from .errors import NotFound
from .negotiation import fhir_response, prefer
from .paging import links, window

LONGEST_PAGE = 10
"""A definition with its snapshot is some 80 kB, and to write ten of them takes as long as we let others wait."""


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
        if prefer(request).is_lenient:
            stated = [(name, value) for name, value in stated if is_supported(name)]
        asked = window(stated, most=LONGEST_PAGE, usual=LONGEST_PAGE)
        found = matching(self.kind, stated)
        base = base_url(request, self.public_url)
        end = asked.offset + asked.count
        next_offset = end if asked.count and end < len(found) else None
        page = Page(tuple(found[asked.offset : end]), included=(), total=len(found), next_offset=next_offset)
        self_url, next_url = links(f"{base}/{self.kind}", stated, asked.count, next_offset)
        return fhir_response(
            searchset(page, base, self_url=self_url, next_url=next_url, is_count_only=asked.is_count_only)
        )
