"""A synthetic person who walks, with constant bones."""

import numpy as np

from liftbench.baselines.synthetic.actions import act
from liftbench.baselines.synthetic.body import FPS, REST

__all__ = ["FPS", "walker"]
_WALK = 14


def walker(frames: int = 200) -> np.ndarray:
    """(frames, 17, 3) mm, world, z up: in a loop about the origin."""
    return act(_WALK, REST.astype(float), frames, np.random.default_rng(0))
