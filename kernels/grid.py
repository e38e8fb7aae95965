"""The fused scans composed from a `selective_scan`: the plain path of the implementations that have no fused kernel."""

import torch

from .orders import LIMB_PARENTS


def grid_scan(selective_scan, x, x_proj_weight, dt_weight, dt_bias, A, D, orders, limb, limb_gradient):
    """`kernels.grid_scan`, one step after the other."""
    batch, frames, joints, channels = x.shape
    directions, rank, states = len(orders), dt_weight.shape[-1], A.shape[-1]
    orders = orders.to(x.device)

    plain = x.flatten(1, 2)
    neighbour = x[:, :, list(LIMB_PARENTS)] if any(limb) else None
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
    return merged.transpose(1, 2).unflatten(1, (frames, joints))


def bidirectional_scan(selective_scan, forward_stream, reversed_stream):
    """`kernels.bidirectional_scan`, on flipped copies."""
    u, delta, A, B, C, D, delta_bias = reversed_stream
    flipped = selective_scan(u.flip(-1), delta.flip(-1), A, B.flip(-1), C.flip(-1), D, delta_bias).flip(-1)
    return selective_scan(*forward_stream) + flipped
