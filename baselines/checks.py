"""What the schemas of the data sets share: words for what was found, and where."""

import itertools
import json

import numpy as np

from baselines.errors import InputError


def kind(value):
    """What a value is, for a message."""
    return "numpy array of no dimension" if isinstance(value, np.ndarray) and not value.ndim else type(value).__name__


def listed(keys):
    """The first keys of a dict, for a message."""
    return ", ".join(repr(key)[:40] for key in itertools.islice(keys, 20)) or "nothing"


def first_frame(bad):
    """The first frame of which anything is bad; bad: (n, ...) bool."""
    return int(np.flatnonzero(bad.reshape(len(bad), -1).any(axis=1))[0])


def check_json(origin, path):
    """Refuse an account of how data were made that a record could not carry."""
    try:
        json.dumps(origin)
    except (TypeError, ValueError, RecursionError):
        raise InputError(f"{path}: origin holds more than numbers, strings, lists and dicts: simplify it") from None
