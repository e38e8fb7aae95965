"""Poses over time: zero-phase smoothing, and bones of constant length."""

import numpy as np
from scipy import signal

from liftbench.baselines.errors import InputError
from liftbench.baselines.skeleton import PARENTS

_TWO_PASSES = (np.sqrt(2) - 1) ** 0.25  # run twice, a 2nd-order filter has its cutoff at this share of its own (Winter)


def low_pass(values: np.ndarray, fps: float, cutoff: float) -> np.ndarray:
    """Butterworth filter of 2nd order, forwards and back, so of 4th order in effect and without delay.

    values: (T, ...) finite; cutoff: Hz, where the amplitude falls to 71 %. Fewer than four frames stay as they are.
    Raises InputError where the cutoff is not below half of the frame rate.
    """
    if not 0 < cutoff < fps / 2:
        raise InputError(f"Cannot smooth at {cutoff:g} Hz: {fps:g} frames a second need less than {fps / 2:g} Hz.")
    if len(values) < 4:
        return values
    own_cutoff = np.arctan(np.tan(np.pi * cutoff / fps) / _TWO_PASSES) / np.pi * fps
    return signal.filtfilt(
        *signal.butter(2, own_cutoff, fs=fps), values, axis=0, padlen=min(len(values) - 1, int(2 * fps / cutoff))
    )


def smooth(values: np.ndarray, fps: float, cutoff: float) -> np.ndarray:
    """`low_pass` of (T, ..., 3) positions, point by point, each unbroken run of frames on its own; nan stays nan.

    Raises InputError as `low_pass`.
    """
    points = values.reshape(len(values), -1, 3).copy()
    for point in range(points.shape[1]):
        for run in runs(np.isfinite(points[:, point]).all(axis=-1)):
            points[run, point] = low_pass(points[run, point], fps, cutoff)
    return points.reshape(values.shape)


def rigid(poses: np.ndarray) -> np.ndarray:
    """(T, 17, 3) poses with the same directions, and every bone at its median length over time; nan stays nan."""
    out = poses.copy()
    for joint in range(1, len(PARENTS)):  # parents come before their children
        bone = poses[:, joint] - poses[:, PARENTS[joint]]
        length = np.linalg.norm(bone, axis=-1, keepdims=True)
        if np.isfinite(length).any():
            moved = out[:, PARENTS[joint]] + bone / np.maximum(length, 1e-9) * np.nanmedian(length)
            out[:, joint] = np.where(np.isfinite(moved), moved, poses[:, joint])
    return out


def runs(good: np.ndarray) -> list[slice]:
    """The unbroken stretches of True in (T,) bool."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], good, [False]]).astype(np.int8))).reshape(-1, 2)
    return [slice(start, stop) for start, stop in edges.tolist()]
