"""Gait from 3D poses: events, times and lengths, joint angles over the stride.

Not a medical device. The 17 joints have no foot and no axes of the segments: ankle angles, pelvic tilt and rotations of
hip and knee cannot be observed, and feet are known by their ankles, so every length here is ankle-based: the ankles are
13 % closer at heel strike than half a stride (measured on CMU motion capture).

Axes: u is up, l is the body's left, from hips and shoulders, and f = l x u is forward. Angles are in degrees, flexion
positive. Sides are in the order (right, left).
"""

from dataclasses import dataclass

import numpy as np
from scipy.signal import find_peaks

from liftbench.baselines.errors import InputError
from liftbench.lift.filters import low_pass, runs

SIDES = ("right", "left")
NOT_OBSERVABLE = (
    "ankle flexion", "foot progression", "foot clearance", "pelvic tilt", "hip rotation", "knee rotation", "knee varus",
    "Gait Profile Score", "forces", "moments",
)  # fmt: skip
_HIPS, _KNEES, _ANKLES, _SHOULDERS, _ELBOWS, _WRISTS = (1, 4), (2, 5), (3, 6), (14, 11), (15, 12), (16, 13)
_PELVIS, _THORAX = 0, 8
_CUTOFF, _HEADING_CUTOFF = 6.0, 0.5  # Hz, of positions and of the direction in which the body faces
_SLOWEST = 25  # frames a second
_APART, _PROMINENCE = 0.5, 0.35  # s between two peaks; share of the signal's range by which a peak stands out
_LONGEST = 1.5  # s, of a stride; standing and turning look like longer ones
_LARGEST_TURN = 30.0  # degrees within a stride


@dataclass(frozen=True)
class Gait:
    """What one recording says. Times in s from its first frame, lengths in mm.

    heel_strikes, toe_offs: a list for each side. parameters: name with unit -> (right, left), the mean over the strides
    or nan. curves: angle -> for each side (strides, 101), from heel strike (0 %) to the next (100 %).
    """

    heel_strikes: tuple[np.ndarray, np.ndarray]
    toe_offs: tuple[np.ndarray, np.ndarray]
    parameters: dict[str, tuple[float, float]]
    curves: dict[str, tuple[np.ndarray, np.ndarray]]

    @property
    def strides(self) -> tuple[int, int]:
        """How many the parameters are of, right and left."""
        right, left = self.curves["knee flexion"]
        return len(right), len(left)


def analyse(world: np.ndarray, fps: float) -> Gait:
    """Find the strides of somebody who walks, and measure them.

    world: (T, 17, 3) mm, z up, such as `Lifted.poses_world`; of what is unknown (nan) the longest stretch without gaps
    counts. Events by Zeni, Richards and Higginson (2008), with ankles for heel and toe and the pelvis for the sacrum.
    Strides of more than 1.5 s, or in which the body turns by more than 30 degrees, are left out. Raises InputError for
    less than 25 frames a second and where nobody walks.
    """
    if fps < _SLOWEST:
        raise InputError(f"Cannot analyse gait: {fps:g} frames a second are too few. Record {_SLOWEST} or more.")
    known = runs(np.isfinite(world).all(axis=(1, 2)))
    longest = max(known, key=lambda run: run.stop - run.start, default=slice(0, 0))
    if longest.stop - longest.start < fps:
        raise InputError("Cannot analyse gait: no second of the recording is without gaps. Record the whole body.")
    pose = low_pass(world[longest], fps, _CUTOFF)
    forward, left = body_axes(pose, fps)
    ahead = ((pose[:, _ANKLES] - pose[:, [_PELVIS]]) * forward[:, None]).sum(axis=-1)  # (T, 2)
    strikes = [_peaks(ahead[:, side], fps) for side in range(2)]
    offs = [_peaks(-ahead[:, side], fps) for side in range(2)]
    strides = [_strides(strikes[side], forward, fps) for side in range(2)]
    if not any(strides):
        raise InputError("Cannot analyse gait: there is no stride in it. Record three or more, straight ahead.")
    angles = joint_angles(pose, forward, left)
    start = longest.start / fps
    return Gait(
        tuple(start + events / fps for events in strikes),
        tuple(start + events / fps for events in offs),
        _parameters(pose, forward, left, strikes, offs, strides, fps),
        {name: tuple(_curves(values[:, side], strides[side]) for side in range(2)) for name, values in angles.items()},
    )


def body_axes(pose: np.ndarray, fps: float) -> tuple[np.ndarray, np.ndarray]:
    """The directions (forward, left) of the body, (T, 3) horizontal unit vectors each, of poses (T, 17, 3), z up."""
    left = pose[:, 4] - pose[:, 1] + pose[:, 11] - pose[:, 14]
    left[:, 2] = 0
    left = low_pass(left / np.linalg.norm(left, axis=-1, keepdims=True), fps, _HEADING_CUTOFF)
    left /= np.linalg.norm(left, axis=-1, keepdims=True)
    return np.cross(left, [0.0, 0.0, 1.0]), left


def joint_angles(pose: np.ndarray, forward: np.ndarray, left: np.ndarray) -> dict[str, np.ndarray]:
    """Angles in degrees by name, each (T, 2) for the right and left side; of the trunk and pelvis seen from that side.

    Knee and elbow flexion are unsigned angles of three points, 0 when straight. Hip flexion is the thigh against the
    trunk, as pelvic tilt is not observable. Pelvic obliquity is positive with the side up, rotation with it forward.
    """
    hips, knees, ankles, shoulders, elbows, wrists = (
        pose[:, joints] for joints in (_HIPS, _KNEES, _ANKLES, _SHOULDERS, _ELBOWS, _WRISTS)
    )

    def along(vectors, axis):
        return (vectors * (axis if axis.ndim == 1 else axis[:, None])).sum(axis=-1)

    up = np.array([0.0, 0.0, 1.0])
    thigh = np.arctan2(along(knees - hips, forward), -along(knees - hips, up))
    trunk = pose[:, [_THORAX]] - pose[:, [_PELVIS]]
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


def symmetry(right: float, left: float) -> dict[str, float]:
    """Symmetry index and gait asymmetry in %, 0 when alike, and the ratio right / left, of two positive quantities."""
    return {
        "symmetry index, %": 100 * (right - left) / ((right + left) / 2),
        "gait asymmetry, %": 100 * abs(np.log(right / left)),
        "ratio": right / left,
    }


def _between(a, b):
    """Angle in radians between vectors (..., 3)."""
    return np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), (a * b).sum(axis=-1))


def _peaks(signal, fps):
    prominence = _PROMINENCE * np.ptp(signal)
    return find_peaks(signal, prominence=max(prominence, 1e-9), distance=max(1, round(_APART * fps)))[0]


def _strides(strikes, forward, fps):
    """(first, last) frame of each stride of one foot that is one."""
    found = []
    for first, last in zip(strikes[:-1], strikes[1:]):
        turn = np.degrees(np.arccos(np.clip(forward[first] @ forward[last], -1, 1)))
        if (last - first) / fps <= _LONGEST and turn <= _LARGEST_TURN:
            found.append((int(first), int(last)))
    return found


def _parameters(pose, forward, left, strikes, offs, strides, fps):
    """Means over the strides of each side; within a stride one event of each other kind is needed."""
    ankles = pose[:, _ANKLES]
    names = ("stride time, s", "step time, s", "stance, %", "swing, %", "double support, %", "step length, mm",
             "stride length, mm", "step width, mm", "speed, m/s", "cadence, steps/min")  # fmt: skip
    rows = {name: ([], []) for name in names}
    for side in range(2):
        other = 1 - side

        def step(at, leading):
            return float((ankles[at, leading] - ankles[at, 1 - leading]) @ forward[at])

        for first, last in strides[side]:
            hs = _only(strikes[other], first, last)
            to, other_to = _only(offs[side], first, last), _only(offs[other], first, last)
            time = (last - first) / fps
            row = {"stride time, s": time, "cadence, steps/min": 120 / time}
            if hs:
                length = step(hs, other) + step(last, side)
                across = abs((ankles[last, side] - ankles[hs, other]) @ left[last])
                row |= {"step time, s": (last - hs) / fps, "step length, mm": step(last, side)}
                row |= {"stride length, mm": length, "speed, m/s": length / time / 1000, "step width, mm": across}
            if to:
                row |= {
                    "stance, %": 100 * (to - first) / (last - first),
                    "swing, %": 100 * (last - to) / (last - first),
                }
            if hs and to and other_to and first <= other_to <= hs <= to:
                row["double support, %"] = 100 * (other_to - first + to - hs) / (last - first)
            for name, value in row.items():
                rows[name][side].append(value)
    return {
        name: tuple(float(np.mean(values)) if values else float("nan") for values in both)
        for name, both in rows.items()
    }


def _only(events, first, last):
    """The event between two frames; None where there is none or several."""
    inside = events[(events > first) & (events < last)]
    return int(inside[0]) if len(inside) == 1 else None


def _curves(angle, strides):
    """(strides, 101): an angle from heel strike to heel strike."""
    curves = [np.interp(np.linspace(a, b, 101), np.arange(len(angle)), angle) for a, b in strides]
    return np.array(curves).reshape(-1, 101)
