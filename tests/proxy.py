"""A connection between two parties, in a test's hands: cut, slowed down, or left open and dead."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

Address = tuple[str, int] | Path
"""Host and port, or a socket of the file system."""


@dataclass(eq=False)
class _Link:
    """One connection of a caller, and ours to the other side."""

    writers: list[asyncio.StreamWriter]
    is_dead: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def reset(self) -> None:
        for writer in self.writers:
            wire = writer.get_extra_info("socket")
            with suppress(OSError):  # it has ended meanwhile
                wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        self.ended.set()


@dataclass
class Proxy:
    """A TCP port on loopback that leads to `upstream`.

    Attributes:
        delay_s: that every piece takes longer, either way.
        is_silent: what is connected now carries nothing any more, ever, and neither do new connections; nobody is told.
        is_closed: nobody is let in, and whoever tries is told so.
    """

    upstream: Address
    port: int = 0
    delay_s: float = 0
    is_closed: bool = False
    _is_silent: bool = False
    _links: set[_Link] = field(default_factory=set)

    @property
    def is_silent(self) -> bool:
        return self._is_silent

    @is_silent.setter
    def is_silent(self, silent: bool) -> None:
        self._is_silent = silent
        for link in self._links:
            link.is_dead = link.is_dead or silent

    async def cut(self) -> None:
        """Reset every connection, to both sides; returns when that is done."""
        links = tuple(self._links)
        for link in links:
            link.reset()
        while any(link in self._links for link in links):  # noqa: ASYNC110 - our own tasks, at once
            await asyncio.sleep(0)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link([writer], is_dead=self._is_silent)
        self._links.add(link)
        try:
            if self.is_closed:
                return
            if link.is_dead:
                await link.ended.wait()
                return
            there, back = await self._connect()
            link.writers.append(back)
            await asyncio.gather(self._carry(reader, back, link), self._carry(there, writer, link))
        except OSError:
            pass
        finally:
            self._links.discard(link)
            link.reset()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self.upstream, Path):
            return await asyncio.open_unix_connection(str(self.upstream))
        return await asyncio.open_connection(*self.upstream)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: _Link) -> None:
        """Pass on what comes, till it ends."""
        while piece := await reader.read(65536):
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            if link.is_dead:
                continue
            writer.write(piece)
            await writer.drain()
        if link.is_dead:
            await link.ended.wait()  # the other side is not told either
        with suppress(OSError):
            writer.write_eof()


@asynccontextmanager
async def proxied(upstream: Address) -> AsyncIterator[Proxy]:
    """A proxy for as long as the context lasts."""
    proxy = Proxy(upstream)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, backlog=512)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.cut()
