"""A process of its own in which pictures are looked at, so that a bad one harms nobody.

How this works: the pool is a `ProcessPoolExecutor` of one spawned process, which keeps the network loaded. A pool whose
process died cannot be mended, so a new one takes its place and the picture is looked at once more. The executor does
not end a busy process when it is shut down, nor does the process notice that its parent was killed; we see to both.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from threading import Thread

from .answers import Seen

log = logging.getLogger(__name__)

LOOKS = 2
"""How many processes a picture may take with it before it is given up."""

Look = Callable[[bytes], Seen]


def with_the_network(picture: bytes) -> Seen:
    """What the network sees. Imported in the process alone: the pixels' libraries are heavy."""
    from .eyes.look import look

    return look(picture)


class Onlooker:
    """Looks at one picture after the other."""

    def __init__(self, look: Look = with_the_network) -> None:
        """
        Args:
            look: a module's function, as it goes to another process by its name.
        """
        self._look = look
        self._pool: ProcessPoolExecutor | None = None

    async def see(self, picture: bytes) -> Seen | None:
        """What is seen; None when it does not decode, or its process died twice."""
        for _ in range(LOOKS):
            if self._pool is None:
                self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _stay_with_the_parent)
            try:
                return await asyncio.get_running_loop().run_in_executor(self._pool, self._look, picture)
            except BrokenProcessPool:
                self.close()
                log.warning("eyes-restarted")
            except Exception as exc:  # whatever a decoder raises for whatever was sent
                log.warning("picture-not-analysed", extra={"code": type(exc).__name__})
                return None
        return None

    def close(self) -> None:
        """End the process, busy or not."""
        if self._pool is None:
            return
        processes = list(self._pool._processes.values())  # there is no public way to them before Python 3.14
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.kill()
        self._pool = None


def _stay_with_the_parent() -> None:
    """End when the parent ends, however it does; leave an interrupt at the keyboard to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()


def _end_after(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
