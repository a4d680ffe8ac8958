"""The way to an EHR that cannot be told to fail, on which a test lets things go wrong."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx


class Wire(httpx.AsyncHTTPTransport):
    """Real HTTP, but for what `faults` names.

    Attributes:
        faults: as the demonstration EHR takes them: `unavailable`, `lose_answer` and `drop_observation` are how often,
            `retry_after` is in seconds, `page_size` is what a search gives at a time.
        before_write, after_write: what others do at that moment, once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.faults: dict[str, int] = {}
        self.before_write: Callable[[], Awaitable[None]] | None = None
        self.after_write: Callable[[], Awaitable[None]] | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._strikes("unavailable"):
            return httpx.Response(503, headers={"Retry-After": str(self.faults["retry_after"])})
        is_write = request.method == "POST"
        if "_count" in request.url.params and "page_size" in self.faults:
            request.url = request.url.copy_set_param("_count", self.faults["page_size"])
        if is_write and self._strikes("drop_observation"):
            request = _with(request, _without_an_observation(json.loads(await request.aread())))
        if is_write and (others := self.before_write) is not None:
            self.before_write = None
            await others()
        answer = await super().handle_async_request(request)
        if is_write and (others := self.after_write) is not None:
            self.after_write = None
            await answer.aread()
            await others()
        if is_write and self._strikes("lose_answer"):
            await answer.aread()
            raise httpx.ReadError("lost on the way back")
        return answer

    def _strikes(self, fault: str) -> bool:
        self.faults[fault] = self.faults.get(fault, 0) - 1
        return self.faults[fault] >= 0


def _with(request: httpx.Request, body: Any) -> httpx.Request:  # Any: FHIR JSON
    headers = {name: value for name, value in request.headers.items() if name != "content-length"}
    return httpx.Request(request.method, request.url, headers=headers, json=body, extensions=request.extensions)


def _without_an_observation(bundle: Any) -> Any:  # Any: FHIR JSON
    """The transaction of a writer who forgot the first one, and every word about it."""
    lost = next(each for each in bundle["entry"] if each["resource"]["resourceType"] == "Observation")
    kept = [each for each in bundle["entry"] if each is not lost]
    return {**bundle, "entry": _unreferred(kept, lost["fullUrl"])}


def _unreferred(part: Any, url: str) -> Any:  # Any: any part of a resource
    if isinstance(part, list):
        return [
            _unreferred(each, url) for each in part if not (isinstance(each, dict) and each.get("reference") == url)
        ]
    return {key: _unreferred(value, url) for key, value in part.items()} if isinstance(part, dict) else part
