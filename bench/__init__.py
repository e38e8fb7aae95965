"""Measurements and the command line."""

import ctypes
import os
import sys

# How often PyTorch's idle threads look for work before they sleep, set before torch is imported. libgomp's default
# bridges the gap between any two operators, but where another program uses one of the cores, every parallel operator
# then waits for a time slice, many times slower: a measurement is not reported there, so it takes the default. A
# hundredth of it bridges most gaps too. Threads that sleep at once make small operators up to three times slower.
os.environ.setdefault("GOMP_SPINCOUNT", "300000" if sys.argv[1:2] == ["measure"] else "3000")


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
