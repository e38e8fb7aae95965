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
    squared = keypoints[..., 2] * (error**2).sum(-1) / module.KEYPOINT**2
    total = (2 * module.OUTLIER**2 * (np.sqrt(1 + squared / module.OUTLIER**2) - 1)).sum()
    bones, model_bones = (values[:, CHILDREN] - values[:, PARENT] for values in (points, model))
    length = np.linalg.norm(bones, axis=-1)
    mean = length.mean(axis=0)
    mean = (mean + mean[np.array(FLIP)[1:] - 1]) / 2
    total += (((bones - model_bones) / module.BONE) ** 2).sum() + (((length - mean) / module.LENGTH) ** 2).sum()
    total += (((points[:, 0, 2] - model[:, 0, 2]) / module.DISTANCE) ** 2).sum()
    acceleration = points[2:] - 2 * points[1:-1] + points[:-2]
    squared = (acceleration**2).sum(-1) * (FPS / 50) ** 4 / module.ACCELERATION**2
    return total + (2 * module.OUTLIER**2 * (np.sqrt(1 + squared / module.OUTLIER**2) - 1)).sum()


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
