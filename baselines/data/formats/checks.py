"""What the schemas of the data sets share: words for what was found and where, and checks of what all may hold."""

import itertools
import json

import numpy as np

from liftbench.baselines.errors import InputError


def kind(value):
    """What a value is, for a message."""
    if isinstance(value, np.ndarray):
        return f"numpy array of shape {value.shape}"
    return f"{type(value).__name__} of {len(value)}" if isinstance(value, (list, tuple)) else type(value).__name__


def short(value):
    """A value as it would be written, cut short, for a message."""
    try:
        return repr(value)[:40]
    except (RecursionError, ValueError):  # nested too deep, or a number of too many digits
        return kind(value)


def listed(keys):
    """The first keys of a dict, for a message."""
    return ", ".join(map(short, itertools.islice(keys, 20))) or "nothing"


def is_float(array):
    """Whether an array is float16, float32 or float64."""
    return array.dtype.kind == "f" and array.dtype.itemsize in (2, 4, 8)


def first_frame(bad):
    """The first frame of which anything is bad; bad: (n, ...) bool."""
    return int(np.flatnonzero(bad.reshape(len(bad), -1).any(axis=1))[0])


def finite(block, place, start=0):
    """block: (n, ...), the frames from `start` on; returned as float32 where all of its numbers are finite as such."""
    with np.errstate(over="ignore"):  # too large for float32 becomes infinite
        block = np.asarray(block, np.float32)
    good = np.isfinite(block)
    if not good.all():
        raise InputError(f"{place}: frame {start + first_frame(~good)} is not finite: repair or leave out that frame")
    return block


def check_origin(origin, path):
    """Return an account of how data were made, a dict; refuse one that a record could not carry."""
    if not isinstance(origin, dict):
        raise InputError(f"{path}: origin is a {kind(origin)}, expected a dict: leave it out or make it one")
    try:
        json.dumps(origin, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError):
        raise InputError(f"{path}: origin holds more than numbers, strings, lists and dicts: simplify it") from None
    return origin
