"""What all pictures show: the bones, their colours, and the person on a floor."""

from dataclasses import dataclass

import numpy as np

from liftbench.baselines.skeleton import JOINTS, LEFT, RIGHT
from liftbench.lift.lifted import Lifted

# Okabe and Ito's vermilion and blue, which the colour-blind tell apart, and a grey for the trunk.
COLOURS = {"right": "#D55E00", "left": "#0072B2", "middle": "#5F6670"}
SIDES = tuple("right" if joint in RIGHT else "left" if joint in LEFT else "middle" for joint in range(len(JOINTS)))
_APART, _MOST_DOTS = 120.0, 300  # mm


@dataclass(frozen=True)
class Stage:
    """points: (T, 17, 3) mm, z up, nan where unknown. floor: whether z = 0 is one. azimuth: of the camera, degrees.
    path: (N, 3) mm, dots on the floor where the pelvis goes, none without a floor.

    A view from azimuth 0 looks along y, from 90 it looks along -x.
    """

    points: np.ndarray
    floor: bool
    azimuth: float
    path: np.ndarray


def stage(lifted: Lifted) -> Stage:
    """The person of a recording in the world; where the pelvis was never seen, without a floor and a path."""
    rotation = np.array(lifted.metadata.get("camera_to_world", [[1, 0, 0], [0, 0, 1], [0, -1, 0]]), float)
    ahead = rotation[:, 2]  # where the camera looks
    azimuth = float(np.degrees(np.arctan2(-ahead[0], ahead[1])))
    if np.isfinite(lifted.poses_world).any():
        return Stage(lifted.poses_world, True, azimuth, _path(lifted.poses_world[:, 0]))
    points = lifted.poses_3d @ rotation.T
    lowest = np.nanmin(points[..., 2]) if np.isfinite(points).any() else 0.0
    return Stage(points - [0, 0, lowest], False, azimuth, np.zeros((0, 3)))


def _path(pelvis: np.ndarray) -> np.ndarray:
    """(T, 3) -> (N, 3): dots on the floor, 120 mm apart, or more where that would be over 300 of them."""
    way = pelvis[np.isfinite(pelvis).all(axis=-1)] * [1, 1, 0]
    length = np.linalg.norm(np.diff(way, axis=0, prepend=way[:1]), axis=-1).cumsum()
    if not len(way) or length[-1] == 0:
        return np.zeros((0, 3))
    dots = np.arange(0, length[-1], max(_APART, length[-1] / _MOST_DOTS))
    return np.stack([np.interp(dots, length, way[:, axis]) for axis in range(3)], axis=1)
