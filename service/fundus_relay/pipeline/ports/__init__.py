"""What the journey needs from the world. Each port is documented here, once.

What is ours has no fake: PostgreSQL (`Ledger`, `Retention`, `Holds`) starts in half a second wherever the tests run,
and blobs are a folder. The parties outside have one in `tests/fakes`, proven by the contract suite that the real
adapter passes too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from fundus_relay.tracing import Tracer

from .account import Account
from .ledger import Census, Job, Ledger, Parked, PutOff, Resources, Transaction
from .outside import Analyser, Blobs, Clock, Draft, HandIn, HealthRecord, ImageArchive, StudyArchive
from .retention import Changed, Condemned, Hold, Holds, Old, Retention

__all__ = [
    "Account", "Analyser", "Blobs", "Census", "Changed", "Clock", "Condemned", "Draft", "HandIn", "HealthRecord",
    "Hold", "Holds", "ImageArchive", "Job", "Ledger", "Old", "Parked", "Ports", "PutOff", "Resources", "Retention",
    "StudyArchive", "Transaction",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ports:
    """All of them.

    Attributes:
        records: by destination name.
        decoding: held by whoever has a picture's pixels in memory: a photograph of 12 megapixels takes 100 MB.
        tracer: begins a span for each step.
    """

    ledger: Ledger
    blobs: Blobs
    archive: StudyArchive
    analyser: Analyser
    records: Mapping[str, HealthRecord]
    clock: Clock
    retention: Retention
    decoding: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    tracer: Tracer = field(default_factory=Tracer)
