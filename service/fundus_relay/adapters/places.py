"""Where other servers may lie: base URLs that an operator listed, and URLs that say one thing to every reader."""

from __future__ import annotations

import re
from unicodedata import normalize
from urllib.parse import SplitResult, unquote, urlsplit

_PORTS = {"http": 80, "https": 443}
_FOREIGN = re.compile(r"[^!-\[\]^-~]|#")  # white space, control characters, backslash, what is not ASCII, fragments
_TRICKS = re.compile(
    r"%(?![0-9a-f]{2})"  # no escape, or one of a dialect: %u002e
    r"|%2[ef5]|%5c"  # dots, slashes and backslashes, and the percent sign that would hide any of them one level deeper
    r"|(?:^|/)\.{1,2}(?:[/;]|%3b|\Z)",  # steps up, also with a parameter, which some servers cut off before they step
    re.IGNORECASE,
)
"""What one reader unescapes and another does not."""
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_STEPS = re.compile(r"[./\\;%]")


class Base:
    """A base URL; what lies below it counts in whole segments of the path."""

    def __init__(self, url: str) -> None:
        parts = plain(url)
        if parts is None or parts.query:
            raise ValueError(f"no base URL: {url}")
        self._origin = origin(parts)
        self._path = parts.path.rstrip("/") + "/"

    def holds(self, parts: SplitResult) -> bool:
        """Whether a URL lies below."""
        return origin(parts) == self._origin and parts.path.startswith(self._path)

    def is_or_holds(self, url: str) -> bool:
        """Whether a base URL is this one, or lies below."""
        parts = plain(url)
        if parts is None or parts.query:
            return False
        return self.holds(parts._replace(path=parts.path.rstrip("/") + "/"))


def plain(url: str) -> SplitResult | None:
    """A URL that says one thing to every reader, or None."""
    try:
        parts = urlsplit(url)
        is_plain = parts.scheme in _PORTS and parts.hostname and "@" not in parts.netloc and port(parts) > 0
    except ValueError:
        return None
    return parts if is_plain and not _FOREIGN.search(url) and _says_one_thing(parts.path) else None


def _says_one_thing(path: str) -> bool:
    """Whether a path steps nowhere, whoever unescapes it, how often, and into whichever alphabet."""
    if _TRICKS.search(path):
        return False
    try:
        text = unquote(path, errors="strict")
    except UnicodeDecodeError:  # also an overlong spelling of a slash
        return False
    return not _CONTROLS.search(text) and _STEPS.findall(normalize("NFKC", text)) == _STEPS.findall(text)


def origin(parts: SplitResult) -> tuple[str, str, int]:
    return parts.scheme, (parts.hostname or "").rstrip("."), port(parts)


def port(parts: SplitResult) -> int:
    return parts.port if parts.port is not None else _PORTS[parts.scheme]
