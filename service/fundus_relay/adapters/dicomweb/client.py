"""Studies in archives that the operator listed, over DICOMweb.

How this works. An instance is asked for as it is stored (`transfer-syntax=*`), as a whole DICOM file: so its header
comes along, and its pixels are nobody's recompression. The answer goes to the draft while it arrives. What headers say
of it is believed only as far as it must be; the bytes have to be DICOM. Credentials go below the archive's own base
URL: a redirect that leaves it is followed without them, one to another origin not at all.

Source: DICOM PS3.18, 10.4 (retrieve) and 10.6 (search); observed with Orthanc 1.10.1 and its DICOMweb plug-in 1.7.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence, Set
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urljoin

import httpx

from fundus_relay import metrics
from fundus_relay.domain.dicom import DICOM_START, InstanceName, ListedInstance, is_dicom, is_uid
from fundus_relay.domain.errors import (
    ArchiveCredentialsRefused,
    ArchiveNotAllowed,
    ArchiveRefused,
    ArchiveUnavailable,
    InstanceMismatch,
    InstanceNotThere,
    PictureTooLarge,
)
from fundus_relay.pipeline.ports import Clock, Draft
from fundus_relay.settings import Archive

from ..bounded import is_passing, retry_after
from ..places import Base, origin, plain
from .credentials import Credentials, credentials_of
from .listing import FIELDS, Listing, NotListed, OfAnotherStudy, Place
from .multipart import Broken, OnePart, boundary_of

CONNECT_WITHIN_S = 5.0
SILENT_AT_MOST_S = 30.0
PAGE = 500
_MOST_INSTANCES = 20_000
_LONGEST_LIST = 256_000_000
_MOST_REDIRECTS = 3
_PIECE = 64 * 1024
"""Bytes of a list that are read at once, however many the other side's compression makes of one piece."""

_WHOLE_AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_WHOLE = 'multipart/related; type="application/dicom"'
_GONE = frozenset({404, 410})
_DOES_NOT_SEARCH = _GONE | {400, 405, 406, 414, 501}


class DicomwebArchive:
    """See `ports.StudyArchive`; to be entered before instances are asked for."""

    def __init__(self, archives: Sequence[Archive], clock: Clock) -> None:
        self._settings = archives
        self._clock = clock
        self._open: list[_Listed] = []
        self._bases = [Base(each.base_url) for each in archives]
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> DicomwebArchive:
        for archive, base in zip(self._settings, self._bases, strict=True):
            client = await self._stack.enter_async_context(_client(_trust(archive)))
            tokens = await self._stack.enter_async_context(_client(_trust(archive, also_public=True)))
            self._open.append(_Listed(archive, base, client, credentials_of(archive, tokens, self._clock)))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def knows(self, address: str) -> bool:
        return any(base.is_or_holds(address) for base in self._bases)

    @property
    def default(self) -> str | None:
        return self._settings[0].base_url.rstrip("/") if self._settings else None

    async def instances(self, address: str, study: str) -> Sequence[ListedInstance]:
        archive = self._at(address)
        base = f"{address.rstrip('/')}/studies/{_checked(study)}"
        found: dict[InstanceName, tuple[Place, ListedInstance]] = {}
        while (before := len(found)) <= _MOST_INSTANCES:
            query = f"{base}/instances?includefield={FIELDS}&limit={PAGE}&offset={len(found)}"
            page = await archive.list(query, study, nothing=_DOES_NOT_SEARCH)
            if page is None and not found:
                page = await archive.list(f"{base}/metadata", study, nothing=_GONE)
            found |= {listed.name: (place, listed) for place, listed in page or ()}
            if len(found) == before:  # whatever the archive takes for a page: no other has anything new
                return [listed for _, listed in sorted(found.values(), key=lambda each: each[0])]
        raise ArchiveRefused(f"the study has more than {_MOST_INSTANCES} instances")

    async def fetch(self, address: str, name: InstanceName, draft: Draft, *, limit: int) -> None:
        archive = self._at(address)
        path = "/".join(
            f"{what}/{_checked(uid)}"
            for what, uid in (("studies", name.study), ("series", name.series), ("instances", name.instance))
        )
        await archive.fetch(f"{address.rstrip('/')}/{path}", draft, limit)

    def _at(self, address: str) -> _Listed:
        found = next((each for each in self._open if each.base.is_or_holds(address)), None)
        if found is None:
            raise ArchiveNotAllowed
        return found


@dataclass(frozen=True, slots=True)
class _Listed:
    """One archive that the operator listed."""

    archive: Archive
    base: Base
    client: httpx.AsyncClient
    credentials: Credentials

    async def list(self, url: str, study: str, *, nothing: Set[int]) -> Sequence[tuple[Place, ListedInstance]] | None:
        """A list of instances; None when the status is one of `nothing`."""
        with metrics.timed(metrics.archive_seconds, "list"):
            return await self._listed(url, study, nothing)

    async def _listed(self, url: str, study: str, nothing: Set[int]) -> Sequence[tuple[Place, ListedInstance]] | None:
        listing = Listing(study)
        found: list[tuple[Place, ListedInstance]] = []
        count = 0
        async with self._answer(url, "application/dicom+json") as answer:
            if answer.status_code in nothing:
                return None
            _check(answer)
            try:
                async for piece in answer.aiter_bytes(_PIECE):
                    found += listing.feed(piece)
                    count += len(piece)
                    if count > _LONGEST_LIST or len(found) > _MOST_INSTANCES:
                        raise ArchiveRefused("the archive's list of a study is too long")
                listing.finish()
            except OfAnotherStudy as exc:
                raise InstanceMismatch("the archive lists instances of another study") from exc
            except NotListed as exc:
                raise ArchiveUnavailable("the archive gave no list of instances") from exc
        return found

    async def fetch(self, url: str, draft: Draft, limit: int) -> None:
        """One instance, to the draft."""
        with metrics.timed(metrics.archive_seconds, "fetch"):
            await self._fetched(url, draft, limit)

    async def _fetched(self, url: str, draft: Draft, limit: int) -> None:
        for accept in (_WHOLE_AS_STORED, _WHOLE):
            async with self._answer(url, accept) as answer:
                if answer.status_code == 406 and accept is _WHOLE_AS_STORED:
                    continue  # it knows no such parameter, and gives what is stored
                if answer.status_code in _GONE:
                    raise InstanceNotThere
                _check(answer)
                await _read(answer, draft, limit)
                return

    def _is_below(self, url: str) -> bool:
        """Whether it is the archive that lies there; beside it, on the same server, may be somebody else."""
        parts = plain(url)
        return parts is not None and self.base.holds(parts)

    @asynccontextmanager
    async def _answer(self, url: str, accept: str) -> AsyncIterator[httpx.Response]:
        """The answer to a GET, which nobody but the archive itself gives."""
        is_renewed = False
        try:
            async with asyncio.timeout(self.archive.timeout.total_seconds()):
                for _ in range(_MOST_REDIRECTS + 2):
                    header = await self.credentials.header() if self._is_below(url) else None
                    async with self.client.stream("GET", url, headers=_headers(accept, header)) as answer:
                        if answer.has_redirect_location:
                            url = _within(url, answer.headers.get("location", ""))
                        elif answer.status_code == 401 and not is_renewed and self.credentials.refused(header):
                            is_renewed = True
                        else:
                            yield answer
                            return
                raise ArchiveUnavailable("the archive leads in circles")
        except TimeoutError as exc:
            raise ArchiveUnavailable("the archive is too slow") from exc
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise ArchiveUnavailable("the archive cannot be reached, or broke off") from exc


async def _read(answer: httpx.Response, draft: Draft, limit: int) -> None:
    """The DICOM file of an answer, to the draft."""
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise ArchiveUnavailable("the archive sends instances compressed though asked not to")
    boundary = boundary_of(answer.headers.get("content-type", ""))
    part = OnePart(boundary) if boundary else None
    start = b""
    try:
        async for chunk in answer.aiter_raw():
            content = part.feed(chunk) if part else chunk
            start += content[: DICOM_START - len(start)]
            if len(start) == DICOM_START and not is_dicom(start):
                raise ArchiveUnavailable("the archive gave something that is no DICOM file")
            if draft.byte_count + len(content) > limit:
                raise PictureTooLarge(f"the instance has more than {limit} bytes")
            draft.write(content)
            await draft.drain()
        if part:
            part.finish()
    except Broken as exc:
        raise ArchiveUnavailable("the archive broke off, or its answer is not of one part") from exc
    if len(start) < DICOM_START:
        raise ArchiveUnavailable("the archive gave something that is no DICOM file")


def _checked(uid: str) -> str:
    if not is_uid(uid):
        raise ArchiveRefused("what should be a UID is none")
    return uid


def _headers(accept: str, authorization: str | None) -> dict[str, str]:
    headers = {"Accept": accept, "Accept-Encoding": "identity"}
    return headers | ({"Authorization": authorization} if authorization else {})


def _within(url: str, location: str) -> str:
    """Where a redirect leads, if that is the same origin: elsewhere our credentials have no business."""
    try:
        target = urljoin(url, location)
    except ValueError as exc:
        raise ArchiveRefused("the archive leads nowhere") from exc
    before, after = plain(url), plain(target)
    if before is None or after is None or origin(before) != origin(after):
        raise ArchiveRefused("the archive leads to another server")
    return target


def _check(answer: httpx.Response) -> None:
    status = answer.status_code
    if status in {401, 403}:
        raise ArchiveCredentialsRefused(f"the archive answered {status}")
    if is_passing(answer):
        raise ArchiveUnavailable(f"the archive answered {status}", retry_after=retry_after(answer))
    if status not in {200, 204, 206}:  # 206 is a page of a longer list, or an instance without what nobody asked for
        raise ArchiveRefused(f"the archive answered {status}")


def _client(trust: ssl.SSLContext) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        verify=trust,
        trust_env=False,
        follow_redirects=False,
        timeout=httpx.Timeout(SILENT_AT_MOST_S, connect=CONNECT_WITHIN_S),
    )


def _trust(archive: Archive, *, also_public: bool = False) -> ssl.SSLContext:
    """Whom we believe that they are the archive, and how we show who we are.

    Args:
        also_public: beside the archive's own authority, if it has one, those that everybody trusts: servers of tokens
            often lie outside the house.
    """
    context = ssl.create_default_context(cafile=None if also_public else archive.certificate_authority)
    if also_public and archive.certificate_authority is not None:
        context.load_verify_locations(archive.certificate_authority)
    if archive.client_certificate is not None:
        # the empty passphrase: else OpenSSL asks for one at the terminal
        context.load_cert_chain(archive.client_certificate, archive.client_key, password="")
    return context
