"""Memory of a process that lives for months."""

from __future__ import annotations

import asyncio
import ctypes
import gc
from contextlib import suppress
from typing import Never

_M_MMAP_THRESHOLD = -3  # malloc.h of glibc
_LARGE = 512 * 1024
_EVERY_S = 2


def settle() -> None:
    """Call once everything is loaded.

    Modules and models live as long as we do: the garbage collector does not walk them again. And pixels go back to the
    system as soon as they are freed: left to itself, glibc keeps blocks of up to 32 MiB for each thread that ever
    freed one. Another C library is left as it is.
    """
    gc.collect()
    gc.freeze()
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE)


async def give_back() -> Never:
    """Return to the system, every few seconds, what was freed between other things; to be cancelled.

    glibc by itself returns only what lies at an end of a heap. Rows, pictures and texts of half a megabyte leave holes,
    which grow to tens of megabytes in a study of 200 photographs and stay. It takes some milliseconds, in a thread.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    while True:
        await asyncio.sleep(_EVERY_S)
        if trim is not None:
            await asyncio.to_thread(trim, 0)
