"""Who we are to an archive: nobody, a user, the bearer of a token, or a client that fetches tokens."""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from datetime import datetime, timedelta
from typing import Protocol
from urllib.parse import quote_plus

import httpx

from fundus_relay.domain.errors import ArchiveCredentialsRefused, ArchiveUnavailable
from fundus_relay.pipeline.ports import Clock
from fundus_relay.settings import Archive

from ..bounded import ask, retry_after

_EARLY = timedelta(seconds=30)
_LONGEST = 64 * 1024
_WITHIN = timedelta(seconds=30)
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # Source: RFC 6750 2.1


class Credentials(Protocol):
    """What goes into the Authorization header."""

    async def header(self) -> str | None:
        """Its value. Raises ArchiveUnavailable, ArchiveCredentialsRefused."""
        ...

    def refused(self, header: str | None) -> bool:
        """The archive did not take this one: whether another is worth a try."""
        ...


class Fixed:
    """The same for ever, or none."""

    def __init__(self, value: str | None) -> None:
        self._value = value

    async def header(self) -> str | None:
        return self._value

    def refused(self, header: str | None) -> bool:
        return False


class ClientCredentials:
    """A token of OAuth 2, fetched by one of all who wait for it, and again a little before it ends.

    Source: RFC 6749 4.4 and 2.3.1.
    """

    def __init__(self, archive: Archive, client: httpx.AsyncClient, clock: Clock) -> None:
        self._archive = archive
        self._client = client
        self._clock = clock
        self._turn = asyncio.Lock()
        self._held: tuple[str, datetime] | None = None

    async def header(self) -> str | None:
        async with self._turn:
            if self._held is None or self._held[1] <= self._clock.now():
                self._held = await self._fetch()
            return self._held[0]

    def refused(self, header: str | None) -> bool:
        if self._held is not None and self._held[0] == header:
            self._held = None
        return True

    async def _fetch(self) -> tuple[str, datetime]:
        archive = self._archive
        assert archive.token_url is not None and archive.client_secret is not None  # noqa: S101 - the settings say so
        form = {"grant_type": "client_credentials", **({"scope": archive.scope} if archive.scope else {})}
        request = self._client.build_request("POST", archive.token_url, data=form)
        client, secret = (
            quote_plus(each) for each in (archive.client_id or "", archive.client_secret.get_secret_value())
        )
        request.headers["Authorization"] = basic(client, secret)
        try:
            answer = await ask(self._client, request, longest=_LONGEST, within=_WITHIN)
        except (httpx.HTTPError, TimeoutError) as exc:
            raise ArchiveUnavailable("the archive's token server cannot be reached") from exc
        if answer.status_code in {400, 401, 403}:
            raise ArchiveCredentialsRefused("the archive's token server refuses our client")
        if answer.status_code != 200:
            text = f"the archive's token server answered {answer.status_code}"
            raise ArchiveUnavailable(text, retry_after=retry_after(answer))
        try:
            told = answer.json()
            lasts = timedelta(seconds=float(told.get("expires_in", 300)))
            return _bearer(told["access_token"]), self._clock.now() + max(lasts - _EARLY, lasts / 2)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as exc:
            raise ArchiveUnavailable("the archive's token server gave no token") from exc


def _bearer(token: str) -> str:
    if not _TOKEN.fullmatch(token):
        raise ValueError("no token")
    return f"Bearer {token}"


def basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


def credentials_of(archive: Archive, client: httpx.AsyncClient, clock: Clock) -> Credentials:
    if archive.token_url is not None:
        return ClientCredentials(archive, client, clock)
    if archive.bearer_token is not None:
        return Fixed(f"Bearer {archive.bearer_token.get_secret_value()}")
    if archive.username is not None and archive.password is not None:
        return Fixed(basic(archive.username, archive.password.get_secret_value()))
    return Fixed(None)
