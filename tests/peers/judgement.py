"""HL7's validator, and what it says of a resource."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any

from tests.peers.program import java

HERE = Path(__file__).parent
TERMINOLOGY = HERE / "terminology"
GUIDE = HERE.parents[1] / "service" / "fundus_relay" / "guide" / "compiled"


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing that the judge says.

    Attributes:
        severity: `fatal`, `error`, `warning` or `information`.
        where: FHIRPath, or nothing.
    """

    severity: str
    where: str
    text: str


class Judge:
    """HL7's instance validator, R4 4.0.1 with our guide, offline."""

    def __init__(self, process: Popen[str]) -> None:
        self._process = process

    @classmethod
    @contextmanager
    def in_session(cls) -> Iterator[Judge]:
        with java("judge", "judge.Main", str(GUIDE), str(TERMINOLOGY)) as process:
            yield cls(process)

    def remarks(self, resource: Mapping[str, Any]) -> list[Remark]:
        """Errors and warnings."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(resource) + "\n")
        self._process.stdin.flush()
        outcome = json.loads(self._process.stdout.readline())
        return [
            Remark(each["severity"], next(iter(each.get("location", [])), ""), each.get("diagnostics", ""))
            for each in outcome.get("issue", [])
            if each["severity"] != "information"
        ]
