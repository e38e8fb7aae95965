"""The axes of other programs."""

import numpy as np

from liftbench.baselines.errors import InputError


def y_up(world: np.ndarray) -> np.ndarray:
    """(..., 3) z up -> (..., 3) y up, as BVH and OpenSim have it: x stays, z points towards the viewer."""
    return np.stack([world[..., 0], world[..., 2], -world[..., 1]], axis=-1)


def check_known(lifted, kind: str) -> None:
    """Raise InputError where no joint has a place in the world, so that a file would be empty."""
    if not np.isfinite(lifted.poses_world).any():
        raise InputError(f"Cannot write {kind}: the pelvis was never seen, so no joint has a place in the world.")
