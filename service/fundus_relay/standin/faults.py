"""How the stand-in misbehaves: for the next n calls, or by chance."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

COUNTED = (
    "drop_before",  # the connection is cut before the job is taken
    "drop_after",  # the connection is cut after the job was taken and paid
    "unavailable",  # HTTP 503
    "error",  # body status 500
    "hold",  # the job goes on HOLD
    "stuck",  # the job stays QUEUED
    "fail",  # the job ends with ERROR
)


@dataclass(slots=True)
class Faults:
    """What goes wrong from now on.

    Attributes:
        left: how many more times each of `COUNTED` strikes.
        latency_s: before every answer.
        error_rate: share of answers that are errors.
        endpoints: only these calls are hit by `unavailable`, `error`, the latency and the rate; all when empty.
    """

    latency_s: float
    error_rate: float
    chance: random.Random
    left: dict[str, int] = field(default_factory=dict)
    endpoints: frozenset[str] = frozenset()

    def change(self, said: Mapping[str, object]) -> None:
        """Take over what the admin route was sent. Raises ValueError for a word that is no fault."""
        for name, value in said.items():
            match name:
                case "latency_s":
                    self.latency_s = float(str(value))
                case "error_rate":
                    self.error_rate = float(str(value))
                case "endpoints" if isinstance(value, list):
                    self.endpoints = frozenset(map(str, value))
                case _ if name in COUNTED:
                    self.left[name] = int(str(value))
                case _:
                    raise ValueError(
                        f"{name} is no fault; there are latency_s, error_rate, endpoints, {', '.join(COUNTED)}"
                    )

    def clear(self) -> None:
        self.latency_s, self.error_rate, self.left, self.endpoints = 0.0, 0.0, {}, frozenset()

    def strikes(self, name: str) -> bool:
        """Whether this fault strikes now; counts it."""
        if self.left.get(name, 0) < 1:
            return False
        self.left[name] -= 1
        return True

    def hits(self, endpoint: str) -> bool:
        return not self.endpoints or endpoint in self.endpoints

    def told(self) -> Mapping[str, object]:
        return {
            "latency_s": self.latency_s,
            "error_rate": self.error_rate,
            "endpoints": sorted(self.endpoints),
            **self.left,
        }
