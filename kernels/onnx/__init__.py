"""The scan in a form that ONNX can express, for `liftbench export`. The scan proper is one torch operator, which
`translation.py` turns into ONNX's `Scan`, a step at a time; projections and gathers are ordinary operators.

A step works on all groups, states and clips at once. The channels come last, so that a runtime vectorises over them.
Axes here: G groups (directions or streams), L steps, B clips, D channels of a group, N states.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from liftbench.kernels.operators import operator, traced
from liftbench.kernels.orders import LIMB_ORDER


def unusable(device_type: str) -> str | None:
    """Return why this implementation cannot run: it only serves exporters. None while one of them traces a model."""
    return None if torch.compiler.is_compiling() else "it only writes ONNX files; use `liftbench export`"


def selective_scan(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None = None, delta_bias: Tensor | None = None
) -> Tensor:
    """Do what `kernels.reference.selective_scan` does, in float32 and without gradients."""
    y = torch.ops.liftbench.steps(*_groups_first(u, delta, A, B, C, delta_bias))
    y = y.permute(2, 0, 3, 1).flatten(1, 2)
    return y if D is None else y + D[:, None] * u


def bidirectional_scan(forward_stream: Sequence[Tensor | None], reversed_stream: Sequence[Tensor | None]) -> Tensor:
    """Do what `kernels.bidirectional_scan` does: both streams share the steps of one scan."""
    (u, *others, D, bias), (v, delta, A, B, C, D_back, bias_back) = forward_stream, reversed_stream
    there = _groups_first(u, *others, bias)
    back = _groups_first(v.flip(-1), delta.flip(-1), A, B.flip(-1), C.flip(-1), bias_back)
    y = torch.ops.liftbench.steps(*(torch.cat(pair) for pair in zip(there, back)))
    y_there, y_back = y.chunk(2)  # (G, L, B, D)
    y = (y_there + y_back.flip(1)).permute(2, 0, 3, 1).flatten(1, 2)
    return y + D[:, None] * u + D_back[:, None] * v


def grid_scan(
    x: Tensor,
    x_proj_weight: Tensor,
    dt_weight: Tensor,
    dt_bias: Tensor,
    A: Tensor,
    D: Tensor,
    orders: Tensor,
    limb: Sequence[bool],
    limb_gradient: str,
) -> Tensor:
    """Do what `kernels.grid_scan` does. One gather gives the inputs of all directions, one takes their outputs back."""
    _, frames, joints, channels = x.shape
    directions, _, rank = dt_weight.shape
    states, cells = A.shape[-1], frames * joints
    grids = [x, x + x[:, :, list(LIMB_ORDER)]] if any(limb) else [x]
    rows = torch.cat([grid.flatten(1, 2) for grid in grids], dim=1).transpose(0, 1)  # (cells of all grids, B, D)

    of_grid = torch.tensor([[cells * bool(flag)] for flag in limb], device=x.device)
    u = rows.index_select(0, (orders.to(x.device) + of_grid).flatten()).unflatten(0, (directions, cells))
    projected = u.flatten(1, 2) @ x_proj_weight.transpose(1, 2)  # (G, L * B, R + 2N)
    low_rank, B, C = projected.split([rank, states, states], dim=-1)
    delta = (low_rank @ dt_weight.transpose(1, 2)).view_as(u)
    B, C = (tensor.unflatten(1, (cells, -1)) for tensor in (B, C))
    A = A.unflatten(0, (directions, channels)).transpose(1, 2)
    y = torch.ops.liftbench.steps(u, delta, A, B, C, dt_bias)  # (G, L, B, D)

    steps = torch.arange(directions * cells, device=x.device).view(directions, cells)
    back = torch.zeros_like(steps).scatter(1, orders.to(x.device), steps)  # the step that reads a cell
    y = y.flatten(0, 1).index_select(0, back.flatten()).unflatten(0, (directions, cells)).sum(0)
    y = y.transpose(0, 1).view_as(x)
    skips = D.unflatten(0, (directions, channels))
    for number, grid in enumerate(grids):
        y = y + grid * skips[[k for k in range(directions) if bool(limb[k]) == number]].sum(0)
    return y


def _groups_first(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, delta_bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the arguments of `steps` for those of `selective_scan`."""
    groups = B.shape[1]
    u, delta = (tensor.unflatten(1, (groups, -1)).permute(1, 3, 0, 2) for tensor in (u, delta))
    bias = A.new_zeros(len(A)) if delta_bias is None else delta_bias
    A, bias = A.unflatten(0, (groups, -1)).transpose(1, 2), bias.unflatten(0, (groups, -1))
    return u, delta, A, *(tensor.permute(1, 3, 0, 2) for tensor in (B, C)), bias


@operator("steps")
def _steps(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, bias: Tensor) -> Tensor:
    """Scan without the skip; u, delta, y: (G, L, B, D); A: (G, N, D); B, C: (G, L, B, N); bias: (G, D)."""
    delta = F.softplus(delta + bias[:, None, None])
    h, ys = 0, []
    for u_t, delta_t, B_t, C_t in zip(*(tensor.unbind(1) for tensor in (u, delta, B, C)), strict=True):
        h = torch.exp(delta_t[..., None, :] * A[:, None]) * h + B_t[..., None] * (delta_t * u_t)[..., None, :]
        ys.append((C_t[..., None, :] @ h).squeeze(-2))
    return torch.stack(ys, dim=1)


@traced("steps")
def _steps_fake(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, bias: Tensor) -> Tensor:
    return torch.empty_like(u, memory_format=torch.contiguous_format)
