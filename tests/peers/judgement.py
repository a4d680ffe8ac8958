"""HL7's validator, and what it says of a resource."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from tempfile import TemporaryDirectory
from typing import Any

from tests.peers.program import java

from fundus_relay.fhir.names import CANONICAL

HERE = Path(__file__).parent
TERMINOLOGY = HERE / "terminology"
README = HERE.parents[1] / "README.md"


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
    """HL7's instance validator, R4 4.0.1, offline."""

    def __init__(self, process: Popen[str]) -> None:
        self._process = process

    @classmethod
    @contextmanager
    def in_session(cls) -> Iterator[Judge]:
        promised = re.findall(r"^\| `([a-z-]+)` \|", README.read_text(), re.MULTILINE)
        with TemporaryDirectory() as folder:
            write_code_system(Path(folder), "relay-outcome", promised)
            write_code_system(Path(folder), "task", promised)
            with java("judge", "judge.Main", CANONICAL, folder, str(TERMINOLOGY)) as process:
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


def write_code_system(folder: Path, name: str, codes: Sequence[str]) -> None:
    """A CodeSystem of ours that has these codes and no other."""
    system = {
        "resourceType": "CodeSystem",
        "url": f"{CANONICAL}/CodeSystem/{name}",
        "status": "active",
        "content": "complete",
        "concept": [{"code": code} for code in dict.fromkeys(codes)],
    }
    (folder / f"{name}.json").write_text(json.dumps(system))
