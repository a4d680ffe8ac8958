"""Memory of a process that lives for months."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress

_M_MMAP_THRESHOLD = -3  # malloc.h of glibc
_LARGE = 4 * 1024 * 1024


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
