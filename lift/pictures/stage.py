"""What all pictures show: the bones, their colours, and the person on a floor."""

from dataclasses import dataclass

import numpy as np

from liftbench.baselines.skeleton import LEFT, PARENTS, RIGHT
from liftbench.lift.lifted import Lifted

# Okabe and Ito's vermilion and blue, which the colour-blind tell apart, and a grey for the trunk.
COLOURS = {"right": "#D55E00", "left": "#0072B2", "middle": "#5F6670"}
SIDES = tuple("right" if joint in RIGHT else "left" if joint in LEFT else "middle" for joint in range(len(PARENTS)))
BONES = tuple((parent, joint) for joint, parent in enumerate(PARENTS) if parent >= 0)  # coloured as the joint


@dataclass(frozen=True)
class Stage:
    """points: (T, 17, 3) mm, z up, nan where unknown. floor: whether z = 0 is one. azimuth: of the camera, degrees.

    A view from azimuth 0 looks along y, from 90 it looks along -x.
    """

    points: np.ndarray
    floor: bool
    azimuth: float


def stage(lifted: Lifted) -> Stage:
    """The person of a recording in the world; where the pelvis was never seen, without a floor and a path."""
    rotation = np.array(lifted.metadata.get("camera_to_world", [[1, 0, 0], [0, 0, 1], [0, -1, 0]]), float)
    ahead = rotation[:, 2]  # where the camera looks
    azimuth = float(np.degrees(np.arctan2(-ahead[0], ahead[1])))
    if np.isfinite(lifted.poses_world).any():
        return Stage(lifted.poses_world, True, azimuth)
    points = lifted.poses_3d @ rotation.T
    lowest = np.nanmin(points[..., 2]) if np.isfinite(points).any() else 0.0
    return Stage(points - [0, 0, lowest], False, azimuth)
