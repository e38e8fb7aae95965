"""The directions of a body and the angles of its joints, from poses with z up.

Axes: u is up, l is the body's left, from hips and shoulders, and f = l x u is forward. Angles are in degrees, flexion
positive. Sides are in the order (right, left).
"""

import numpy as np

from liftbench.lift.geometry.filters import low_pass

HIPS, KNEES, ANKLES, SHOULDERS, ELBOWS, WRISTS = (1, 4), (2, 5), (3, 6), (14, 11), (15, 12), (16, 13)
PELVIS, THORAX = 0, 8
_HEADING_CUTOFF = 0.5  # Hz, of the direction in which the body faces


def body_axes(pose: np.ndarray, fps: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The directions (forward, left) of the body, (T, 3) horizontal unit vectors each, of poses (T, 17, 3), z up.

    With `fps` they are low-passed over time, which takes poses without gaps. Without it each frame has its own, nan
    where a hip or shoulder is unknown.
    """
    left = (pose[:, 4] - pose[:, 1] + pose[:, 11] - pose[:, 14]) * [1, 1, 0]
    left = _unit(left) if fps is None else _unit(low_pass(_unit(left), fps, _HEADING_CUTOFF))
    return np.cross(left, [0.0, 0.0, 1.0]), left


def joint_angles(pose: np.ndarray, forward: np.ndarray, left: np.ndarray) -> dict[str, np.ndarray]:
    """Angles in degrees by name, each (T, 2) for the right and left side; of the trunk and pelvis seen from that side.

    Knee and elbow flexion are unsigned angles of three points, 0 when straight. Hip flexion is the thigh against the
    trunk, as pelvic tilt is not observable. Pelvic obliquity is positive with the side up, rotation with it forward.
    """
    hips, knees, ankles, shoulders, elbows, wrists = (
        pose[:, joints] for joints in (HIPS, KNEES, ANKLES, SHOULDERS, ELBOWS, WRISTS)
    )

    def along(vectors: np.ndarray, axis: np.ndarray) -> np.ndarray:
        return (vectors * (axis if axis.ndim == 1 else axis[:, None])).sum(axis=-1)

    up = np.array([0.0, 0.0, 1.0])
    thigh = np.arctan2(along(knees - hips, forward), -along(knees - hips, up))
    trunk = pose[:, [THORAX]] - pose[:, [PELVIS]]
    lean = np.arctan2(along(trunk, forward), along(trunk, up)).repeat(2, axis=1)
    sideways = np.arctan2(along(trunk, left), along(trunk, up)) * np.array([-1, 1])
    across = pose[:, [1]] - pose[:, [4]]  # to the right
    oblique = np.arcsin(along(across, up) / np.linalg.norm(across, axis=-1)) * np.array([1, -1])
    turned = np.arctan2(along(across, forward), -along(across, left)) * np.array([1, -1])
    radians = {
        "knee flexion": np.pi - _between(hips - knees, ankles - knees),
        "hip flexion": thigh + lean,
        "thigh": thigh,
        "shank": np.arctan2(along(ankles - knees, forward), -along(ankles - knees, up)),
        "trunk lean forward": lean,
        "trunk lean to the side": sideways,
        "pelvic obliquity": oblique,
        "pelvic rotation": turned,
        "elbow flexion": np.pi - _between(shoulders - elbows, wrists - elbows),
    }
    return {name: np.degrees(values) for name, values in radians.items()}


def _unit(vectors: np.ndarray) -> np.ndarray:
    """(T, 3) at length 1."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def _between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angle in radians between vectors (..., 3)."""
    return np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), (a * b).sum(axis=-1))
