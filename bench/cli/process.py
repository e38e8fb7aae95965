"""Set up a command's own process before torch is imported. Importing liftbench changes nothing."""

import ctypes
import os

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h


def prepare(measuring: bool) -> None:
    """Set up threads and memory for a command that measures, or for any other."""
    _let_idle_threads_spin(measuring)
    _keep_freed_memory()


def _let_idle_threads_spin(measuring: bool):
    """Set how often idle OpenMP threads look for work before they sleep, unless the user has set it.

    libgomp's default, 300,000, bridges the gap between any two operators. But if another program uses one of the cores,
    every parallel operator then waits for a time slice and becomes many times slower. Measurements are refused on such
    a machine, so they keep the default. The other commands take a hundredth, which bridges most gaps; threads that
    sleep at once would make small operators up to three times slower.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "300000" if measuring else "3000")


def _keep_freed_memory():
    """Make glibc reuse freed memory.

    By default it returns blocks of some MiB to the system, which zeroes them page by page at their next use: 60,000
    page faults and a seventh of the time of a forward pass of PoseMamba-B.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return  # another C library
    mallopt(_MMAP_THRESHOLD, 64 << 20)
    mallopt(_TRIM_THRESHOLD, 512 << 20)
