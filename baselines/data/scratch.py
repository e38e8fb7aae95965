"""Arrays as long as a recording, and how to work on them some frames at a time.

A small array is an ordinary one. A large one lies in a temporary file without a name: the system writes its pages to
the disk where memory is short, and the file is gone with the array.
"""

import math
import mmap
import os
import tempfile
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import DTypeLike

from liftbench.baselines.errors import InputError

LARGE = 1 << 25  # bytes; 80,000 frames of float64 poses
FRAMES = 4096  # worked on at a time


def zeros(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """An array of zeros. Raises InputError where the folder for temporary files has no room for it."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < LARGE:
        return np.zeros(shape, dtype)
    try:
        with tempfile.TemporaryFile() as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)  # a full disk is found now, not as a crash
            else:
                os.ftruncate(file.fileno(), size)
            return np.ndarray(shape, dtype, mmap.mmap(file.fileno(), size))
    except OSError as error:
        raise InputError(
            f"Cannot keep {size / 1e6:,.0f} MB in {tempfile.gettempdir()}: {error.strerror}. Free the disk, or name "
            "another folder in TMPDIR."
        ) from None


def copy(values: np.ndarray, dtype: DTypeLike | None = None) -> np.ndarray:
    """A copy of an array, of its own or another type; raises as `zeros`."""
    out = zeros(values.shape, dtype or values.dtype)
    out[...] = values
    return out


def blocks(length: int, frames: int | None = None) -> Iterator[slice]:
    """The slices of 0 .. length, `frames` long each but for the last; FRAMES by default."""
    frames = frames or FRAMES
    return (slice(start, min(start + frames, length)) for start in range(0, length, frames))


def by_blocks(function: Callable[..., np.ndarray], *arrays: np.ndarray) -> np.ndarray:
    """function(*arrays), which answers each frame with a row that no other frame matters for."""
    return np.concatenate([function(*(array[block] for array in arrays)) for block in blocks(len(arrays[0]))])
