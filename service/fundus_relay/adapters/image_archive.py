"""Pictures that a resource only points to, fetched over HTTP from servers that the operator listed, and no others.

How this works: the URL must lie under a listed base. Its host is resolved here, every address is judged, and the
connection goes to the judged address, so a name that changes its mind in between gains nothing. Redirects are refused:
they would lead past the list. No credentials are sent.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from socket import SOCK_STREAM
from urllib.parse import SplitResult

import httpx

from fundus_relay.domain.errors import PictureTooLarge, Rejected, Unavailable
from fundus_relay.pipeline.ports import Draft

from .bounded import is_passing, retry_after
from .places import Base, plain, port

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

CONNECT_WITHIN_S = 5.0
SILENT_AT_MOST_S = 30.0
FETCH_WITHIN_S = 120.0

_NAT64 = IPv6Network("64:ff9b::/96")


class ImageUrlNotAllowed(Rejected):
    """The picture's URL is not one that we may fetch: ask the operator to list its server, or send the picture."""

    code = "image-url-not-allowed"


class ImageNotThere(Rejected):
    """The picture's server has none at that URL for us."""

    code = "image-not-there"


class ImageSourceUnavailable(Unavailable):
    """The picture's server cannot be reached or has a passing fault."""

    code = "image-source-unavailable"


class HttpImageArchive:
    """`ImageArchive` over HTTP."""

    def __init__(self, sources: Sequence[str], private_networks: Sequence[Network]) -> None:
        """Fetch only from below `sources`.

        Args:
            sources: base URLs; a path counts in whole segments.
            private_networks: where those servers may lie besides the public internet, loopback included if listed.
                Link-local addresses, where clouds keep their secrets, are never asked.
        """
        self._sources = [Base(source) for source in sources]
        self._private_networks = tuple(private_networks)

    async def fetch(self, url: str, draft: Draft, *, limit: int) -> str:
        parts = plain(url)
        if parts is None or not any(source.holds(parts) for source in self._sources):
            raise ImageUrlNotAllowed("the URL is not below a server that is listed here")
        try:
            async with asyncio.timeout(FETCH_WITHIN_S):
                return await self._from_any(await self._addresses(parts), parts, draft, limit)
        except TimeoutError as exc:
            raise ImageSourceUnavailable("the picture's server is too slow") from exc

    async def _addresses(self, parts: SplitResult) -> list[Address]:
        """Where the host lies; all of it must be allowed."""
        try:
            found = await asyncio.get_running_loop().getaddrinfo(parts.hostname, port(parts), type=SOCK_STREAM)
        except OSError as exc:
            raise ImageSourceUnavailable("the picture's server has no address") from exc
        addresses = [ip_address(str(each[4][0]).partition("%")[0]) for each in found]
        if not all(self._is_allowed(each) for each in addresses):
            raise ImageUrlNotAllowed("the picture's server lies in a network that is not allowed")
        return addresses

    def _is_allowed(self, address: Address) -> bool:
        inner = _embedded(address)
        if inner.is_link_local or inner.is_multicast or inner.is_unspecified:
            return False
        return inner.is_global or any(inner in network for network in self._private_networks)

    async def _from_any(self, addresses: list[Address], parts: SplitResult, draft: Draft, limit: int) -> str:
        """The first address that takes a connection answers."""
        async with httpx.AsyncClient(
            verify=self._trust,
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(SILENT_AT_MOST_S, connect=CONNECT_WITHIN_S),
        ) as client:
            for address in addresses:
                try:
                    return await _get(client, address, parts, draft, limit)
                except (httpx.ConnectError, httpx.ConnectTimeout):
                    continue
                except httpx.HTTPError as exc:
                    raise ImageSourceUnavailable("the picture's server broke off") from exc
        raise ImageSourceUnavailable("the picture's server cannot be reached")

    @cached_property
    def _trust(self) -> ssl.SSLContext:
        return ssl.create_default_context()


def _embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, if it does."""
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


async def _get(client: httpx.AsyncClient, address: Address, parts: SplitResult, draft: Draft, limit: int) -> str:
    """One request to one address, with the name that the URL has."""
    place = f"[{address}]" if address.version == 6 else str(address)
    target = parts._replace(netloc=f"{place}:{port(parts)}").geturl()
    headers = {
        "Host": parts.netloc,
        "Accept": "image/jpeg, image/png, image/tiff, application/dicom, image/*;q=0.8",
        "Accept-Encoding": "identity",
    }
    async with client.stream("GET", target, headers=headers, extensions={"sni_hostname": parts.hostname}) as answer:
        _check_answer(answer, limit)
        async for chunk in answer.aiter_raw():
            if draft.byte_count + len(chunk) > limit:
                raise PictureTooLarge(f"the picture has more than {limit} bytes")
            draft.write(chunk)
            await draft.drain()
        return str(answer.headers.get("content-type", ""))


def _check_answer(answer: httpx.Response, limit: int) -> None:
    if is_passing(answer):
        raise ImageSourceUnavailable(
            f"the picture's server answered {answer.status_code}",
            retry_after=retry_after(answer),
        )
    if answer.status_code != 200:
        raise ImageNotThere(f"the picture's server answered {answer.status_code}")
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise ImageNotThere("the picture's server sends it compressed though asked not to")
    if int(answer.headers.get("content-length", "0")) > limit:
        raise PictureTooLarge(f"the picture has more than {limit} bytes")
