"""Deterministic identity: the same thing always has the same identifier and the same id."""

from __future__ import annotations

import hashlib
from uuid import NAMESPACE_URL, uuid5

from fundus_relay.domain.values import Json


def identifier(system: str, *parts: str) -> Json:
    """An identifier whose value is a digest of what makes the thing one thing; tells nothing of the patient."""
    return {"system": system, "value": hashlib.sha256("\n".join(parts).encode()).hexdigest()}


def id_of(named: Json) -> str:
    """Our id of what has this identifier."""
    return str(uuid5(NAMESPACE_URL, f"{named['system']}|{named['value']}"))
