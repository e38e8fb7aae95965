"""The world that a recording stands in: which way is up, where the floor is.

World frame: millimetres, z up, floor at z = 0, origin below the pelvis of the first frame. Unless the camera's rotation
is given in full, x is the camera's right and y is away from it. Camera frame: x right, y down, z forward.
"""

from collections.abc import Sequence

import numpy as np

from liftbench.baselines.data import scratch
from liftbench.baselines.errors import InputError
from liftbench.lift.geometry.body import ANKLE_HEIGHT

_THORAX, _PELVIS, _ANKLES = 8, 0, [3, 6]
_UPRIGHT = np.radians(5)  # how far a body leans from the vertical, on average over a recording
_UNEVEN, _STEPS = 100.0, 10  # mm, how far lifted ankles that stand are off one plane; as many of them are independent
_TURNS = 5  # of the iteration, which converges in three
_ENOUGH = 10_000  # frames of a long recording
_FLOOR_PERCENTILE = 5  # of the lower ankle's height over the recording


def up_from_body(poses: np.ndarray) -> tuple[np.ndarray, str]:
    """The vertical, as the mean direction from the middle of the ankles to the thorax -> ((3,) unit vector, how).

    poses: (T, 17, 3) mm, camera frame, nan where unknown. Right for somebody who walks or stands upright: 2 degrees off
    on true walking poses, 4 on lifted ones, but 12 for somebody who leans. Without ankles the trunk counts, and without
    a trunk the camera is taken to be level.
    """
    for low, how in ((poses[:, _ANKLES].mean(axis=1), "ankles to thorax"), (poses[:, _PELVIS], "pelvis to thorax")):
        upright = poses[:, _THORAX] - low
        upright = upright[np.isfinite(upright).all(axis=-1)]
        length = np.linalg.norm(upright, axis=-1, keepdims=True)
        mean = (upright / np.maximum(length, 1e-9)).sum(axis=0)
        if np.linalg.norm(mean) > 1e-6:
            return mean / np.linalg.norm(mean), f"vertical from the body ({how})"
    return np.array([0.0, -1.0, 0.0]), "vertical from a level camera"


def level_ground(up: np.ndarray, poses: np.ndarray, root: np.ndarray) -> np.ndarray:
    """The vertical of `up_from_body`, turned so that the ankles that somebody stands on stay at one height -> (3,).

    poses: (T, 17, 3) and root: (T, 3), mm, camera frame. Least squares of both kinds of knowledge, large residuals
    damped: who walks some metres tells where the ground is, who stays in place does not. On walks of held-out people
    that approach a level camera, the vertical is 0.9 degrees off instead of 8.2; before cameras of any kind, whose
    focal length is not known, 4.5 instead of 4.7.
    """
    some = slice(None, None, 1 + len(poses) // _ENOUGH)
    ankles = (poses[some, _ANKLES] + root[some, None]).astype(np.float64)
    ankles = ankles[np.isfinite(ankles).all(axis=(1, 2))]
    body = up
    for _ in range(_TURNS if len(ankles) else 0):
        high = ankles @ up
        lower = np.where((high[:, 0] < high[:, 1])[:, None], ankles[:, 0], ankles[:, 1])
        lower = lower - np.median(lower, axis=0)
        off = lower @ up - np.median(lower @ up)
        weight = np.sqrt(_STEPS / len(lower) / np.maximum(1, np.abs(off) / _UNEVEN)) / _UNEVEN
        tilts = np.linalg.svd(up[None])[2][1:]  # two directions across
        turn = np.linalg.lstsq(
            np.concatenate([lower @ tilts.T * weight[:, None], np.eye(2) / _UPRIGHT]),
            np.concatenate([-off * weight, tilts @ (body - up) / _UPRIGHT]),
        )[0]
        up = up + turn @ tilts
        up /= np.linalg.norm(up)
    return up


def rotation_from_up(up: np.ndarray) -> np.ndarray:
    """(3, 3) camera to world: `up`, (3,) in the camera frame, is z, and y is the direction that the camera looks in."""
    forward = np.array([0.0, 0.0, 1.0]) if abs(up[2]) < 0.99 else np.array([0.0, -np.sign(up[2]), 0.0])
    y = forward - (forward @ up) * up
    y /= np.linalg.norm(y)
    return np.stack([np.cross(y, up), y, up])


def given_rotation(numbers: Sequence[float]) -> np.ndarray:
    """A camera's rotation as the user gives it -> (3, 3) camera to world.

    numbers: (pitch, roll) in degrees, how far the camera looks down and how far it is turned clockwise, or the 9
    numbers of the matrix R of a calibration, world (z up) to camera, row by row. Raises InputError for anything else.
    """
    values = np.asarray(numbers, np.float64).ravel()
    if len(values) == 2 and np.isfinite(values).all():
        pitch, roll = np.radians(values)
        return rotation_from_up(
            np.array([-np.sin(roll) * np.cos(pitch), -np.cos(roll) * np.cos(pitch), -np.sin(pitch)])
        )
    if len(values) == 9 and np.isfinite(values).all():
        matrix = values.reshape(3, 3)
        if np.abs(matrix @ matrix.T - np.eye(3)).max() < 1e-3 and np.linalg.det(matrix) > 0:
            return matrix.T
    raise InputError(
        "Cannot use this camera rotation: it is neither two angles nor a rotation matrix. Give pitch,roll in degrees, "
        "or the 9 numbers of the matrix from world (z up) to camera, row by row."
    )


def stand(
    poses: np.ndarray, root: np.ndarray, rotation: np.ndarray, height: float
) -> tuple[np.ndarray, np.ndarray, str]:
    """Poses in the world -> (world, origin, how).

    poses: (T, 17, 3) and root: (T, 3), mm, camera frame, nan where unknown; rotation: (3, 3) camera to world; height:
    of the body, mm. One floor serves the whole recording: it lies below a low percentile of the lower ankle by the
    height of an ankle, so that jumps are seen. world: (T, 17, 3) mm; origin: (3,) mm, its origin in axes of the world
    but seen from the camera.
    """
    world, seen = scratch.zeros(poses.shape, poses.dtype), np.empty(poses.shape[:2], bool)
    for block in scratch.blocks(len(poses)):
        world[block] = (poses[block] + root[block, None]) @ rotation.T.astype(poses.dtype)
        seen[block] = np.isfinite(world[block]).all(axis=-1)
    ankles, anything = seen[:, _ANKLES].any(axis=1), seen.any()
    if not anything:
        return world, np.zeros(3), "no floor"
    if ankles.any():
        low = np.where(seen[:, _ANKLES], world[:, _ANKLES, 2], np.inf)[ankles].min(axis=1)
        floor, how = np.percentile(low, _FLOOR_PERCENTILE) - ANKLE_HEIGHT * height, "floor below the ankles"
    else:
        floor, how = np.percentile(world[..., 2][seen], 1), "floor at the lowest joint seen, as no ankle was"
    first = world[np.flatnonzero(seen.any(axis=1))[0]]
    start = first[0] if np.isfinite(first[0]).all() else np.nanmean(first, axis=0)
    origin = np.array([start[0], start[1], floor])
    world -= origin
    return world, origin, how
