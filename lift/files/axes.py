"""The axes of other programs, and what they cannot hold."""

import numpy as np

from liftbench.baselines.errors import InputError
from liftbench.baselines.skeleton import PARENTS
from liftbench.lift.lifted import Lifted


def y_up(world: np.ndarray) -> np.ndarray:
    """(..., 3) z up -> (..., 3) y up, as BVH and OpenSim have it: x stays, z points towards the viewer."""
    return np.stack([world[..., 0], world[..., 2], -world[..., 1]], axis=-1)


def check_known(lifted: Lifted, kind: str) -> None:
    """Raise InputError where no joint has a place in the world, so that a file would be empty."""
    if not np.isfinite(lifted.poses_world).any():
        raise InputError(f"Cannot write {kind}: the pelvis was never seen, so no joint has a place. Leave {kind} out.")


def without_gaps(positions: np.ndarray) -> np.ndarray:
    """(T, 17, 3) with gaps filled in time; a joint that is never known is put on its parent."""
    positions, frames = positions.copy(), np.arange(len(positions))
    for joint in range(17):
        known = np.isfinite(positions[:, joint]).all(axis=-1)
        if known.any():
            for axis in range(3):
                positions[:, joint, axis] = np.interp(frames, frames[known], positions[known, joint, axis])
        else:
            positions[:, joint] = positions[:, PARENTS[joint]]
    return positions
