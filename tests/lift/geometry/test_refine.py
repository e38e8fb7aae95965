"""Poses that agree with keypoints and bones, against the energy that they minimise and against true 3D."""

import numpy as np
import pytest

from liftbench.baselines.evaluation import metrics
from liftbench.baselines.skeleton import FLIP, PARENTS
from liftbench.lift.geometry import refine as module
from liftbench.lift.geometry.refine import refine
from support import ROOT

FOCAL, SIZE, FPS = 1200.0, (1920, 1080), 50.0
CHILDREN, PARENT = np.arange(1, 17), np.array(PARENTS)[1:]


def recording(frames=60, first=40):
    """A true walk, (T, 17, 3) mm relative to the pelvis, its path, and exact keypoints with confidence 1."""
    truth = np.load(ROOT / "lift/samples" / "walk.npz")["truth"][first : first + frames].astype(np.float64)
    poses = truth - truth[:, :1]
    root = np.stack([np.linspace(-500, 500, frames), np.zeros(frames), np.full(frames, 4000.0)], axis=-1)
    points = poses + root[:, None]
    pixels = points[..., :2] / points[..., 2:] * FOCAL + np.array(SIZE) / 2
    return poses, root, np.concatenate([pixels, np.ones((frames, 17, 1))], axis=-1)


def blurred(poses):
    """As a model answers: the depth of every bone shrinks."""
    return poses * np.array([1, 1, 0.6])


def energy(points, model, keypoints):
    """What the docstring of the module says, times two."""
    distance = model[:, :1, 2]
    error = (points[..., :2] / points[..., 2:] - (keypoints[..., :2] - np.array(SIZE) / 2) / FOCAL) * distance[
        ..., None
    ]
    total = huber((keypoints[..., 2] / module.KEYPOINT) ** 2 * (error**2).sum(-1))
    for leg in ((1, 2, 3), (4, 5, 6)):
        (hip, knee, ankle), across = (model[:, joint] for joint in leg), model[:, 4] - model[:, 1]
        thigh, shank = np.linalg.norm(knee - hip, axis=-1).mean(), np.linalg.norm(ankle - knee, axis=-1).mean()
        before, offset = (
            values[:, leg[1]] - (shank * values[:, leg[0]] + thigh * values[:, leg[2]]) / (thigh + shank)
            for values in (model, points)
        )
        normal = np.cross(ankle - hip, np.cross(across, ankle - hip))
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
        variance = module.KNEE**2 + module.KNEE_SHARE**2 * (before**2).sum(-1)
        total += huber((offset * normal).sum(-1) ** 2 / variance)
    bones, model_bones = (values[:, CHILDREN] - values[:, PARENT] for values in (points, model))
    length = np.linalg.norm(bones, axis=-1)
    mean = length.mean(axis=0)
    mean = (mean + mean[np.array(FLIP)[1:] - 1]) / 2
    total += (((bones - model_bones) / module.BONE) ** 2).sum() + (((length - mean) / module.LENGTH) ** 2).sum()
    total += (((points[:, 0, 2] - model[:, 0, 2]) / module.DISTANCE) ** 2).sum()
    acceleration = points[2:] - 2 * points[1:-1] + points[:-2]
    squared = (acceleration**2).sum(-1) * (FPS / 50) ** 4 / module.ACCELERATION**2
    return total + huber(squared)


def huber(squared):
    return (2 * module.OUTLIER**2 * (np.sqrt(1 + squared / module.OUTLIER**2) - 1)).sum()


def test_minimum(monkeypatch):
    """No joint can move by 0.1 mm along any axis without more energy than rounding explains."""
    monkeypatch.setattr(module, "_STEPS", 40)
    poses, root, keypoints = recording(frames=5)
    keypoints[..., :2] += np.random.default_rng(0).normal(0, 8, keypoints[..., :2].shape)
    keypoints[1, 3, 2], keypoints[2, 5, 2] = 0.3, 0
    model = blurred(poses) + root[:, None]
    found = np.add(*(values[:, None] if values.ndim == 2 else values for values in refine(
        blurred(poses), root, keypoints, FOCAL, SIZE, FPS)))  # fmt: skip
    least = energy(found, model, keypoints)
    assert least < 0.9 * energy(model, model, keypoints)
    for place in np.ndindex(found.shape):
        for step in (-0.1, 0.1):
            moved = found.copy()
            moved[place] += step
            assert energy(moved, model, keypoints) > least - 1e-6 * least


@pytest.mark.parametrize("fps", [25.0, 50.0, 120.0])
def test_depth_of_short_limbs_returns(fps):
    poses, root, keypoints = recording()
    keypoints[..., :2] += np.random.default_rng(0).normal(0, 2, keypoints[..., :2].shape)
    refined, path = refine(blurred(poses), root, keypoints, FOCAL, SIZE, fps)
    before, after = (metrics.p_mpjpe(values, poses).mean() for values in (blurred(poses), refined))
    assert after < 0.9 * before
    assert np.abs(path - root).max() < 60


def test_knees_bend_ahead():
    """Seen from 45 degrees, a straight leg whose knee is too near the camera does not seem bent."""
    turn = np.sqrt(0.5) * np.array([[1.0, 0, 1], [0, np.sqrt(2), 0], [-1, 0, 1]])
    poses, root, _ = recording()
    standing = np.repeat(poses[:1], len(poses), axis=0)
    standing[:, 2], standing[:, 5] = (standing[:, [1, 4]] + standing[:, [3, 6]]).transpose(1, 0, 2) / 2
    left, up = standing[0, 4] - standing[0, 1], standing[0, 0] - standing[0, 8]
    facing = np.stack([left, up - up @ left / (left @ left) * left, np.cross(left, up)])
    standing = standing @ (facing / np.linalg.norm(facing, axis=1, keepdims=True)).T @ turn
    pixels = (standing + root[:, None])[..., :2] / (standing + root[:, None])[..., 2:] * FOCAL + np.array(SIZE) / 2
    model = standing.copy()
    model[:, [2, 5], 2] -= 60
    found, _ = refine(model, root, np.concatenate([pixels, np.ones((60, 17, 1))], axis=-1), FOCAL, SIZE, FPS)
    before, after = (np.abs((values - standing)[:, [2, 5], 2]).mean() for values in (model, found))
    assert after < 0.5 * before


def test_exact_poses_stay():
    poses, root, keypoints = recording()
    refined, path = refine(poses, root, keypoints, FOCAL, SIZE, FPS)
    assert np.abs(refined - poses).mean() < 3 and np.abs(path - root).mean() < 3


def test_unseen_joints_follow_the_model():
    poses, root, keypoints = recording()
    keypoints[:, 16, :2] = 0
    keypoints[:, 16, 2] = 0
    refined, _ = refine(poses, root, keypoints, FOCAL, SIZE, FPS)
    assert np.abs(refined - poses).mean() < 3


def test_one_wrong_keypoint_does_little():
    poses, root, keypoints = recording()
    keypoints[30, 3, 0] += 300
    refined, _ = refine(poses, root, keypoints, FOCAL, SIZE, FPS)
    assert np.linalg.norm(refined[30, 3] - poses[30, 3]) < 40


def test_no_seam(monkeypatch):
    poses, root, keypoints = recording(frames=150, first=0)
    whole, _ = refine(blurred(poses), root, keypoints, FOCAL, SIZE, FPS)
    monkeypatch.setattr(module, "_FRAMES", 80)
    monkeypatch.setattr(module, "_OVERLAP", 30)
    counted = []
    parts, _ = refine(blurred(poses), root, keypoints, FOCAL, SIZE, FPS, counted.append)
    assert sum(counted) == 150 and len(counted) == 3
    speed = np.linalg.norm(np.diff(parts - whole, axis=0), axis=-1)
    assert speed.max() < 3 and np.abs(parts - whole).mean() < 6


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_few_frames(frames):
    poses, root, keypoints = recording(frames=frames)
    refined, path = refine(blurred(poses), root, keypoints, FOCAL, SIZE, FPS)
    assert refined.shape == poses.shape and path.shape == root.shape
    assert np.isfinite(refined).all() and not refined[:, 0].any()


def test_float32_stays():
    poses, root, keypoints = recording(frames=4)
    refined, path = refine(poses.astype(np.float32), root.astype(np.float32), keypoints, FOCAL, SIZE, FPS)
    assert refined.dtype == path.dtype == np.float32
