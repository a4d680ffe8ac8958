"""A real database that goes away and comes back when a test says so."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack, suppress
from pathlib import Path

from fundus_relay.adapters.database.embedded import SOCKET_NAME, _Server, _servers_of


class Interruption:
    """A database that is stopped and stays away, although its user watches it, until it is started."""

    def __init__(self, home: Path) -> None:
        self._server = _Server(home)
        self._turn = ExitStack()

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self._server.sockets / SOCKET_NAME

    def kill(self) -> None:
        """As if its machine were gone: nothing is flushed, nobody is told."""
        self._turn.enter_context(self._server.turn())
        for id in _servers_of(self._server.data):
            with suppress(ProcessLookupError):
                os.kill(id, signal.SIGKILL)

    def stop(self) -> None:
        self._turn.enter_context(self._server.turn())
        self._server.stop()

    def start(self) -> None:
        self._server.start()
        self._turn.close()
