"""The forms of the four calls, url-encoded, with the spellings of the tables and of the sample client.

Source: tables of input, Netra API 1.0; its sample client, which sends `jobid` and url-safe base64 after a `data:`
prefix. `bulkImgLabel` and `imageLocPath` are optional and left out: they would only tell of us and of the patient.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

CONTENT_TYPE = "application/x-www-form-urlencoded"
SUFFIX = {"image/jpeg": ".jpg", "image/png": ".png"}
PIECE = 3 * 65_536
"""Bytes encoded at a time; a multiple of three, so that only the last piece is padded."""


def token_form(username: str, password: str) -> bytes:
    """getToken."""
    return urlencode({"username": username, "password": password, "apiRequestType": "DIAB_RETINA"}).encode()


def job_form(token: str, job_id: str) -> bytes:
    """getStatus and getResult; which spelling a server reads is not known, so both are there."""
    return urlencode({"jobId": job_id, "jobid": job_id, "token": token}).encode()


@dataclass(frozen=True, slots=True)
class UploadForm:
    """doAnalysis, made piece by piece while it leaves: the picture is never copied whole.

    The token comes last. A form that is cut short anywhere has no whole token, so it cannot be taken, whatever a server
    does with half a form.

    Attributes:
        label: stands in `imageName`; no patient data.
    """

    picture: bytes = field(repr=False)
    media_type: str
    label: str
    token: str = field(repr=False)

    @property
    def byte_count(self) -> int:
        """Of all pieces together."""
        groups, rest = divmod(len(self.picture), 3)
        padding = (3 - rest) % 3
        return len(self._head) + 4 * (groups + bool(rest)) + 2 * padding + len(self._tail)

    def pieces(self) -> Iterator[bytes]:
        """The body; the last piece is the token."""
        yield self._head
        picture = memoryview(self.picture)
        for start in range(0, len(picture), PIECE):
            piece = urlsafe_b64encode(picture[start : start + PIECE])
            yield piece.replace(b"=", b"%3D")  # the only character of this alphabet that a form escapes
        yield self._tail

    @property
    def _head(self) -> bytes:
        name = quote(self.label + SUFFIX[self.media_type], safe="")
        prefix = quote(f"data:{self.media_type};base64,", safe="")
        return f"imageName={name}&image={prefix}".encode()

    @property
    def _tail(self) -> bytes:
        return f"&token={quote(self.token, safe='')}".encode()
