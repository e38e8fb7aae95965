"""Predictions without error, and arrays with a wrong value, for tests of data and protocols."""

import numpy as np


def perfect(dataset, frames):
    """Return the prediction without error: the ground truth in the coordinates that `score` takes."""
    targets = dataset.targets("test", frames).astype(np.float64)
    return targets - targets[..., :1, :]


def replaced(index, value):
    """Return a function that copies an array and puts `value` at `index`."""

    def change(values):
        values = values.copy()
        values[index] = value
        return values

    return change
