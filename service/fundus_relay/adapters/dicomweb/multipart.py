"""A multipart/related answer with one part, parsed as it arrives.

Source: RFC 2046 5.1.1, RFC 2387; DICOM PS3.18 8.6.1.2.
"""

from __future__ import annotations

from email.message import Message

_LONGEST_HEAD = 16_384


class Broken(Exception):
    """The answer is no multipart of one part, or broke off."""


def boundary_of(content_type: str) -> bytes | None:
    """The boundary of a multipart type, or None when it is another type."""
    message = Message()
    message["Content-Type"] = content_type
    boundary = message.get_boundary()
    if message.get_content_maintype() != "multipart" or not boundary or len(boundary) > 70:
        return None
    return boundary.encode("ascii", "replace")


class OnePart:
    """Feed it the answer in chunks; it gives the content of its part, piece by piece."""

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._waiting = b"\r\n"  # a delimiter may begin the answer without a line before it
        self._read = self._preamble

    def feed(self, chunk: bytes) -> bytes:
        """What is certain to belong to the part. Raises Broken."""
        self._waiting += chunk
        return self._read()

    def finish(self) -> None:
        """The answer has ended. Raises Broken: before its part did."""
        if self._read != self._behind or not self._waiting.startswith(b"--"):
            raise Broken("the answer ends inside its part")

    def _preamble(self) -> bytes:
        start = self._waiting.find(self._delimiter)
        if (start if start >= 0 else len(self._waiting) - len(self._delimiter)) > _LONGEST_HEAD:
            raise Broken("the answer has no part")
        if start < 0:
            return b""
        self._waiting = self._waiting[start + len(self._delimiter) :]
        self._read = self._head
        return self._read()

    def _head(self) -> bytes:
        end = self._waiting.find(b"\r\n\r\n")
        if (end if end >= 0 else len(self._waiting) - 4) > _LONGEST_HEAD or self._waiting.startswith(b"--"):
            raise Broken("the answer's part has no content")
        if end < 0:
            return b""
        self._waiting = self._waiting[end + 4 :]
        self._read = self._content
        return self._read()

    def _content(self) -> bytes:
        end = self._waiting.find(self._delimiter)
        if end < 0:
            sure = max(0, len(self._waiting) - len(self._delimiter) + 1)
            content, self._waiting = self._waiting[:sure], self._waiting[sure:]
            return content
        content, self._waiting = self._waiting[:end], self._waiting[end + len(self._delimiter) :]
        self._read = self._behind
        self._read()
        return content

    def _behind(self) -> bytes:
        if len(self._waiting) >= 2 and not self._waiting.startswith(b"--"):
            raise Broken("the answer has more than one part")
        self._waiting = self._waiting[:2]
        return b""
