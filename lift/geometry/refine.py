"""Refine lifted poses so that they agree with the keypoints and with bones that keep their lengths.

A model answers with the mean of the poses that it deems possible. Limbs that point at the camera come out too short,
and the answer, projected back, misses the keypoints. The refined recording is the most probable one, given normal
errors of the sizes below: of keypoints, by their confidence and with less weight on outliers (a pseudo-Huber loss), of
the model's bones, of bone lengths about their means, of knees beside the plane in which the leg bends, and of
accelerations about zero. Gauss-Newton steps find it. Only neighbouring frames meet, so the normal equations are banded.
"""

from collections.abc import Callable

import numpy as np
from scipy.linalg import solveh_banded

from liftbench.baselines.data import scratch
from liftbench.baselines.skeleton import FLIP, PARENTS

# Standard deviations, mm.
KEYPOINT = 9.0  # at the person's distance, over the confidence
_TRUNK, _SHOULDER, _ELBOW, _WRIST = (14.0, 14.0, 32.0), (20.0, 20.0, 36.0), (32.0, 32.0, 72.0), (48.0, 48.0, 86.0)
_LEG, _ARM = [(10.0, 10.0, 16.0), (32.0, 32.0, 80.0), (44.0, 44.0, 88.0)], [_SHOULDER, _ELBOW, _WRIST]
# Of the model's bones in x, y and z, by the joint that they end in: (16, 3). About twice the root mean square errors of
# `accurate` on the people that it learned from, because these last 0.8 s, four times as long as those of keypoints.
BONE = np.array([*_LEG, *_LEG, _TRUNK, _TRUNK, _TRUNK, (20.0, 20.0, 40.0), *_ARM, *_ARM])
LENGTH = 20.0
# Of a knee beside the plane in which the leg bends: so much, and this share of its distance from the line between hip
# and ankle. For true poses of those people it is 15% when they walk and 33% when they bend their knees deeply; the
# model's plane is less certain, and knees are hinges in that motion capture, but not quite in people.
KNEE, KNEE_SHARE = 20.0, 0.5
DISTANCE = 100.0  # of the pelvis from the camera
ACCELERATION = 6.0  # mm per (1/50 s)^2
OUTLIER = 2.0  # standard deviations; larger errors weigh less and less

_STEPS = 5
_FRAMES, _OVERLAP = 400, 50  # solved at once; blended with the next ones
_CHILDREN, _PARENTS = np.arange(1, 17), np.array(PARENTS)[1:]
_JOINTS = np.arange(17)
_LEGS = np.array([[1, 2, 3], [4, 5, 6]])  # hip, knee, ankle
_UNKNOWNS = 3 * 17  # of a frame
_BAND = 2 * _UNKNOWNS  # from a frame to the second next one
_ROWS, _COLUMNS = np.tril_indices(_UNKNOWNS)


def refine(
    poses: np.ndarray,
    root: np.ndarray,
    keypoints: np.ndarray,
    focal: float,
    size: tuple[int, int],
    fps: float,
    progress: Callable[[int], None] = lambda frames: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Refine a recording without gaps -> poses and root as they came in, moved.

    poses: (T, 17, 3) mm, camera frame (x right, y down, z forward), relative to the pelvis; root: (T, 3) mm, the
    pelvis. keypoints: (T, 17, 3) pixels and confidence, 0 where there is none. focal: pixels; size: (width, height).
    progress(frames) is told how many more are done. Some hundred frames are solved at a time and blended.
    """
    refined = scratch.zeros(poses.shape, poses.dtype)
    done = 0
    for start in range(0, max(len(poses) - _OVERLAP, 1), _FRAMES - _OVERLAP):
        part = slice(start, start + _FRAMES)
        points = (poses[part] + root[part, None]).astype(np.float64)
        solved = _solve(points, keypoints[part], focal, size, fps)
        overlap = done - start
        share = np.linspace(0, 1, overlap + 2)[1:-1, None, None]
        refined[start:done] += share * (solved[:overlap] - refined[start:done])
        refined[done : start + _FRAMES] = solved[overlap:]
        progress(start + len(solved) - done)
        done = start + len(solved)
    root = refined[:, 0].copy()
    refined -= root[:, None]
    return refined, root


def _solve(model: np.ndarray, keypoints: np.ndarray, focal: float, size: tuple[int, int], fps: float) -> np.ndarray:
    """The most probable joints, (T, 17, 3) mm, camera frame, given those of the model."""
    points, model_bones, knees = model.copy(), _bones(model), _beside(model)
    rays = (keypoints[..., :2] - np.array(size) / 2) / focal
    weights = (np.clip(keypoints[..., 2], 0, 1) / KEYPOINT) ** 2
    for _ in range(_STEPS):
        gradient, hessian = np.zeros((len(points), 17, 3)), np.zeros((len(points), 17, 3, 17, 3))
        _add_keypoints(gradient, hessian, points, model[:, :1, 2], rays, weights)
        _add_bones(gradient, hessian, points, model_bones)
        _add_knees(gradient, hessian, points, knees)
        gradient[:, 0, 2] += (points[:, 0, 2] - model[:, 0, 2]) / DISTANCE**2
        hessian[:, 0, 2, 0, 2] += 1 / DISTANCE**2
        band = np.zeros((_BAND + 1, len(points), _UNKNOWNS))
        _add_accelerations(gradient, hessian, band, points, fps)
        band[_ROWS - _COLUMNS, :, _COLUMNS] = hessian.reshape(-1, _UNKNOWNS, _UNKNOWNS)[:, _ROWS, _COLUMNS].T
        move = solveh_banded(band.reshape(_BAND + 1, -1), -gradient.ravel(), overwrite_ab=True, lower=True)
        points += move.reshape(points.shape)
    return points


def _bones(points: np.ndarray) -> np.ndarray:
    return points[:, _CHILDREN] - points[:, _PARENTS]


def _add_keypoints(
    gradient: np.ndarray,
    hessian: np.ndarray,
    points: np.ndarray,
    distance: np.ndarray,
    rays: np.ndarray,
    weights: np.ndarray,
) -> None:
    """How far the joints are from their viewing rays, mm at the distance of the person, (T, 1)."""
    depth = np.maximum(points[..., 2], distance / 10)
    seen = points[..., :2] / depth[..., None]
    error = (seen - rays) * distance[..., None]
    weights = weights / np.sqrt(1 + weights * (error**2).sum(axis=-1) / OUTLIER**2)
    along = distance / depth  # derivative of the error by x and y
    slopes = -seen * along[..., None]  # and by depth
    gradient[..., :2] += (weights * along)[..., None] * error
    gradient[..., 2] += weights * (slopes * error).sum(axis=-1)
    for axis in range(2):
        hessian[:, _JOINTS, axis, _JOINTS, axis] += weights * along**2
        hessian[:, _JOINTS, axis, _JOINTS, 2] += weights * along * slopes[..., axis]
        hessian[:, _JOINTS, 2, _JOINTS, axis] += weights * along * slopes[..., axis]
    hessian[:, _JOINTS, 2, _JOINTS, 2] += weights * (slopes**2).sum(axis=-1)


def _add_bones(gradient: np.ndarray, hessian: np.ndarray, points: np.ndarray, model: np.ndarray) -> None:
    """How far the bones are from the model's, and their lengths from the mean of the same bone, left and right."""
    bones = _bones(points)
    length = np.linalg.norm(bones, axis=-1)
    mean = length.mean(axis=0)
    mean = (mean + mean[np.array(FLIP)[1:] - 1]) / 2
    direction = bones / np.maximum(length, 1e-9)[..., None]
    force = ((length - mean) / LENGTH**2)[..., None] * direction + (bones - model) / BONE**2
    stiffness = direction[..., :, None] * direction[..., None, :] / LENGTH**2 + np.eye(3) / BONE[:, None] ** 2
    for bone, (child, parent) in enumerate(zip(_CHILDREN, _PARENTS)):
        gradient[:, child] += force[:, bone]
        gradient[:, parent] -= force[:, bone]
        for one, other, sign in ((child, child, 1), (parent, parent, 1), (child, parent, -1), (parent, child, -1)):
            hessian[:, one, :, other] += sign * stiffness[:, bone]


def _beside(model: np.ndarray) -> np.ndarray:
    """How much farther each knee is beside the plane in which the leg bends, for a mm of hip, knee and ankle.

    The plane is the model's: it holds hip and ankle, and is as perpendicular to the line between the hips as it can be.
    Returns (T, legs, joints, 3) in standard deviations per mm.
    """
    hip, knee, ankle = (model[:, _LEGS[:, joint]] for joint in range(3))  # (T, legs, 3)
    thigh, shank = (np.linalg.norm(bone, axis=-1).mean(axis=0) for bone in (knee - hip, ankle - knee))
    share = (thigh / np.maximum(thigh + shank, 1e-9))[:, None]  # of a straight leg, from the hip to the knee
    offset = knee - (1 - share) * hip - share * ankle
    leg = _unit(ankle - hip)
    left = model[:, [4]] - model[:, [1]]
    left = _unit(left - (left * leg).sum(axis=-1, keepdims=True) * leg)
    deviation = np.sqrt(KNEE**2 + KNEE_SHARE**2 * (offset**2).sum(axis=-1))
    parts = np.stack([share - 1, np.ones_like(share), -share], axis=1)  # (legs, joints, 1)
    return parts * (left / deviation[..., None])[:, :, None]


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def _add_knees(gradient: np.ndarray, hessian: np.ndarray, points: np.ndarray, slopes: np.ndarray) -> None:
    """How far the knees are beside the plane in which the leg bends; slopes: what `_beside` returns."""
    for leg, slope in zip(_LEGS, np.moveaxis(slopes, 1, 0)):
        error = (slope * points[:, leg]).sum(axis=(1, 2))
        weights = 1 / np.sqrt(1 + (error / OUTLIER) ** 2)
        gradient[:, leg] += (weights * error)[:, None, None] * slope
        hessian[:, leg[:, None], :, leg] += np.einsum("t,tia,tjb->ijtab", weights, slope, slope)


def _add_accelerations(
    gradient: np.ndarray, hessian: np.ndarray, band: np.ndarray, points: np.ndarray, fps: float
) -> None:
    """How much each joint accelerates. `band` takes what this says of one frame and the next two."""
    count = len(points) - 2
    if count < 1:
        return
    acceleration = points[2:] - 2 * points[1:-1] + points[:-2]
    weight = ((fps / 50) ** 2 / ACCELERATION) ** 2
    weights = weight / np.sqrt(1 + weight * (acceleration**2).sum(axis=-1) / OUTLIER**2)
    for frame, factor in enumerate((1, -2, 1)):
        gradient[frame : frame + count] += factor * weights[..., None] * acceleration
        for axis in range(3):
            hessian[frame : frame + count, _JOINTS, axis, _JOINTS, axis] += factor**2 * weights
    weights = np.repeat(weights, 3, axis=-1)
    band[_UNKNOWNS, :count] -= 2 * weights
    band[_UNKNOWNS, 1 : count + 1] -= 2 * weights
    band[_BAND, :count] += weights
