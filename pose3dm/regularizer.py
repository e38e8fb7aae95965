"""The fractional-order total variation of the Pose3DM paper, a loss term that the published code lacks."""

import torch


def grunwald_letnikov_weights(order: float, length: int) -> torch.Tensor:
    """Return the first `length` weights of the backward difference of fractional order, (length,) float64.

    The difference of order n is (1 - S)^n, where S shifts by one frame. Newton's binomial series extends it to any real
    order a: (1 - S)^a = sum_k w_k S^k with w_k = (-1)^k binomial(a, k), so w_0 = 1 and w_k = w_(k-1) (k - 1 - a) / k.
    Order 1 gives 1, -1, 0, ... and order 2 gives 1, -2, 1, 0, .... Orders in between have infinitely many weights:
    |w_k| falls like k^(-1-a). These weights are the operator's memory.
    """
    k = torch.arange(1, length, dtype=torch.float64)
    return torch.cat([torch.ones(1, dtype=torch.float64), ((k - 1 - order) / k).cumprod(0)])


def fractional_total_variation(poses: torch.Tensor, order: float) -> torch.Tensor:
    """Return the mean length of the fractional difference of every joint's path, a scalar in the unit of the poses.

    poses: (B, T, 17, 3) in any one unit and frame; order: above 0 and at most 2. Clips of one frame cost zero.
    Raises ValueError for an order out of range.

    Derivation. The Grunwald-Letnikov derivative of order a is the limit of h^-a sum_k w_k x(t - k h) as h goes to 0.
    With h = 1 frame and a clip that starts at frame 0 it becomes (D x)_t = sum_(k <= t) w_k x_(t-k). The clip's start
    truncates this sum. The remaining weights do not add up to zero, so a pose at rest would be charged for its
    position. We therefore assume that the clip rests in its first pose before it starts. This is Caputo's form: D acts
    on x_t - x_0, and static poses cost nothing. The total variation is the mean of |(D x)_t| over clips, joints and
    frames 1 .. T - 1; frame 0 is always zero. Order 1 gives the mean speed in units per frame. Order 2 penalises
    acceleration. Towards order 0 the result approaches the mean distance to the first pose.
    """
    if not 0 < order <= 2:
        raise ValueError(
            f"Cannot compute a total variation of order {order}: it must be above 0 and at most 2. Change the order."
        )
    frames = poses.shape[1]
    if frames < 2:
        return poses.new_zeros(())
    lag = torch.arange(frames)[:, None] - torch.arange(frames)
    weights = grunwald_letnikov_weights(order, frames)[lag.clamp(min=0)].where(lag >= 0, 0.0).to(poses)
    difference = torch.einsum("ts,bsjc->btjc", weights, poses - poses[:, :1])
    return torch.linalg.vector_norm(difference[:, 1:], dim=-1).mean()
