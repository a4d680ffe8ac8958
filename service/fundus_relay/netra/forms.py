"""The forms of the four calls, url-encoded, with the spellings of the tables and of the sample client.

Source: tables of input, Netra API 1.0; its sample client, which sends `jobid` and url-safe base64 after a `data:`
prefix. `bulkImgLabel` and `imageLocPath` are optional and left out: they would only tell of us and of the patient.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

from fundus_relay.domain.values import Pieces

CONTENT_TYPE = "application/x-www-form-urlencoded"
SUFFIX = {"image/jpeg": ".jpg", "image/png": ".png"}


def token_form(username: str, password: str) -> bytes:
    """getToken."""
    return urlencode({"username": username, "password": password, "apiRequestType": "DIAB_RETINA"}).encode()


def job_form(token: str, job_id: str) -> bytes:
    """getStatus and getResult; which spelling a server reads is not known, so both are there."""
    return urlencode({"jobId": job_id, "jobid": job_id, "token": token}).encode()


@dataclass(frozen=True, slots=True)
class UploadForm:
    """doAnalysis, made piece by piece while it leaves: the picture is never there whole.

    The token comes last. A form that is cut short anywhere has no whole token, so it cannot be taken, whatever a server
    does with half a form.

    Attributes:
        label: stands in `imageName`; no patient data.
    """

    picture: Pieces = field(repr=False)
    media_type: str
    label: str
    token: str = field(repr=False)

    @property
    def byte_count(self) -> int:
        """Of all pieces together."""
        groups, rest = divmod(self.picture.byte_count, 3)
        padding = (3 - rest) % 3
        return len(self._head) + 4 * (groups + bool(rest)) + 2 * padding + len(self._tail)

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body; the last piece is the token. Raises what reading the picture raises; no token is made then."""
        yield self._head
        left = b""  # three bytes are four characters: what is not a group of three yet waits for the next piece
        async for piece in self.picture:
            piece = left + piece  # noqa: PLW2901
            whole = len(piece) - len(piece) % 3
            left = piece[whole:]
            yield urlsafe_b64encode(memoryview(piece)[:whole])
        yield urlsafe_b64encode(left).replace(b"=", b"%3D")  # the only character of its alphabet that a form escapes
        yield self._tail

    @property
    def _head(self) -> bytes:
        name = quote(self.label + SUFFIX[self.media_type], safe="")
        prefix = quote(f"data:{self.media_type};base64,", safe="")
        return f"imageName={name}&image={prefix}".encode()

    @property
    def _tail(self) -> bytes:
        return f"&token={quote(self.token, safe='')}".encode()
