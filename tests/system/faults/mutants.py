"""The harness tried on a service that is broken on purpose: `python -m tests.system.faults.mutants`.

Each mutant is a copy of the package with one rule taken out; the harness, run on it with a seed whose plan asks for
that rule, has to go red, and is green with the same seed on the package as it is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import fundus_relay

ROOT = Path(__file__).parents[3]
PACKAGE = Path(fundus_relay.__file__).parent
PATIENCE_S = 15
"""That a mutant gets to come to rest: several times what the same seed takes."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One break.

    Attributes:
        changes: old text, which stands there once, to new.
        seed: of a run in which it shows.
        sign: what the harness says of it.
    """

    file: str
    changes: Mapping[str, str]
    seed: int
    sign: str


MUTANTS = {
    "skips the read-back": Mutant(
        "adapters/health_record/transaction.py",
        {"return await self._read_back(resources, left_alone)": 'return Written("unread")'},
        3,
        "that the EHR does not have",
    ),
    "uploads before `sending` is committed": Mutant(
        "pipeline/journey.py",
        {
            "            sending = await _commit_to_send(image, ports, rules)\n": "",
            "            if sending is None:\n                return False\n": "",
            'label=f"image-{image.id}")\n': 'label=f"image-{image.id}")\n'
            "            sending = await _commit_to_send(image, ports, rules)\n"
            "            assert sending is not None\n",
        },
        4,
        "paid for",
    ),
    "forgets to reconcile": Mutant(
        "worker/runner.py",
        {"if overdue := await ledger.overdue(clock.now(), 500):": "if overdue := ():"},
        24,
        "not at rest",
    ),
}


def changed(mutant: Mutant) -> str:
    """The mutant's file with its changes. Raises LookupError: what it changes does not stand there, or not once."""
    text = (PACKAGE / mutant.file).read_text()
    for old, new in mutant.changes.items():
        if text.count(old) != 1:
            raise LookupError(f"{mutant.file} has changed: {old!r} stands there {text.count(old)} times")
        text = text.replace(old, new)
    return text


def broken(mutant: Mutant, folder: Path) -> Path:
    """A folder for PYTHONPATH with the package so broken."""
    shutil.copytree(PACKAGE, folder / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / PACKAGE.name / mutant.file).write_text(changed(mutant))
    return folder


def trial(mutant: Mutant) -> tuple[bool, str]:
    """Whether the harness sees the break for what it is, and all that it says."""
    with tempfile.TemporaryDirectory(prefix="fundus-relay-mutant-") as folder:
        done = subprocess.run(
            [sys.executable, "-m", "tests.system.faults"],
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONPATH": str(broken(mutant, Path(folder))),
                "FAULT_SEED": str(mutant.seed),
                "FAULT_RUNS": "1",
                "FAULT_PATIENCE": str(PATIENCE_S),
            },
            capture_output=True,
            text=True,
            check=False,
        )
    wrong = [line for line in done.stdout.splitlines() if line.startswith("  wrong: ")]
    return done.returncode == 1 and any(mutant.sign in line for line in wrong), done.stdout + done.stderr


if __name__ == "__main__":
    survivors = 0
    for name, mutant in MUTANTS.items():
        is_seen, said = trial(mutant)
        survivors += not is_seen
        wrong = [line.strip() for line in said.splitlines() if line.startswith("  wrong: ")]
        print(f"{'red' if is_seen else 'NOT SEEN'}: the service that {name} (seed {mutant.seed})")
        print("\n".join(f"    {line}" for line in wrong[:4]) if is_seen else said, flush=True)
    sys.exit(1 if survivors else 0)
