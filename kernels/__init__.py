"""Selective scan: one interface, several implementations, one visible choice.

`implementation="auto"` takes the first usable of IMPLEMENTATIONS for the device; the environment variable
LIFTBENCH_SCAN, or a name passed in, forces one. A forced one that cannot run is an error, never a fallback.
"""

import importlib
import os

import torch

from .macs import scan_macs
from .orders import LIMB_PARENTS, PATTERNS, scan_orders

__all__ = [
    "IMPLEMENTATIONS", "LIMB_PARENTS", "PATTERNS", "ScanUnavailable", "bidirectional_scan", "choose", "grid_scan",
    "scan_macs", "scan_orders", "selective_scan", "unusable",
]  # fmt: skip

# In order of preference. gpu (Triton) comes behind chunked, so it runs only where it is asked for: values are tested
# in Triton's interpreter and its registers by the compiler, but it has not run on a GPU yet.
IMPLEMENTATIONS = ("cpu", "chunked", "gpu", "reference")
FLOAT64 = ("chunked", "reference")  # the others compute in float32 only


class ScanUnavailable(RuntimeError):
    """The scan implementation asked for cannot run here; the message says why and what to do."""


def _module(name):
    return importlib.import_module(f".{name}", __name__)


def unusable(name, device_type="cpu", dtype=torch.float32):
    """Why implementation `name` cannot run on a device type ("cpu", "cuda") and dtype, or None if it can."""
    if dtype == torch.float64 and name not in FLOAT64:
        return f"it computes in float32, and the tensors are float64; use {' or '.join(FLOAT64)}"
    return _module(name).unusable(device_type)


def choose(device_type="cpu", implementation="auto", dtype=torch.float32):
    """The name of the implementation that will run; raises ScanUnavailable if it is unknown or cannot run."""
    wanted = os.environ.get("LIFTBENCH_SCAN", "auto") if implementation == "auto" else implementation
    if wanted == "auto":
        return next(name for name in IMPLEMENTATIONS if unusable(name, device_type, dtype) is None)
    if wanted not in IMPLEMENTATIONS:
        raise ScanUnavailable(f"unknown scan implementation {wanted!r}; choose auto or {', '.join(IMPLEMENTATIONS)}")
    if reason := unusable(wanted, device_type, dtype):
        raise ScanUnavailable(f"scan implementation {wanted!r} cannot run here: {reason}")
    return wanted


def selective_scan(u, delta, A, B, C, D=None, delta_bias=None, implementation="auto"):
    """y of h_t = exp(delta_t A) h_(t-1) + delta_t u_t B_t;  y_t = C_t . h_t + D u_t, delta = softplus(delta + bias).

    u, delta: (B, channels, L); A: (channels, N), negative; B, C: (B, groups, N, L), where channel c reads group
    c // (channels / groups); D, delta_bias: (channels,) or None. Returns y: (B, channels, L), in u's dtype, computed
    in float32 (float64 for float64 inputs), with gradients for every input.

    Raises ValueError for shapes that do not fit, ScanUnavailable for an implementation that cannot run.
    """
    _check(u, delta, A, B, C, D, delta_bias)
    return _module(choose(u.device.type, implementation, u.dtype)).selective_scan(u, delta, A, B, C, D, delta_bias)


def grid_scan(
    x, x_proj_weight, dt_weight, dt_bias, A, D, orders, limb, limb_gradient="exact", implementation="auto"
):  # fmt: skip
    """PoseMamba's scan: K directions over a (T, J) grid, projections and merge included (models.md, mixer steps 3-5).

    x: (B, T, J, channels); x_proj_weight: (K, R + 2N, channels) gives low-rank delta, B and C; dt_weight: (K, channels,
    R); dt_bias: (K, channels); A: (K * channels, N), negative; D: (K * channels,); orders: (K, T * J) and limb: K
    booleans, from `scan_orders`. limb_gradient: "exact", or "published" to drop the gradient through the limb term as
    PoseMamba's code does. Returns the sum over directions, (B, T, J, channels).
    """
    if limb_gradient not in ("exact", "published"):
        raise ValueError(f"limb_gradient is 'exact' or 'published', not {limb_gradient!r}")
    scan = _module(choose(x.device.type, implementation, x.dtype)).grid_scan
    return scan(x, x_proj_weight, dt_weight, dt_bias, A, D, orders, limb, limb_gradient)


def bidirectional_scan(forward_stream, reversed_stream, implementation="auto"):
    """The sum of a scan from 0 to L - 1 and of another one from L - 1 to 0, as MDTF's mixer runs them.

    Both streams are (u, delta, A, B, C, D, delta_bias) as for `selective_scan`, in their natural order of time and of
    the same shapes. Returns y: (B, channels, L), in the dtype of the first u. Raises as `selective_scan`.
    """
    for stream in (forward_stream, reversed_stream):
        _check(*stream)
    u = forward_stream[0]
    return _module(choose(u.device.type, implementation, u.dtype)).bidirectional_scan(forward_stream, reversed_stream)


def _check(u, delta, A, B, C, D, delta_bias):
    if u.dim() != 3 or u.numel() == 0:
        raise ValueError(f"u must be (B, channels, L) and not empty, got {tuple(u.shape)}")
    batch, channels, length = u.shape
    if A.dim() != 2 or B.dim() != 4:
        raise ValueError(f"A must be (channels, N) and B (B, groups, N, L), got {tuple(A.shape)} and {tuple(B.shape)}")
    groups, states = B.shape[1], A.shape[1]
    if groups == 0 or channels % groups:
        raise ValueError(f"B has {groups} groups, which do not divide the {channels} channels of u")
    expected = {
        "delta": (delta, u.shape),
        "A": (A, (channels, states)),
        "B": (B, (batch, groups, states, length)),
        "C": (C, (batch, groups, states, length)),
        "D": (D, (channels,)),
        "delta_bias": (delta_bias, (channels,)),
    }
    for name, (tensor, shape) in expected.items():
        if tensor is None:
            continue
        if tuple(tensor.shape) != tuple(shape):
            raise ValueError(f"{name} must have shape {tuple(shape)} to fit u, got {tuple(tensor.shape)}")
        if tensor.device != u.device:
            raise ValueError(f"{name} is on {tensor.device} but u is on {u.device}; move them to one device")
        if not tensor.is_floating_point():
            raise ValueError(f"{name} must be a real floating-point tensor, got {tensor.dtype}")
