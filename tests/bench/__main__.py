"""`make bench`: every measurement, side by side in one run. `python -m tests.bench intake` for one of them."""

from __future__ import annotations

import sys

from . import backlog, intake, journey, probes, purge, replicas, study, validation, waiting

PARTS = {
    "intake": intake,
    "journey": journey,
    "waiting": waiting,
    "validation": validation,
    "study": study,
    "replicas": replicas,
    "backlog": backlog,
    "probes": probes,
    "purge": purge,
}

if __name__ == "__main__":
    for name in sys.argv[1:] or PARTS:
        part = PARTS[name]
        print(f"\n## {(part.__doc__ or '').strip()}\n", flush=True)
        print(part.table(part.measure()), flush=True)
