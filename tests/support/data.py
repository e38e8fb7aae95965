"""Predictions for tests of the protocols."""

import numpy as np


def perfect(dataset, frames):
    """The prediction that has no error: the ground truth in the coordinates that `score` takes."""
    targets = dataset.targets("test", frames).astype(np.float64)
    return targets - targets[..., :1, :]
