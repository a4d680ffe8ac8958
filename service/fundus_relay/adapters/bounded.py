"""An answer of bounded length and time: the other side may be broken, or somebody else."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import httpx


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


def _plain(headers: httpx.Headers) -> list[tuple[str, str]]:
    """Without what described the content on the wire."""
    wire = {"content-encoding", "content-length", "transfer-encoding"}
    return [(name, value) for name, value in headers.multi_items() if name not in wire]
