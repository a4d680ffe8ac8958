"""An archive that speaks DICOMweb, behind a socket: with the rules of a real one, and with faults on demand.

Source: DICOM PS3.18, 10.4 and 10.6; Orthanc 1.10.1 with its DICOMweb plug-in 1.7, which the same contract is put to.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs, unquote_plus

import pydicom
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from fundus_relay.domain.dicom import InstanceName

BOUNDARY = "a-boundary-of-ours"
ALWAYS = ("0020000D", "0020000E", "00080018")
"""What a search gives although nobody asks for it."""

Fault = Callable[[Request], Response | None]


@dataclass
class DicomwebServer:
    """Gives what was put into it to whoever may have it.

    Attributes:
        admits: values of the Authorization header that are let in; everybody when there are none.
        most: instances that a page of a search has at most, whatever was asked for.
        searches: whether there are searches at all.
        fault: what is answered in place of the truth, when it gives something.
        requests: what was asked.
    """

    admits: set[str] = field(default_factory=set)
    most: int = 100
    searches: bool = True
    fault: Fault = lambda _: None
    requests: list[Request] = field(default_factory=list)
    files: dict[InstanceName, bytes] = field(default_factory=dict)
    app: FastAPI = field(init=False)

    def __post_init__(self) -> None:
        self.app = FastAPI(openapi_url=None)
        self.app.middleware("http")(self._admit)
        self.app.get("/dicom-web/studies/{study}/instances")(self._search)
        self.app.get("/dicom-web/studies/{study}/metadata")(self._metadata)
        self.app.get("/dicom-web/studies/{study}/series/{series}/instances/{instance}")(self._retrieve)

    def put(self, file: bytes) -> InstanceName:
        header = pydicom.dcmread(BytesIO(file), stop_before_pixels=True)
        name = InstanceName(header.StudyInstanceUID, header.SeriesInstanceUID, header.SOPInstanceUID)
        self.files[name] = file
        return name

    @property
    def seen(self) -> list[str]:
        """Paths that were asked for."""
        return [each.url.path for each in self.requests]

    async def _admit(self, request: Request, proceed: Callable[[Request], Any]) -> Response:  # Any: as Starlette says
        self.requests.append(request)
        if (answer := self.fault(request)) is not None:
            return answer
        if self.admits and request.headers.get("authorization") not in self.admits:
            return Response("who are you?", 401, {"WWW-Authenticate": "Basic"})
        return await proceed(request)  # type: ignore[no-any-return]  # Starlette's

    async def _search(self, study: str, request: Request) -> Response:
        if not self.searches:
            return Response(status_code=501)
        asked = {name: values[-1] for name, values in parse_qs(request.url.query).items()}
        first, count = int(asked.get("offset", 0)), min(self.most, int(asked.get("limit", self.most)))
        fields = {*ALWAYS, *asked.get("includefield", "").split(",")}
        page = self._headers(study)[first : first + count]
        found = [{tag: value for tag, value in each.items() if tag in fields} for each in page]
        return JSONResponse(found, media_type="application/dicom+json") if found else Response(status_code=204)

    async def _metadata(self, study: str) -> Response:
        found = self._headers(study)
        return JSONResponse(found, media_type="application/dicom+json") if found else Response(status_code=404)

    def _headers(self, study: str) -> list[dict[str, Any]]:  # Any: DICOM JSON
        files = [file for name, file in self.files.items() if name.study == study]
        return [pydicom.dcmread(BytesIO(each), stop_before_pixels=True).to_json_dict() for each in files]

    async def _retrieve(self, study: str, series: str, instance: str, request: Request) -> Response:
        file = self.files.get(InstanceName(study, series, instance))
        if file is None:
            return Response(status_code=404)
        accept = re.sub(r"\s", "", request.headers.get("accept", ""))
        if not accept.startswith('multipart/related;type="application/dicom"'):
            return Response(status_code=406)
        return multipart(file if "transfer-syntax=*" in accept else recompressed(file))


def recompressed(file: bytes) -> bytes:
    """What archives give to those who do not ask for what is stored."""
    return file[:-1] + bytes([file[-1] ^ 1])


def multipart(*files: bytes, is_whole: bool = True, boundary: str = BOUNDARY, **headers: str) -> Response:
    """An answer with a part for each file; half of it when it is not whole, without anybody saying so."""
    body = b"".join(
        b"\r\n--%b\r\nContent-Type: application/dicom\r\n\r\n%b" % (boundary.encode(), each) for each in files
    )
    body += b"\r\n--%b--\r\n" % boundary.encode()
    stated = {"Content-Type": f'multipart/related; type="application/dicom"; boundary="{boundary}"', **headers}
    return Response(body if is_whole else body[: len(body) // 2], headers=stated)


def broken_off(start: bytes, headers: Mapping[str, str]) -> Response:
    """An answer whose connection is cut."""

    async def pieces() -> AsyncIterator[bytes]:
        yield start
        raise ConnectionResetError

    return StreamingResponse(pieces(), headers=dict(headers))


@dataclass
class TokenServer:
    """Gives tokens to one client, each another one.

    Attributes:
        archive: which admits the newest token, and no other.
        fault: as of the archive.
        given: how many tokens.
    """

    archive: DicomwebServer
    client: tuple[str, str] = ("a client: 1", "a secret% +")
    lasts_s: float = 600
    fault: Fault = lambda _: None
    given: int = 0
    app: FastAPI = field(init=False)

    def __post_init__(self) -> None:
        self.app = FastAPI(openapi_url=None)
        self.app.post("/token")(self._token)

    async def _token(self, request: Request) -> Response:
        if (answer := self.fault(request)) is not None:
            return answer
        form = parse_qs((await request.body()).decode())
        name, _, secret = b64decode(request.headers["authorization"].removeprefix("Basic ")).decode().partition(":")
        if (unquote_plus(name), unquote_plus(secret)) != self.client or form["grant_type"] != ["client_credentials"]:
            return JSONResponse({"error": "invalid_client"}, 401)
        self.given += 1
        self.archive.admits = {f"Bearer token-{self.given}"}
        told = {"access_token": f"token-{self.given}", "token_type": "Bearer", "expires_in": self.lasts_s}
        return Response(json.dumps(told), media_type="application/json")
