"""What goes wrong in a run, and when: all of it follows from the seed."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

APIS, WORKERS = ("api-1", "api-2"), ("worker-1", "worker-2")
REPLICAS = (*APIS, *WORKERS)
PEERS = {
    **dict.fromkeys(APIS, ("callers", "database")),
    **dict.fromkeys(WORKERS, ("database", "analyser", "ehr")),
}
"""Whom a replica has a connection with."""

WINDOW_S = 6.0
HOUR = 3600


@dataclass(frozen=True, slots=True)
class Act:
    """Something that is done to a party.

    Attributes:
        kind: name of a method of `Scene`.
        lasts_s: until it is over again.
        amount: as the kind wants it.
    """

    at_s: float
    kind: str
    target: str = ""
    lasts_s: float = 0
    amount: float = 0
    what: str = ""

    def __str__(self) -> str:
        told = [self.kind, self.target, self.what, f"{self.amount:g}" if self.amount else ""]
        until = f" for {self.lasts_s:.1f} s" if self.lasts_s else ""
        return f"{self.at_s:5.2f} s {' '.join(word for word in told if word)}{until}"


@dataclass(frozen=True, slots=True)
class Doom:
    """The step at which a process kills itself: the `number`-th of its `kind`, or of any."""

    kind: str
    number: int

    def __str__(self) -> str:
        return f"at {self.kind} step {self.number}"


@dataclass(frozen=True, slots=True)
class Plan:
    """One run.

    Attributes:
        patients: how many photographs each has; those of one patient are of one visit.
        dooms: by replica, at which step each of its processes kills itself; then one lives.
        latency_s: that the analyser takes for every answer.
        pages: how PDF and drawings go along.
    """

    seed: int
    patients: Sequence[int]
    dooms: Mapping[str, Sequence[Doom]]
    acts: Sequence[Act]
    pages: str
    latency_s: float


def plan_of(seed: int) -> Plan:
    chance = random.Random(seed)  # noqa: S311 - of faults
    acts = [_act(chance) for _ in range(chance.randint(3, 8))]
    if chance.random() < 0.04:
        acts.append(Act(chance.uniform(0.5, 3), "database_away", lasts_s=20))
    if chance.random() < 0.15:
        acts.append(Act(chance.uniform(0.5, WINDOW_S), "roll"))
    dooms = {name: [_doom(chance, name) for _ in range(chance.choice((0, 0, 1, 2)))] for name in REPLICAS}
    return Plan(
        seed=seed,
        patients=[chance.choice((1, 1, 2)) for _ in range(chance.randint(3, 6))],
        dooms=dooms,
        acts=sorted(acts, key=lambda act: act.at_s),
        pages=chance.choice(("none", "none", "none", "inline", "binary")),
        latency_s=chance.choice((0, 0.1, 0.3)),
    )


def _doom(chance: random.Random, name: str) -> Doom:
    if name in APIS:
        kind = chance.choice(("any", "commit", "keep"))
        return Doom(kind, chance.randint(1, 40 if kind == "any" else 8))
    kind = chance.choice(("any", "commit", "upload", "write"))
    return Doom(kind, chance.randint(1, {"any": 120, "commit": 60}.get(kind, 6)))


def _act(chance: random.Random) -> Act:  # noqa: PLR0912 - a table
    at, replica = chance.uniform(0.2, WINDOW_S), chance.choice(REPLICAS)
    pair = f"{replica}:{chance.choice(PEERS[replica])}"
    match chance.choices(_KINDS, weights=_WEIGHTS)[0]:
        case "kill":
            return Act(at, "kill", replica, lasts_s=chance.choice((0.2, 1, 3)))
        case "kill_for_good":
            return Act(at, "kill", replica, lasts_s=3600)
        case "terminate":
            return Act(at, "terminate", replica)
        case "kill_peer":
            return Act(at, "kill", chance.choice(("analyser", "ehr")), lasts_s=chance.uniform(0.3, 1.5))
        case "database_away":
            return Act(at, "database_away", lasts_s=chance.uniform(0.5, 3), what=chance.choice(("fast", "kill")))
        case "cut":
            return Act(at, "cut", pair)
        case "slow":
            return Act(at, "slow", pair, lasts_s=chance.uniform(1, 3), amount=chance.choice((0.02, 0.1, 0.2)))
        case "silent":
            return Act(at, "silent", pair, lasts_s=chance.uniform(0.5, 4))
        case "closed":
            return Act(at, "closed", pair, lasts_s=chance.uniform(0.5, 3))
        case "disk_full":
            return Act(at, "disk_full", lasts_s=chance.uniform(0.5, 2))
        case "clock":
            jump = chance.choice((-1, 1)) * chance.choice((60, HOUR, 48 * HOUR))
            return Act(at, "clock", replica, amount=jump)
        case "analyser":
            fault = chance.choice(("drop_before", "drop_after", "unavailable", "error", "latency_s"))
            return Act(at, "analyser", lasts_s=1, what=fault, amount=0.5 if fault == "latency_s" else 2)
        case _:
            fault = chance.choice(("lose_answer", "unavailable", "conflict", "drop_observation", "delay_s"))
            return Act(at, "ehr", lasts_s=1, what=fault, amount=0.5 if fault == "delay_s" else 2)


_KINDS = (
    "kill", "kill_for_good", "terminate", "kill_peer", "database_away", "cut", "slow", "silent", "closed", "disk_full",
    "clock", "analyser", "ehr",
)  # fmt: skip
_WEIGHTS = (4, 1, 1, 2, 2, 3, 1, 2, 1, 1, 2, 3, 3)
