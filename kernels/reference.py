"""The oracle: the selective scan as a plain loop over time, differentiable by autograd, in float32 or float64.

The tests compare every other implementation with this one, and check this one by hand and by gradcheck.
Source: Mamba (Gu and Dao 2023), equations 2a, 2b and 4, in the "selective_scan_ref" form: B is not discretised exactly.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from liftbench.kernels import grid


def unusable(device_type: str) -> None:
    """Return None: this implementation runs on every device type."""
    return None


def selective_scan(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None = None, delta_bias: Tensor | None = None
) -> Tensor:
    """Scan h_t = exp(delta_t A) h_(t-1) + delta_t u_t B_t;  y_t = C_t . h_t + D u_t, delta = softplus(delta + bias).

    u, delta: (B, channels, L); A: (channels, N); B, C: (B, groups, N, L), channel c reads group c // (channels/groups);
    D, delta_bias: (channels,) or None. Returns y: (B, channels, L) in the dtype of u. Inputs in float64 are computed
    in float64, all others in float32.
    """
    dtype_in = u.dtype
    dtype = torch.float64 if u.dtype == torch.float64 else torch.float32
    u, delta, A, B, C = (tensor.to(dtype) for tensor in (u, delta, A, B, C))
    if delta_bias is not None:
        delta = delta + delta_bias.to(dtype)[:, None]
    delta = F.softplus(delta)
    per_group = u.shape[1] // B.shape[1]
    B, C = (tensor.repeat_interleave(per_group, dim=1) for tensor in (B, C))  # (B, channels, N, L)
    h = u.new_zeros(u.shape[0], *A.shape)
    ys = []
    # unbind, because the gradient of an index is as large as the whole tensor at every step
    for u_t, delta_t, B_t, C_t in zip(*(tensor.unbind(-1) for tensor in (u, delta, B, C)), strict=True):
        h = torch.exp(delta_t[..., None] * A) * h + (delta_t * u_t)[..., None] * B_t
        ys.append((h * C_t).sum(-1))
    y = torch.stack(ys, dim=-1)
    if D is not None:
        y = y + D.to(dtype)[:, None] * u
    return y.to(dtype_in)


def grid_scan(*arguments) -> Tensor:
    """Do what `kernels.grid_scan` does."""
    return grid.grid_scan(selective_scan, *arguments)


def bidirectional_scan(forward_stream: Sequence[Tensor | None], reversed_stream: Sequence[Tensor | None]) -> Tensor:
    """Do what `kernels.bidirectional_scan` does."""
    return grid.bidirectional_scan(selective_scan, forward_stream, reversed_stream)
