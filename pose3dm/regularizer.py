"""The fractional-order total variation that the Pose3DM paper adds to its losses; its published code has none."""

import torch


def grunwald_letnikov_weights(order: float, length: int) -> torch.Tensor:
    """The first `length` weights of the backward difference of fractional order, (length,) float64.

    The difference of order n is (1 - S)^n with S the shift by one frame. Newton's binomial series gives it a meaning
    for any real order a: (1 - S)^a = sum_k w_k S^k with w_k = (-1)^k binomial(a, k), hence w_0 = 1 and
    w_k = w_(k-1) (k - 1 - a) / k. Order 1 gives 1, -1, 0, ..., order 2 gives 1, -2, 1, 0, ..., and between them the
    weights never end: |w_k| falls as k^(-1-a), which is the memory of the operator.
    """
    k = torch.arange(1, length, dtype=torch.float64)
    return torch.cat([torch.ones(1, dtype=torch.float64), ((k - 1 - order) / k).cumprod(0)])


def fractional_total_variation(poses: torch.Tensor, order: float) -> torch.Tensor:
    """Mean length of the fractional difference of every joint's path, a scalar; poses: (B, T, 17, 3) in any one unit.

    Derivation. The Grunwald-Letnikov derivative of order a is the limit for small h of h^-a sum_k w_k x(t - k h). With
    one frame as h and a clip that starts at frame 0 it becomes (D x)_t = sum_(k <= t) w_k x_(t-k). That sum is cut off
    at the first frame, where the weights kept do not add up to zero, so a pose at rest would be charged for where it
    is. We therefore let the clip be at rest in its first pose before it starts, which is Caputo's form: D acts on
    x_t - x_0. Static poses and translations then cost nothing, and the total variation is the mean of |(D x)_t| over
    clips, joints and frames 1 .. T - 1 (at frame 0 it is zero). At order 1 it is the mean speed in units per frame, at
    order 2 it charges acceleration; towards order 0 it becomes the mean distance to the first pose.

    order: above 0, at most 2; raises ValueError outside. Clips of one frame cost zero.
    """
    if not 0 < order <= 2:
        raise ValueError(f"the order of the total variation must be above 0 and at most 2, not {order}")
    frames = poses.shape[1]
    if frames < 2:
        return poses.new_zeros(())
    lag = torch.arange(frames)[:, None] - torch.arange(frames)
    weights = grunwald_letnikov_weights(order, frames)[lag.clamp(min=0)].where(lag >= 0, 0.0).to(poses)
    difference = torch.einsum("ts,bsjc->btjc", weights, poses - poses[:, :1])
    return torch.linalg.vector_norm(difference[:, 1:], dim=-1).mean()
