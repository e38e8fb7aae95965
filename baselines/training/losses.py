"""Training losses for poses (B, T, 17, 3) in any one unit. Each returns a scalar tensor.

Sources: the terms of MotionBERT (Zhu et al., ICCV 2023, section 4.2) and of the code that it shares with PoseMamba,
Pose3DM and MDTF; temporal consistency from P-STMO and MixSTE. `TERMS` names them for recipes.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from liftbench.baselines.skeleton import BONES

# Pairs of bones whose angle at their common joint is compared.
ANGLES = (
    (0, 3), (0, 6), (3, 6), (0, 1), (1, 2), (3, 4), (4, 5), (6, 7), (7, 10), (7, 13), (8, 13), (10, 13), (7, 8),
    (8, 9), (10, 11), (11, 12), (13, 14), (14, 15),
)  # fmt: skip
# Joints far from the torso count more in weighted_mpjpe and in the temporal consistency term.
JOINT_WEIGHTS = (1, 1, 2.5, 2.5, 1, 2.5, 2.5, 1, 1, 1, 1.5, 1.5, 4, 4, 1.5, 4, 4)


def mpjpe(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean distance of joints."""
    return torch.linalg.vector_norm(predicted - target, dim=-1).mean()


def relative_mpjpe(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean distance of joints over the person's size in the clip, so that small persons count as much as tall ones.

    Size: the root mean square distance of the target's joints from the root.
    """
    return _relative(predicted, target, target)


def relative_velocity(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean distance of the frame-to-frame motions over the person's size, as in `relative_mpjpe`."""
    if predicted.shape[1] < 2:
        return predicted.new_zeros(())
    return _relative(predicted.diff(dim=1), target.diff(dim=1), target)


def weighted_mpjpe(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean distance of joints, each times its weight in JOINT_WEIGHTS (MixSTE, Zhang et al. 2022, equation 6)."""
    distances = torch.linalg.vector_norm(predicted - target, dim=-1)
    return (predicted.new_tensor(JOINT_WEIGHTS) * distances).mean()


def n_mpjpe(predicted: Tensor, target: Tensor) -> Tensor:
    """MPJPE after each frame's best scale (Rhodin et al. 2018)."""
    scale = (predicted * target).sum((-2, -1), keepdim=True) / (predicted**2).sum((-2, -1), keepdim=True)
    return mpjpe(scale * predicted, target)


def velocity(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean distance of the frame-to-frame motions; zero for clips of one frame."""
    if predicted.shape[1] < 2:
        return predicted.new_zeros(())
    return mpjpe(predicted.diff(dim=1), target.diff(dim=1))


def temporal_consistency(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean squared frame-to-frame motion of the prediction, weighted by JOINT_WEIGHTS; the target is not used."""
    if predicted.shape[1] < 2:
        return predicted.new_zeros(())
    return (predicted.new_tensor(JOINT_WEIGHTS)[:, None] * predicted.diff(dim=1) ** 2).mean()


def limb_var(predicted: Tensor, target: Tensor) -> Tensor:
    """Variance over time of the predicted bone lengths; zero for clips of one frame; the target is not used."""
    if predicted.shape[1] < 2:
        return predicted.new_zeros(())
    return _bones(predicted).norm(dim=-1).var(dim=1).mean()


def limb_gt(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error of the bone lengths."""
    return F.l1_loss(_bones(predicted).norm(dim=-1), _bones(target).norm(dim=-1))


def angle(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error of the angles between bones, radians."""
    return F.l1_loss(_angles(predicted), _angles(target))


def angle_velocity(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error of the frame-to-frame change of the angles between bones, radians per frame."""
    if predicted.shape[1] < 2:
        return predicted.new_zeros(())
    return F.l1_loss(_angles(predicted).diff(dim=1), _angles(target).diff(dim=1))


TERMS = {
    term.__name__: term
    for term in (
        mpjpe,
        relative_mpjpe,
        relative_velocity,
        weighted_mpjpe,
        n_mpjpe,
        velocity,
        temporal_consistency,
        limb_var,
        limb_gt,
        angle,
        angle_velocity,
    )
}


def total(predicted: Tensor, target: Tensor, weights: Mapping[str, float]) -> Tensor:
    """Return the weighted sum of terms; weights: name of a term in TERMS -> weight, e.g. PoseMamba's
    {"mpjpe": 1, "n_mpjpe": 0.5, "velocity": 20, "temporal_consistency": 0.5}."""
    return sum(weight * TERMS[name](predicted, target) for name, weight in weights.items())


def _relative(predicted: Tensor, true: Tensor, poses: Tensor) -> Tensor:
    """Mean distance of vectors, (B, T, J, 3) each, over the size of the clip's poses, (B, T', J, 3)."""
    size = poses.square().sum(-1).mean((1, 2)).sqrt()
    return (torch.linalg.vector_norm(predicted - true, dim=-1).mean((1, 2)) / size).mean()


def _bones(poses: Tensor) -> Tensor:
    ends = poses[:, :, BONES]  # (B, T, 16, 2, 3)
    return ends[..., 0, :] - ends[..., 1, :]


def _angles(poses: Tensor) -> Tensor:
    pairs = _bones(poses)[:, :, ANGLES]  # (B, T, 18, 2, 3)
    cosine = F.cosine_similarity(pairs[..., 0, :], pairs[..., 1, :], dim=-1)
    return torch.acos(cosine.clamp(-1 + 1e-7, 1 - 1e-7))
