"""Memory of the process: kept from step to step, given back between stages, its peak told."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
from pathlib import Path

# Numbers of `mallopt` in the GNU C library's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_ALL = 2**31 - 1


def keep_freed_memory() -> bool:
    """Has the GNU C library keep large blocks that are freed instead of giving them back.

    By default each tensor of 32 MB or more is new memory from the system, whose pages it
    clears one by one as they are touched: at every step anew for gradients and masked weights
    of a large layer. For commands only, and before TensorFlow's threads exist: it concerns the
    whole process.

    Returns:
        Whether it could be asked for; other C libraries have no such door.
    """
    if not sys.platform.startswith("linux"):
        return False
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        return all(
            mallopt(ctypes.c_int(option), ctypes.c_int(value))
            for option, value in (
                (_M_MMAP_MAX, 0),  # every block from the heap
                (_M_TRIM_THRESHOLD, _ALL),  # whose end stays
                (_M_ARENA_MAX, 1),  # and which all threads share
            )
        )
    return False


def give_back_freed_memory() -> None:
    """Frees what only cycles of references hold, and returns what is free to the system.

    A graph that TensorFlow has traced is such a cycle, with all weights if they were frozen into
    it. Returning is the GNU C library's part; elsewhere the library decides by itself.
    """
    gc.collect()
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(ctypes.c_size_t(0))


def peak_memory() -> int | None:
    """Largest resident memory of this process so far, in bytes; None where no system tells."""
    # Linux counts in getrusage what the process was a copy of before it became itself, too.
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return None
