"""Left and right as they should be: a detector now and then takes one leg or arm for the other."""

import numpy as np

from liftbench.baselines.data import scratch
from liftbench.baselines.skeleton import LIMBS

_UNIT = 0.02  # of the person's size in a 50th of a second squared: an acceleration that costs 1
_MOST = 15.0  # that the acceleration of one joint costs
_SWAPPED = 0.3  # that each swapped frame costs, so that most frames stay as they are


def untangle(keypoints: np.ndarray, seen: np.ndarray, fps: float) -> tuple[np.ndarray, int]:
    """Swap legs or arms back -> a copy, (T, 17, 3), and in how many frames some were swapped.

    keypoints: (T, 17, 3) pixels and confidence; seen: (T, 17) bool, which of them count. A limb moves steadily, so of
    all ways to swap its two sides in some frames the one is taken that accelerates least (Viterbi's algorithm).
    """
    size, untangled = _size(keypoints, seen), scratch.copy(keypoints)
    if len(keypoints) < 3 or not size:
        return untangled, 0
    unit = _UNIT * size * max(1.0, (50 / fps) ** 2)
    any_swapped = np.zeros(len(keypoints), bool)
    for right, left in LIMBS:
        swapped = _steadiest(keypoints, right, left, seen[:, right] & seen[:, left], unit)
        untangled[np.ix_(swapped, right)] = keypoints[np.ix_(swapped, left)]
        untangled[np.ix_(swapped, left)] = keypoints[np.ix_(swapped, right)]
        any_swapped |= swapped
    return untangled, int(any_swapped.sum())


def _size(keypoints: np.ndarray, seen: np.ndarray) -> float:
    """Median over time of the person's longer side in the image, pixels; 0 where nobody is."""
    shown = seen.sum(axis=1) >= 2
    if not shown.any():
        return 0.0
    return float(np.median(scratch.by_blocks(_spread, keypoints, seen)[shown]))


def _spread(keypoints: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(T,): the longer side of the box around the points that were seen; not finite without any."""
    places, seen = keypoints[..., :2], seen[..., None]
    low, high = np.where(seen, places, np.inf).min(axis=1), np.where(seen, places, -np.inf).max(axis=1)
    return (high - low).max(axis=1)


def _steadiest(keypoints: np.ndarray, right: list[int], left: list[int], seen: np.ndarray, unit: float) -> np.ndarray:
    """In which frames to swap the joints `right` and `left`, (T,) bool.

    keypoints: (T, 17, 3) pixels; seen: (T, J) bool, of the pairs of joints; unit: the acceleration that costs 1. A
    state is (swapped in the frame before, swapped in this frame), so a step of three frames has a cost of its own.
    """
    counts = seen[2:] & seen[1:-1] & seen[:-2]
    step = np.zeros((len(keypoints) - 2, 2, 2, 2), np.float32)
    for block in scratch.blocks(len(step)):
        points = keypoints[block.start : block.stop + 2][:, [right, left], :2] / unit
        sides = np.stack([points, points[:, ::-1]])
        for a, b, c in np.ndindex(2, 2, 2):
            acceleration = np.linalg.norm(sides[c, 2:] - 2 * sides[b, 1:-1] + sides[a, :-2], axis=-1)
            cost = (np.minimum(acceleration, _MOST).sum(axis=1) * counts[block]).sum(axis=1)
            step[block, a, b, c] = cost + _SWAPPED * c
    cost = np.add.outer([0, _SWAPPED], [0, _SWAPPED])
    before = np.empty((len(step), 2, 2), np.int8)
    for row, back in zip(step, before):
        total = cost[:, :, None] + row
        back[:] = total.argmin(axis=0)
        cost = total.min(axis=0)
    swapped = np.zeros(len(keypoints), bool)
    b, c = np.unravel_index(cost.argmin(), (2, 2))
    swapped[-2:] = b, c
    for frame in range(len(step) - 1, -1, -1):
        b, c = before[frame, b, c], b
        swapped[frame] = b
    return swapped
