"""What was not seen: short gaps are filled, long ones are left empty."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import median_filter

from liftbench.baselines.data.scratch import by_blocks
from liftbench.baselines.data.swaps import untangle
from liftbench.baselines.skeleton import PARENTS

LONGEST_GAP = 0.25  # s that are filled
CONFIDENCE = 0.3  # below it a joint counts as not seen
_SPIKE = 0.1  # s that a point may be somewhere else and come back
_JUMP = 0.3  # sizes of the person by which it then is an outlier


@dataclass(frozen=True)
class Person:
    """The keypoints of one person, ready to be lifted.

    keypoints: (T, 17, 3) pixels and confidence, everywhere finite. valid: (T, 17) bool, seen with enough confidence.
    known: (T, 17) bool, seen at all or filled; elsewhere the keypoints are only a stand-in for the model.
    """

    keypoints: np.ndarray
    valid: np.ndarray
    known: np.ndarray
    summary: str

    @property
    def present(self) -> np.ndarray:
        """(T,) bool: the frames in which anything of the person is known."""
        return self.known.any(axis=1)


def fill(keypoints: np.ndarray, fps: float, scored: bool) -> Person:
    """Swap legs and arms back, tell seen from unseen joints, fill the short gaps, and say what was wrong.

    keypoints: (T, 17, 3) pixels and confidence, 0 where a joint was not seen. scored: whether the confidences mean
    anything. A joint below CONFIDENCE, or far off for an instant, is replaced between its neighbours in time where the
    gap is at most LONGEST_GAP; in a longer gap it stays as it was detected, and is unknown where it was not.
    """
    keypoints, swapped = untangle(np.asarray(keypoints, np.float64), keypoints[..., 2] > 0, fps)
    detected = keypoints[..., 2] > 0
    seen = keypoints[..., 2] >= CONFIDENCE if scored else detected
    outlier = _outliers(keypoints, seen, fps)
    seen, detected = seen & ~outlier, detected & ~outlier
    filled = _short(~seen, int(LONGEST_GAP * fps)) & seen.any(axis=0)
    known = seen | filled | detected
    _interpolate(keypoints, seen, filled)
    keypoints[filled, 2] = np.minimum(keypoints[filled, 2], CONFIDENCE)
    _interpolate(keypoints, known, ~known)  # a stand-in
    keypoints[~known, 2] = 0
    return Person(
        grown(keypoints, known.any(axis=0)), seen, known, _summary(detected, seen, filled, known, outlier, swapped)
    )


def _outliers(keypoints: np.ndarray, seen: np.ndarray, fps: float) -> np.ndarray:
    """(T, 17) bool: seen, but far from the running median over time. A monotone movement is its own median."""
    half = max(1, round(_SPIKE * fps))
    if len(seen) <= 2 * half:
        return np.zeros_like(seen)
    size = np.median(by_blocks(_height, keypoints, seen)[seen.any(axis=1)]) if seen.any() else 0
    outlier = np.zeros_like(seen)
    for joint in range(17):  # one by one, to save memory
        one = slice(joint, joint + 1)
        steady = keypoints[:, one].copy()
        _interpolate(steady, seen[:, one], ~seen[:, one])
        median = median_filter(steady[:, 0, :2], size=(2 * half + 1, 1), mode="nearest")
        away = np.linalg.norm(keypoints[:, joint, :2] - median, axis=-1)
        outlier[:, joint] = seen[:, joint] & (away > _JUMP * max(size, 1))
    return outlier


def _height(keypoints: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(T,): from the highest to the lowest point that was seen, pixels; not finite without any."""
    low, high = (np.where(seen, keypoints[..., 1], limit) for limit in (np.inf, -np.inf))
    return high.max(axis=1) - low.min(axis=1)


def _short(missing: np.ndarray, longest: int) -> np.ndarray:
    """(T, J) bool: missing for at most `longest` frames, between two frames where it is not."""
    inside = np.zeros_like(missing)
    for joint in np.flatnonzero(missing.any(axis=0)):
        edges = np.flatnonzero(np.diff(missing[:, joint].astype(np.int8)))
        for start, stop in zip(edges[:-1], edges[1:]):
            if missing[start + 1, joint] and stop - start <= longest:
                inside[start + 1 : stop + 1, joint] = True
    return inside


def _interpolate(keypoints: np.ndarray, known: np.ndarray, wanted: np.ndarray) -> None:
    """Put those keypoints that are wanted, joint by joint, between the known ones in time."""
    frames = np.arange(len(keypoints))
    for joint in np.flatnonzero(wanted.any(axis=0) & known.any(axis=0)):
        at, to = known[:, joint], wanted[:, joint]
        for axis in range(3):
            keypoints[to, joint, axis] = np.interp(frames[to], frames[at], keypoints[at, joint, axis])


def grown(keypoints: np.ndarray, ever: np.ndarray) -> np.ndarray:
    """(T, 17, 3), changed in place: joints that are never known are put at the nearest joint of the skeleton that is.

    ever: (17,) bool, whether a joint is known in any frame.
    """
    ever = ever.copy()
    while not ever.all() and ever.any():
        for joint, parent in enumerate(PARENTS):
            if parent >= 0 and ever[joint] != ever[parent]:
                to, source = (parent, joint) if ever[joint] else (joint, parent)
                keypoints[:, to, :2] = keypoints[:, source, :2]
                ever[to] = True
    return keypoints


def _summary(
    detected: np.ndarray, seen: np.ndarray, filled: np.ndarray, known: np.ndarray, outlier: np.ndarray, swapped: int
) -> str:
    frames, absent = len(seen), ~(detected | outlier).any(axis=1)
    empty = ~known.any(axis=1)
    parts = [f"{frames:,} frames"]
    if absent.any():
        parts.append(f"{absent.sum():,} without the person ({(absent & ~empty).sum():,} filled, {empty.sum():,} empty)")
    if swapped:
        parts.append(f"{swapped:,} with left and right swapped back")
    weak = detected & ~seen
    parts.append(
        f"of {seen.size:,} joints {(~detected & ~outlier).sum():,} not seen, {weak.sum():,} below confidence "
        f"{CONFIDENCE:g}, {outlier.sum():,} outliers; {filled.sum():,} filled, {(~known).sum():,} left empty"
    )
    return "; ".join(parts)
