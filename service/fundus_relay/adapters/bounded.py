"""An answer of bounded length and time: the other side may be broken, or somebody else."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx

LONGEST_WAIT = timedelta(days=1)

_PASSING = frozenset({408, 425, 429})


async def ask(client: httpx.AsyncClient, request: httpx.Request, *, longest: int, within: timedelta) -> httpx.Response:
    """The answer with its content.

    Args:
        longest: bytes of content, after decompression.
        within: from the first byte sent to the last one read; the client's own timeouts bound each step only.

    Raises:
        httpx.HTTPError: also for an answer that is too long.
        TimeoutError
    """
    async with asyncio.timeout(within.total_seconds()):
        answer = await client.send(request, stream=True)
        try:
            content = bytearray()
            async for piece in answer.aiter_bytes():
                content += piece
                if len(content) > longest:
                    raise httpx.DecodingError("the answer is too long")
        finally:
            await answer.aclose()
    return httpx.Response(answer.status_code, headers=_plain(answer.headers), content=bytes(content))


def is_passing(answer: httpx.Response) -> bool:
    """Whether the same request may succeed later, by the status."""
    return answer.status_code in _PASSING or answer.status_code >= 500


def retry_after(answer: httpx.Response, now: datetime | None = None) -> timedelta | None:
    """How long the other side asks us to wait, by seconds or by an HTTP date; a day at most.

    Source: RFC 9110 §10.2.3.
    """
    stated = answer.headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", stated):
        return min(timedelta(seconds=int(stated)), LONGEST_WAIT)
    try:
        return min(max(timedelta(0), parsedate_to_datetime(stated) - (now or datetime.now(UTC))), LONGEST_WAIT)
    except (TypeError, ValueError):
        return None


def _plain(headers: httpx.Headers) -> list[tuple[str, str]]:
    """Without what described the content on the wire."""
    wire = {"content-encoding", "content-length", "transfer-encoding"}
    return [(name, value) for name, value in headers.multi_items() if name not in wire]
