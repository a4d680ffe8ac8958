"""Callers from a file of tokens: name, SHA-256 of the token, scopes. No token stands in it.

One a line (`clinic-7 sha256:3f1c… read,write`; `#` begins a comment), or a JSON list of objects with `name`, `sha256`
and `scopes`. The file is looked at again when it is asked, once a second at most: Kubernetes puts a new Secret in place
of the old one by a link, so that it is another file with another time. One that cannot be used changes nothing.

A file in which nobody has the scope `urgent` was written before there was one, or by somebody who does not mind: then
whoever may write may be urgent, and the log says so.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from fundus_relay import metrics
from fundus_relay.domain.access import Caller, Scope, digest

LOOKS_EVERY_S = 1.0

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_SHA256 = re.compile(r"(?:sha256:)?([0-9a-f]{64})")

log = logging.getLogger(__name__)


class Unusable(Exception):
    """The file cannot be used; its text says where and why, and quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What tells one file from the next."""

    inode: int
    changed_ns: int
    size: int


class FileOfCallers:
    """The callers of a file, as it is now."""

    def __init__(self, path: Path, now_s: Callable[[], float] = time.monotonic) -> None:
        """Read it. Raises Unusable."""
        self._path, self._now_s = path, now_s
        self._seen = _look(path)
        self._callers = _told(read(path))
        self._looked_at_s = now_s()

    def of(self, token: str) -> Caller | None:
        """Whose token this is, or None."""
        if self._now_s() - self._looked_at_s >= LOOKS_EVERY_S:
            self._look_again()
        return self._callers.get(digest(token))

    def _look_again(self) -> None:
        self._looked_at_s = self._now_s()
        seen = _look(self._path)
        if seen == self._seen:
            return
        self._seen = seen  # one that cannot be used is told once
        try:
            self._callers = _told(read(self._path))
        except Unusable as why:
            metrics.tokens_unusable.set(1)
            log.error("tokens-unusable", extra={"reason": str(why)})  # noqa: TRY400 - its text says all
        else:
            metrics.tokens_unusable.set(0)
            log.info("tokens-read", extra={"count": len(self._callers)})


def read(path: Path) -> Mapping[str, Caller]:
    """The callers of a file by the digests of their tokens. Raises Unusable."""
    try:
        text = path.read_text("utf-8")
    except OSError as why:
        raise Unusable(f"cannot be read: {why.strerror}") from None
    except UnicodeDecodeError:
        raise Unusable("is not UTF-8") from None
    callers: dict[str, Caller] = {}
    for place, name, sha256, scopes in _entries(text):
        key, caller = _caller(place, name, sha256, scopes)
        if key in callers:
            raise Unusable(f"{place}: this token stands in it twice")
        callers[key] = caller
    if not callers:
        raise Unusable("names no caller")
    return callers


def _told(callers: Mapping[str, Caller]) -> Mapping[str, Caller]:
    """The same; of a file that leaves open who may be urgent, those who may write are, which is told."""
    if any(Scope.URGENT in each.scopes for each in callers.values()):
        return callers
    log.warning("anybody-may-be-urgent", extra={"count": len(callers)})
    return {key: _hurried(each) for key, each in callers.items()}


def _hurried(caller: Caller) -> Caller:
    return replace(caller, scopes=caller.scopes | {Scope.URGENT}) if Scope.WRITE in caller.scopes else caller


def _entries(text: str) -> Iterator[tuple[str, object, object, object]]:
    if text.lstrip().startswith("["):
        yield from _of_json(text)
        return
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if words:
            if len(words) != 3:
                raise Unusable(f"line {number}: needs a name, sha256:…, and scopes with commas between them")
            yield f"line {number}", words[0], words[1], words[2].split(",")


def _of_json(text: str) -> Iterator[tuple[str, object, object, object]]:
    try:
        listed = json.loads(text)
    except (ValueError, RecursionError):
        raise Unusable("is not JSON") from None
    for number, each in enumerate(listed, 1):
        if not isinstance(each, dict) or each.keys() != {"name", "sha256", "scopes"}:
            raise Unusable(f"entry {number}: needs name, sha256 and scopes, and nothing else")
        yield f"entry {number}", each["name"], each["sha256"], each["scopes"]


def _caller(place: str, name: object, sha256: object, scopes: object) -> tuple[str, Caller]:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise Unusable(f"{place}: the name must be of letters, digits and . _ @ -, 64 at most")
    found = _SHA256.fullmatch(sha256.lower()) if isinstance(sha256, str) else None
    if found is None:
        raise Unusable(f"{place}: needs the token's SHA-256 as 64 hexadecimal digits, not the token")
    known = [each.value for each in Scope]
    if not isinstance(scopes, list) or not scopes or not all(each in known for each in scopes):
        raise Unusable(f"{place}: scopes must be of {', '.join(known)}")
    return found[1], Caller(name, frozenset(map(Scope, scopes)))


def line_of(name: str, token: str, scopes: Iterable[Scope]) -> str:
    """The line of the file for a caller. Raises Unusable."""
    line = f"{name} sha256:{digest(token)} {','.join(scopes)}"
    for entry in _entries(line):
        _caller(*entry)
    return line


def _look(path: Path) -> _Look | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return _Look(found.st_ino, found.st_mtime_ns, found.st_size)
