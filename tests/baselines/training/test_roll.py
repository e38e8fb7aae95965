"""Clips turned in the image, as a camera that leans would see them."""

import pytest
import torch

from liftbench.baselines.training.batches import rolled


def test_keypoints_and_targets_turn_together():
    torch.manual_seed(0)
    targets = torch.randn(200, 5, 17, 3, dtype=torch.float64)
    keypoints = torch.cat([targets[..., :2], torch.rand(200, 5, 17, 1, dtype=torch.float64)], dim=-1)
    turned, poses = rolled(keypoints, targets, 30)
    torch.testing.assert_close(turned[..., :2], poses[..., :2])
    torch.testing.assert_close(turned[..., 2], keypoints[..., 2])
    torch.testing.assert_close(poses[..., 2], targets[..., 2])
    torch.testing.assert_close(poses.norm(dim=-1), targets.norm(dim=-1))
    cosine = torch.cosine_similarity(poses[..., :2], targets[..., :2], dim=-1)
    angle = torch.rad2deg(torch.acos(cosine.clamp(-1, 1)))
    assert (angle - angle[:, :1, :1]).abs().max() < 1e-3, "one angle for a clip"
    assert 25 < angle.max() <= 30.001 and angle.min() < 2


@pytest.mark.parametrize("seed", [0, 1])
def test_the_angle_follows_the_seed(seed):
    keypoints, targets = torch.rand(2, 3, 17, 2), torch.rand(2, 1, 17, 3)
    torch.manual_seed(seed)
    first = rolled(keypoints, targets, 10)
    torch.manual_seed(seed)
    torch.testing.assert_close(first, rolled(keypoints, targets, 10), rtol=0, atol=0)
    assert not torch.allclose(first[0], rolled(keypoints, targets, 10)[0])
