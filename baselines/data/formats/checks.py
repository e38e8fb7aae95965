"""What the schemas of the data sets share: words for what was found and where, and common checks."""

import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from liftbench.baselines.errors import InputError

LONGEST_NAME = 100  # characters of a name in a table
_LONGEST_WORD = 40  # characters in a message
_IMAGES_AWAY = 5  # image sizes that a detection, or a joint outside of the picture, may lie off
_SMALLEST_PERSON = 0.01  # of the image; normalised poses reach over 2 pixels at most
_LARGEST_ORIGIN = 100_000  # characters and values


def kind(value: Any) -> str:
    """Describe what a value is, for a message: "an int", "a list of 3"."""
    if isinstance(value, np.ndarray):
        return f"a numpy array of shape {value.shape}"
    return type_of(value) + (f" of {len(value)}" if isinstance(value, (list, tuple)) else "")


def type_of(value: Any) -> str:
    """Return the name of a value's type with its article: "an int"."""
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def short(value: Any) -> str:
    """Return a value's text, cut short, for a message; for anything but text or a number, its kind."""
    if isinstance(value, str):
        return repr(value[:_LONGEST_WORD]) + "..." * (len(value) > _LONGEST_WORD)
    return repr(value) if isinstance(value, (int, float)) and not abs(value) > 1e100 else kind(value)


def is_name(value: Any) -> bool:
    """Return whether a value is a short text that can stand in a table and in a message."""
    return isinstance(value, str) and 0 < len(value) <= LONGEST_NAME and value.isprintable() and bool(value.strip())


def listed(keys: Iterable[Any]) -> str:
    """List the first keys of a dict, for a message."""
    return ", ".join(map(short, itertools.islice(keys, 20))) or "nothing"


def is_float(array: np.ndarray) -> bool:
    """Return whether an array is float16, float32 or float64."""
    return array.dtype.kind == "f" and array.dtype.itemsize in (2, 4, 8)


def first_frame(bad: np.ndarray) -> int:
    """Return the first frame with a bad value; bad: (n, ...) bool."""
    return int(np.flatnonzero(bad.reshape(len(bad), -1).any(axis=1))[0])


def finite(block: np.ndarray, place: str, start: int = 0) -> np.ndarray:
    """Return block as float32; block: (n, ...), the frames from `start` on. Raises InputError unless all are finite."""
    with np.errstate(over="ignore"):  # too large for float32 becomes infinite
        block = np.asarray(block, np.float32)
    good = np.isfinite(block)
    if not good.all():
        raise InputError(
            f"Cannot read {place}: frame {start + first_frame(~good)} is not finite. Repair or leave out that frame."
        )
    return block


def pixels(block: np.ndarray, place: str, size: float, start: int = 0) -> np.ndarray:
    """Return block as float32; block: (n, J, 2 or more), x and y in an image of `size` pixels.

    Raises InputError for poses far outside the image, and for a block whose typical pose is a mere dot in it, because
    it is normalised.
    """
    block = finite(block, place, start)
    far = np.abs(block[..., :2]) > _IMAGES_AWAY * size
    if far.any():
        frame = first_frame(far)
        found = np.abs(block[frame, :, :2]).max()
        raise InputError(f"Cannot read {place}: frame {start + frame} reaches {found:,.0f} pixels. Save pixels.")
    if np.median(np.ptp(block[..., :2], axis=1).max(axis=-1)) < _SMALLEST_PERSON * size:
        raise InputError(f"Cannot read {place}: poses are mere dots in the image, as if normalised. Save pixels.")
    return block


def check_origin(origin: Any, path: str | Path) -> dict[str, Any]:
    """Return `origin`, a dict that says how data were made; refuse one that a record could not carry.

    A budget bounds the walk through it: a file of some kB can name one list so often that its JSON would take
    gigabytes.
    """
    if not isinstance(origin, dict):
        raise InputError(f"Cannot read {path}: origin is {kind(origin)}, expected a dict. Leave it out or make it one.")
    budget, waiting = _LARGEST_ORIGIN, [origin]
    while waiting and budget > 0:
        value = waiting.pop()
        budget -= 1 + (len(value) if isinstance(value, (str, list, tuple, dict)) else 0)
        if budget > 0 and isinstance(value, dict):
            waiting += [*value, *value.values()]
        elif budget > 0 and isinstance(value, (list, tuple)):
            waiting += value
    if budget <= 0:
        raise InputError(f"Cannot read {path}: origin is larger than {_LARGEST_ORIGIN:,} characters. Simplify it.")
    try:
        json.dumps(origin, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        raise InputError(
            f"Cannot read {path}: origin holds more than numbers, strings, lists and dicts. Simplify it."
        ) from None
    return origin
