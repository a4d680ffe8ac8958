"""Probes on a port and a thread of their own, so that what keeps the service busy cannot keep them.

How this works. Nothing is asked when a probe comes: the event loop notes that it turns, and what it found when it last
looked at the database; the probes' thread reads these notes. A loop that hangs cannot note anything, so that old notes
tell of it. Liveness knows nothing of the database: a restart does not mend one.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from .server import bound

HANGS_AFTER_S = 30.0
"""Without a note of the event loop; the longest single step of ours takes a few seconds."""
LOOKED_WITHIN_S = 15.0
"""After which what was found about the database is too old to be told."""

LONGEST_HEAD = 8 * 1024
ASKED_WITHIN_S = 5.0
MOST_AT_ONCE = 64


class Health:
    """What the event loop notes, and what the probes make of it. Each note is one assignment: threads need no lock."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._turned_at_s = now_s()
        self._looked_at_s = 0.0
        self._why_not = "the database was not looked at yet"
        self._is_draining = False

    def turned(self) -> None:
        """The event loop turns."""
        self._turned_at_s = self._now_s()

    def looked(self, why_not: str) -> None:
        """The database was looked at.

        Args:
            why_not: what keeps us from working with it; empty when nothing does.
        """
        self._why_not, self._looked_at_s = why_not, self._now_s()

    def drain(self) -> None:
        """Nothing new is wanted from now on."""
        self._is_draining = True

    def hangs(self) -> str:
        """Why the process should be restarted; empty when it should not."""
        still_s = self._now_s() - self._turned_at_s
        return f"the event loop has not turned for {still_s:.0f} s" if still_s > HANGS_AFTER_S else ""

    def is_not_ready(self) -> str:
        """Why nothing should be sent to this process; empty when it may be."""
        if self._is_draining:
            return "it is being stopped"
        is_old = self._looked_at_s and self._now_s() - self._looked_at_s > LOOKED_WITHIN_S
        return self._why_not or ("the database was not looked at for long" if is_old else "")


Metrics = Callable[[], bytes]


@contextmanager
def probes(host: str, port: int, health: Health, metrics: Metrics) -> Iterator[int]:
    """Answer `/livez`, `/readyz` and `/metrics` there for as long as the context lasts; gives the port.

    Args:
        port: 0 takes a free one.

    Raises: CannotListen.
    """
    listening = bound(host, port)
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    turning = _answer_until(stop, listening, _Answers(health, metrics))
    thread = threading.Thread(target=loop.run_until_complete, args=[turning], name="probes", daemon=True)
    thread.start()
    try:
        yield int(listening.getsockname()[1])
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(ASKED_WITHIN_S)


async def _answer_until(stop: asyncio.Event, listening: socket.socket, answers: _Answers) -> None:
    server = await asyncio.start_server(answers, sock=listening, limit=LONGEST_HEAD)
    await stop.wait()
    server.close()


class _Answers:
    """One request a connection. When there are too many, the oldest makes room: who asks is answered in no time."""

    def __init__(self, health: Health, metrics: Metrics) -> None:
        self._health, self._metrics = health, metrics
        self._open: dict[asyncio.StreamWriter, None] = {}  # oldest first

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= MOST_AT_ONCE:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.transport.abort()
        self._open[writer] = None
        try:
            async with asyncio.timeout(ASKED_WITHIN_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._answer(head.split(b"\r\n", 1)[0].split(b" ")))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever asked has left, or asks for nothing that there is
        finally:
            self._open.pop(writer, None)
            with suppress(OSError):
                writer.close()

    def _answer(self, asked: list[bytes]) -> bytes:
        if len(asked) != 3 or asked[0] not in {b"GET", b"HEAD"}:
            return _response(405, b"GET only\n")
        match asked[1].partition(b"?")[0]:
            case b"/livez":
                status, body = _told(self._health.hangs(), "live")
            case b"/readyz":
                status, body = _told(self._health.hangs() or self._health.is_not_ready(), "ready")
            case b"/metrics":
                return _response(200, self._metrics(), "text/plain; version=0.0.4; charset=utf-8", asked[0])
            case _:
                status, body = 404, b"there are /livez, /readyz and /metrics\n"
        return _response(status, body, method=asked[0])


def _told(why_not: str, well: str) -> tuple[int, bytes]:
    return (503 if why_not else 200), f"{why_not or well}\n".encode()


_REASONS = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


def _response(status: int, body: bytes, kind: str = "text/plain; charset=utf-8", method: bytes = b"GET") -> bytes:
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (b"" if method == b"HEAD" else body)
