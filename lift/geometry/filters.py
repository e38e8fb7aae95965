"""Poses over time: smoothing without delay or as they come, and bones of constant length."""

import numpy as np
from scipy import signal

from liftbench.baselines.data import scratch
from liftbench.baselines.errors import InputError
from liftbench.baselines.skeleton import PARENTS

ONE_EURO_CUTOFF = 1.0  # Hz
_CUTOFF_PER_SPEED, _SPEED_CUTOFF = 0.015, 1.0  # Hz for each mm/s; Hz of the low-pass that the speed itself goes through
_TWO_PASSES = (np.sqrt(2) - 1) ** 0.25  # run twice, a 2nd-order filter has its cutoff at this share of its own (Winter)


def low_pass(values: np.ndarray, fps: float, cutoff: float) -> np.ndarray:
    """Butterworth filter of 2nd order, forwards and back, so of 4th order in effect and without delay.

    values: (T, ...) finite; cutoff: Hz, where the amplitude falls to 71 %. Fewer than four frames stay as they are.
    Raises InputError where the cutoff is not below half of the frame rate.
    """
    _check_cutoff(cutoff, fps)
    if len(values) < 4:
        return values
    own_cutoff = np.arctan(np.tan(np.pi * cutoff / fps) / _TWO_PASSES) / np.pi * fps
    return signal.filtfilt(
        *signal.butter(2, own_cutoff, fs=fps), values, axis=0, padlen=min(len(values) - 1, int(2 * fps / cutoff))
    )


class OneEuro:
    """The one-euro filter of Casiez, Roussel and Vogel (CHI 2012), for points that come frame by frame.

    A first-order low-pass whose cutoff rises with the speed of the point: still points do not jitter, fast ones are
    little late. Unlike the paper, one speed in mm/s counts for the three coordinates of a point.
    """

    def __init__(self, fps: float, cutoff: float = ONE_EURO_CUTOFF):
        """cutoff: Hz, of a point that stands still. Raises InputError where it is not below half of the frame rate."""
        _check_cutoff(cutoff, fps)
        self._fps, self._cutoff = fps, cutoff
        self._place = self._velocity = None

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) mm -> the same, filtered. Where a point is nan it stays so, and the next one begins anew."""
        before = self._place
        fresh = np.isnan(before) | np.isnan(points) if before is not None else np.ones(points.shape, bool)
        if before is None:
            before, self._velocity = points, np.zeros(points.shape)
        moved = np.where(fresh, 0, (points - before) * self._fps)
        share = self._share(_SPEED_CUTOFF)
        self._velocity = np.where(fresh, 0, share * moved + (1 - share) * self._velocity)
        speed = np.linalg.norm(self._velocity, axis=-1, keepdims=True)
        share = self._share(self._cutoff + _CUTOFF_PER_SPEED * speed)
        self._place = np.where(fresh, points, share * points + (1 - share) * before)
        return self._place

    def _share(self, cutoff: float | np.ndarray) -> float | np.ndarray:
        """The weight of the new value, of a low-pass of the first order."""
        turn = 2 * np.pi * cutoff / self._fps
        return turn / (turn + 1)


def smoothing(option: float | str, fps: float) -> tuple[float, str]:
    """What `smooth` is to do: a cutoff in Hz, "one-euro" or "one-euro:HZ" -> (cutoff, filter).

    Raises InputError for anything else, and for a cutoff that is not below half of the frame rate.
    """
    name, _, number = str(option).rpartition(":")
    if option == "one-euro":
        name, number = option, ONE_EURO_CUTOFF
    try:
        cutoff = float(number)
    except ValueError:
        cutoff = None
    if cutoff is None or name not in ("", "one-euro"):
        raise InputError(
            f"Cannot smooth by {str(option)[:40]}: there is no such filter. Give Hz, one-euro, or one-euro:HZ."
        )
    _check_cutoff(cutoff, fps)
    return cutoff, name or "butterworth"


def smooth(values: np.ndarray, fps: float, cutoff: float, name: str = "butterworth") -> np.ndarray:
    """(T, ..., 3) positions in mm, point by point, each unbroken run of frames on its own; nan stays nan.

    name: "butterworth", which is `low_pass`, or "one-euro". Raises the InputError of `low_pass`.
    """
    if name == "one-euro":
        step, smoothed = OneEuro(fps, cutoff), scratch.zeros(values.shape, np.float64)
        for place, points in enumerate(values):
            smoothed[place] = step(points)
        return smoothed
    points = scratch.copy(values).reshape(len(values), -1, 3)
    for point in range(points.shape[1]):
        for run in runs(np.isfinite(points[:, point]).all(axis=-1)):
            points[run, point] = low_pass(points[run, point], fps, cutoff)
    return points.reshape(values.shape)


def _check_cutoff(cutoff: float, fps: float):
    if not 0 < cutoff < fps / 2:
        raise InputError(
            f"Cannot smooth at {cutoff:g} Hz: there are {fps:g} frames a second. Choose less than {fps / 2:g} Hz."
        )


def rigid(poses: np.ndarray) -> np.ndarray:
    """(T, 17, 3) poses with the same directions, and every bone at its median length over time; nan stays nan."""
    out = scratch.copy(poses)
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
