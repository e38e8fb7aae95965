"""Measurements and the command line."""

import ctypes
import os

# Idle threads sleep instead of spinning: where another program uses one of the cores, spinning makes every parallel
# operator wait for a time slice, several times slower. It must be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _keep_freed_memory():
    """Tells glibc to use freed memory again; by default it returns blocks of some MiB to the system, which zeroes them
    page by page at their next use: 60,000 page faults and a seventh of the time of a PoseMamba-B forward pass."""
    trim_threshold, mmap_threshold = -1, -3  # of malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return  # another C library
    mallopt(mmap_threshold, 64 << 20)
    mallopt(trim_threshold, 512 << 20)


_keep_freed_memory()
