"""Legs and arms that a detector took for one another."""

import numpy as np
import pytest

from liftbench.baselines.data import gaps
from liftbench.baselines.data.swaps import untangle
from liftbench.baselines.skeleton import LIMBS
from support import ROOT


def walk():
    """(T, 17, 3) keypoints of the true walk, seen from the side by a weak perspective."""
    truth = np.load(ROOT / "lift/samples" / "walk.npz")["truth"].astype(np.float64)
    return np.concatenate([500 + truth[..., :2] / 4, np.ones((*truth.shape[:2], 1))], axis=-1)


def swapped(keypoints, frames, pair=0):
    changed, (right, left) = keypoints.copy(), map(list, LIMBS[pair])
    changed[frames, right], changed[frames, left] = keypoints[frames, left], keypoints[frames, right]
    return changed


def seen(keypoints):
    return keypoints[..., 2] > 0


@pytest.mark.parametrize("pair", [0, 1])
@pytest.mark.parametrize("frames", [slice(30, 34), slice(40, 62), slice(0, 9), slice(-7, None)])
def test_swaps_are_found(pair, frames):
    keypoints = walk()
    noisy = keypoints + np.random.default_rng(0).normal(0, 1, keypoints.shape) * (1, 1, 0)
    wrong = swapped(noisy, np.arange(len(noisy))[frames][:, None], pair)
    right, count = untangle(wrong, seen(wrong), 50)
    limbs = np.abs(right - noisy)[:, [*LIMBS[pair][0], *LIMBS[pair][1]], :2].max(axis=(1, 2))
    assert (limbs > 25).mean() < 0.01
    assert abs(count - np.abs(wrong - noisy).any(axis=(1, 2)).sum()) <= 0.04 * len(noisy)


@pytest.mark.parametrize("name", ["walk", "dance"])
@pytest.mark.parametrize("every", [1, 2])
def test_true_motion_stays(name, every):
    """At 50 and at 25 frames a second."""
    truth = np.load(ROOT / "lift/samples" / f"{name}.npz")["truth"].astype(np.float64)[::every]
    keypoints = np.concatenate([500 + truth[..., :2] / 4, np.ones((*truth.shape[:2], 1))], axis=-1)
    assert untangle(keypoints, seen(keypoints), 50 / every)[1] <= 0.02 * len(truth)


def test_unseen_joints_do_not_count():
    keypoints = walk()
    keypoints[20:26, 3] = 0
    wrong = swapped(keypoints, np.arange(40, 55)[:, None])
    right, count = untangle(wrong, seen(wrong), 50)
    assert count == 15 and np.array_equal(right, keypoints)


@pytest.mark.parametrize("keypoints", [np.zeros((10, 17, 3)), np.ones((2, 17, 3)), np.zeros((0, 17, 3))])
def test_nothing_to_untangle(keypoints):
    right, count = untangle(keypoints, seen(keypoints), 50)
    assert count == 0 and np.array_equal(right, keypoints)


def test_the_summary_says_so():
    wrong = swapped(walk(), np.arange(40, 55)[:, None])
    assert "15 with left and right swapped back" in gaps.fill(wrong, 50, scored=False).summary
