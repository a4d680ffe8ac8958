"""What was asked of which server, and what became of it: the table at the end of `make test-peers`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import pytest

SERVERS = {
    "hapi": "HAPI",
    "router": "Medplum",
    "plain": "HAPI, validating",
    "guided": "... with our guide",
}
"""Fixtures by which a test has a server, and what the table calls it."""

WORSE = ("-", "skipped", "yes", "FAILED")


class Cases:
    """Outcomes of the tests that run against a server."""

    def __init__(self) -> None:
        self._outcomes: dict[str, dict[str, str]] = defaultdict(dict)

    def note(self, report: pytest.TestReport) -> None:
        """Keep what became of a test, the worst when it ran with several values."""
        name, _, values = report.nodeid.rpartition("::")[2].partition("[")
        server = next((each for each in SERVERS if each in values.rstrip("]").split("-")), None)
        if server is None or (report.passed and report.when != "call"):
            return
        outcome = "yes" if report.passed else "skipped" if report.skipped else "FAILED"
        case = name.removeprefix("test_").replace("_", " ")
        known = self._outcomes[case].get(server, "-")
        self._outcomes[case][server] = max(known, outcome, key=WORSE.index)

    def table(self) -> Iterator[str]:
        """Lines, the head first; none when nothing was asked."""
        if not self._outcomes:
            return
        width = max(map(len, self._outcomes))
        yield " | ".join(["case".ljust(width), *SERVERS.values()])
        for case, outcomes in self._outcomes.items():
            told = [outcomes.get(server, "-").ljust(len(title)) for server, title in SERVERS.items()]
            yield " | ".join([case.ljust(width), *told])
