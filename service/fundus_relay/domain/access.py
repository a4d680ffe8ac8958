"""Who may call, and what each caller may do."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """What a caller may do; each by itself, none includes another."""

    READ = "read"
    WRITE = "write"
    URGENT = "urgent"  # what it writes may overtake what others wrote; see `pipeline.urgency`
    OPERATE = "operate"


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who called with a token that is known.

    Attributes:
        name: as the operator calls it; may be logged.
    """

    name: str
    scopes: frozenset[Scope]


def digest(token: str) -> str:
    """Under what a token is known: it is random and long, so that no salt is needed."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
