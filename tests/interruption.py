"""A real database that goes away and comes back when a test says so."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from fundus_relay.adapters.database.embedded import _Server


class Interruption:
    """A database that is stopped and stays away, although its user watches it, until it is started."""

    def __init__(self, home: Path) -> None:
        self._server = _Server(home)
        self._turn = ExitStack()

    def stop(self) -> None:
        self._turn.enter_context(self._server.turn())
        self._server.stop()

    def start(self) -> None:
        self._server.start()
        self._turn.close()
