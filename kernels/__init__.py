"""Selective scan: one interface, several implementations, one visible choice (`choice.py`).

By default the first usable implementation of IMPLEMENTATIONS runs. To name another one, use `with kernels.using(NAME):`
or set the environment variable LIFTBENCH_SCAN. A named implementation that cannot run is an error, never replaced.
"""

from collections.abc import Sequence
from types import ModuleType

import torch
from torch import Tensor

from liftbench.kernels.choice import (
    IMPLEMENTATIONS,
    ScanUnavailable,
    choose,
    choose_or_take,
    current,
    refuse_script,
    scans,
    unusable,
    using,
)
from liftbench.kernels.operators import has_tangents, in_transform, scan_macs
from liftbench.kernels.orders import LIMB_ORDER, PATTERNS, scan_orders

__all__ = [
    "IMPLEMENTATIONS", "LIMB_ORDER", "PATTERNS", "ScanUnavailable", "bidirectional_scan", "check_limb_gradient",
    "choose", "current", "grid_scan", "refuse_script", "scan_macs", "scan_orders", "scans", "selective_scan",
    "unusable", "using",
]  # fmt: skip


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    delta_bias: Tensor | None = None,
    implementation: str = "auto",
) -> Tensor:
    """Scan h_t = exp(delta_t A) h_(t-1) + delta_t u_t B_t;  y_t = C_t . h_t + D u_t, delta = softplus(delta + bias).

    u, delta: (B, channels, L); A: (channels, N), negative; B, C: (B, groups, N, L), where channel c reads group
    c // (channels / groups); D, delta_bias: (channels,) or None. Returns y: (B, channels, L) in the dtype of u. Inputs
    in float64 are computed in float64, all others in float32. Every input has a gradient. implementation: one of
    IMPLEMENTATIONS, or "auto" to take what `choose` returns. Source: Mamba (Gu and Dao 2023), equations 2 and 4.

    Raises ValueError for shapes, devices or dtypes that do not fit, ScanUnavailable for an implementation that cannot
    run.
    """
    _check(u, delta, A, B, C, D, delta_bias)
    tensors = u, delta, A, B, C, D, delta_bias
    return _chosen(tensors, implementation).selective_scan(*tensors)


def grid_scan(
    x: Tensor,
    x_proj_weight: Tensor,
    dt_weight: Tensor,
    dt_bias: Tensor,
    A: Tensor,
    D: Tensor,
    orders: Tensor,
    limb: Sequence[bool],
    limb_gradient: str = "exact",
) -> Tensor:
    """Run PoseMamba's scan: K directions over a (T, J) grid, projections and merge included.

    x: (B, T, J, channels); x_proj_weight: (K, R + 2N, channels) gives low-rank delta, B and C; dt_weight: (K, channels,
    R); dt_bias: (K, channels); A: (K * channels, N), negative; D: (K * channels,); orders: (K, T * J) and limb: K
    booleans, from `scan_orders`. limb_gradient: "exact", or "published" to drop the gradient through the limb term as
    PoseMamba's code does. Returns the sum over directions, (B, T, J, channels). Raises what `selective_scan` raises.
    """
    _check_grid(x, x_proj_weight, dt_weight, dt_bias, A, D, orders, limb)
    check_limb_gradient(limb_gradient)
    tensors = x, x_proj_weight, dt_weight, dt_bias, A, D
    return _chosen(tensors).grid_scan(*tensors, orders, limb, limb_gradient)


def bidirectional_scan(forward_stream: Sequence[Tensor | None], reversed_stream: Sequence[Tensor | None]) -> Tensor:
    """Add a scan from 0 to L - 1 and another one from L - 1 to 0, as MDTF's mixer does.

    Both streams are (u, delta, A, B, C, D, delta_bias) as in `selective_scan`, in natural order of time and with equal
    shapes. Returns y: (B, channels, L) in the dtype of the first u. Raises what `selective_scan` raises.
    """
    for stream in (forward_stream, reversed_stream):
        _check(*stream)
    u, other = forward_stream[0], reversed_stream[0]
    if (u.shape, u.device) != (other.shape, other.device):
        raise ValueError(
            f"both streams must have one shape and device, got u of {tuple(u.shape)} on {u.device} and of "
            f"{tuple(other.shape)} on {other.device}"
        )
    chosen = _chosen([*forward_stream, *reversed_stream])
    return chosen.bidirectional_scan(forward_stream, reversed_stream)


def _chosen(tensors: Sequence[torch.Tensor | None], implementation: str = "auto") -> ModuleType:
    """Return the module that scans these tensors; the first decides. Raises what `choose` raises."""
    name = choose_or_take(implementation, tensors[0].device.type, tensors[0].dtype)
    if name != "reference" and has_tangents(tensor for tensor in tensors if tensor is not None):
        raise ScanUnavailable(
            f"Cannot differentiate the scan {name!r} in forward mode: it has a backward pass only. Use 'reference'."
        )
    if name in ("chunked", "mamba_ssm") and in_transform():
        raise ScanUnavailable(
            f"Cannot run the scan {name!r} inside torch.func's grad or vmap: it has no rules for them. Use 'cpu' or "
            "'reference'."
        )
    return IMPLEMENTATIONS[name]


def _check(
    u: torch.Tensor,
    delta: torch.Tensor,
    A: torch.Tensor,
    B: torch.Tensor,
    C: torch.Tensor,
    D: torch.Tensor | None,
    delta_bias: torch.Tensor | None,
):
    if u.dim() != 3 or u.numel() == 0:
        raise ValueError(f"u must be (B, channels, L) and not empty, got {tuple(u.shape)}")
    batch, channels, length = u.shape
    if A.dim() != 2 or B.dim() != 4 or 0 in A.shape:
        got = f"{tuple(A.shape)} and {tuple(B.shape)}"
        raise ValueError(f"A must be (channels, N) and B (B, groups, N, L), neither empty, got {got}")
    groups, states = B.shape[1], A.shape[1]
    if groups == 0 or channels % groups:
        raise ValueError(f"B has {groups} groups, which do not divide the {channels} channels of u")
    expected = {
        "u": (u, u.shape),
        "delta": (delta, u.shape),
        "A": (A, (channels, states)),
        "B": (B, (batch, groups, states, length)),
        "C": (C, (batch, groups, states, length)),
        "D": (D, (channels,)),
        "delta_bias": (delta_bias, (channels,)),
    }
    _check_each(expected, "u")


def check_limb_gradient(limb_gradient: str) -> None:
    """Raise ValueError for a limb_gradient that `grid_scan` does not know."""
    if limb_gradient not in ("exact", "published"):
        raise ValueError(f"limb_gradient must be 'exact' or 'published', not {limb_gradient!r}")


def _check_grid(
    x: torch.Tensor,
    x_proj_weight: torch.Tensor,
    dt_weight: torch.Tensor,
    dt_bias: torch.Tensor,
    A: torch.Tensor,
    D: torch.Tensor,
    orders: torch.Tensor,
    limb: Sequence[bool],
):
    if x.dim() != 4 or x.numel() == 0:
        raise ValueError(f"x must be (B, T, J, channels) and not empty, got {tuple(x.shape)}")
    if dt_weight.dim() != 3 or A.dim() != 2 or 0 in (*dt_weight.shape, *A.shape):
        got = f"{tuple(dt_weight.shape)} and {tuple(A.shape)}"
        raise ValueError(f"dt_weight must be (K, channels, R) and A (K * channels, N), neither empty, got {got}")
    _, frames, joints, channels = x.shape
    (directions, _, rank), states = dt_weight.shape, A.shape[1]
    expected = {
        "x": (x, x.shape),
        "x_proj_weight": (x_proj_weight, (directions, rank + 2 * states, channels)),
        "dt_weight": (dt_weight, (directions, channels, rank)),
        "dt_bias": (dt_bias, (directions, channels)),
        "A": (A, (directions * channels, states)),
        "D": (D, (directions * channels,)),
    }
    _check_each(expected, "x")
    if orders.device.type not in ("cpu", x.device.type):
        raise ValueError(f"orders is on {orders.device} but x is on {x.device}; move it there or to the cpu")
    if tuple(orders.shape) != (directions, frames * joints) or len(limb) != directions:
        raise ValueError(
            f"orders must have shape {(directions, frames * joints)} and limb {directions} flags to fit x and "
            f"dt_weight, got {tuple(orders.shape)} and {len(limb)}"
        )
    if orders.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"orders must be int64 or int32, got {orders.dtype}")
    if any(limb) and joints != len(LIMB_ORDER):
        raise ValueError(f"x has {joints} joints, but the limb term is defined for {len(LIMB_ORDER)}")


def _check_each(expected: dict[str, tuple[torch.Tensor | None, tuple[int, ...]]], first: str):
    """Check shapes, devices and dtypes of {name: (tensor or None, shape)}; the tensor `first` sets the device."""
    device = expected[first][0].device
    for name, (tensor, shape) in expected.items():
        if tensor is None:
            continue
        if tuple(tensor.shape) != tuple(shape):
            raise ValueError(f"{name} must have shape {tuple(shape)} to fit {first}, got {tuple(tensor.shape)}")
        if tensor.device != device:
            raise ValueError(f"{name} is on {tensor.device} but {first} is on {device}; move them to one device")
        if not tensor.is_floating_point():
            raise ValueError(f"{name} must be a real floating-point tensor, got {tensor.dtype}")
