"""The forms of the four calls, url-encoded, with the spellings of the tables and of the sample client.

Source: Netra API 1.0, tables of input; sample code, which sends `jobid` and url-safe base64 after a `data:` prefix.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from urllib.parse import quote, urlencode

CONTENT_TYPE = "application/x-www-form-urlencoded"
_SUFFIX = {"image/jpeg": ".jpg", "image/png": ".png"}


def token_form(username: str, password: str) -> bytes:
    """getToken."""
    return urlencode({"username": username, "password": password, "apiRequestType": "DIAB_RETINA"}).encode()


def upload_form(token: str, picture: bytes, media_type: str, label: str) -> bytes:
    """doAnalysis. The url-safe alphabet needs no escapes but for the padding, so the picture is copied once.

    Args:
        label: stands in `imageName`; no patient data.
    """
    rest = urlencode({"imageName": label + _SUFFIX[media_type], "token": token})
    prefix = quote(f"data:{media_type};base64,", safe="")
    encoded = urlsafe_b64encode(picture)
    bare = encoded.rstrip(b"=")
    return b"".join((rest.encode(), b"&image=", prefix.encode(), bare, b"%3D" * (len(encoded) - len(bare))))


def job_form(token: str, job_id: str) -> bytes:
    """getStatus and getResult; which spelling a server reads is not known, so both are there."""
    return urlencode({"token": token, "jobid": job_id, "jobId": job_id}).encode()
