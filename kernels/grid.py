"""The fused scans, composed from a `selective_scan` for implementations without a fused kernel."""

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from liftbench.kernels.orders import LIMB_ORDER, check_orders


def without_autocast(device_type: str) -> AbstractContextManager:
    """Return a context that switches autocast off. Some device types, such as meta, have none."""
    available = torch.amp.is_autocast_available(device_type)
    return torch.autocast(device_type, enabled=False) if available else contextlib.nullcontext()


def grid_scan(
    selective_scan: Callable[..., Tensor],
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
    """Run `kernels.grid_scan` step by step."""
    dtype_in, dtype = x.dtype, torch.promote_types(x.dtype, torch.float32)
    batch, frames, joints, channels = x.shape
    directions, rank, states = len(orders), dt_weight.shape[-1], A.shape[-1]
    check_orders(orders)
    orders = orders.to(x.device)

    with without_autocast(x.device.type):
        x, x_proj_weight, dt_weight = (tensor.to(dtype) for tensor in (x, x_proj_weight, dt_weight))
        plain = x.flatten(1, 2)
        neighbour = x[:, :, list(LIMB_ORDER)] if any(limb) else None
        if neighbour is not None and limb_gradient == "published":
            neighbour = neighbour.detach()
        summed = (x + neighbour).flatten(1, 2) if neighbour is not None else None
        sequences = torch.stack([(summed if limb[k] else plain)[:, orders[k]] for k in range(directions)], dim=1)

        projected = torch.einsum("bkld,kcd->bkcl", sequences, x_proj_weight)
        low_rank, B, C = projected.split([rank, states, states], dim=2)
        delta = torch.einsum("bkrl,kdr->bkdl", low_rank, dt_weight)
        y = selective_scan(sequences.transpose(2, 3).flatten(1, 2), delta.flatten(1, 2), A, B, C, D, dt_bias.flatten())

        y = y.unflatten(1, (directions, channels))
        back = orders.argsort(dim=1)
        merged = sum(y[:, k][:, :, back[k]] for k in range(directions))
    return merged.transpose(1, 2).unflatten(1, (frames, joints)).to(dtype_in)


def bidirectional_scan(
    selective_scan: Callable[..., Tensor],
    forward_stream: Sequence[Tensor | None],
    reversed_stream: Sequence[Tensor | None],
) -> Tensor:
    """Run `kernels.bidirectional_scan` on flipped copies; the sum of half-precision streams is rounded once."""
    (u, *others), dtype = forward_stream, torch.promote_types(forward_stream[0].dtype, torch.float32)
    there = selective_scan(u.to(dtype), *others)
    v, delta, A, B, C, D, delta_bias = reversed_stream
    back = selective_scan(v.to(dtype).flip(-1), delta.flip(-1), A, B.flip(-1), C.flip(-1), D, delta_bias).flip(-1)
    return (there + back).to(u.dtype)
