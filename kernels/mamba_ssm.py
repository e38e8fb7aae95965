"""Adapter to the CUDA scan of the library mamba-ssm (Gu and Dao 2023), for comparison. It runs only when named.

Imports are absolute, so `import mamba_ssm` here is the library. This module is `liftbench.kernels.mamba_ssm`.
"""

import importlib
import importlib.util
from collections.abc import Sequence

import torch
from torch import Tensor

from liftbench.kernels import grid

_INTERFACE = "mamba_ssm.ops.selective_scan_interface"


def unusable(device_type: str = "cpu") -> str | None:
    """Return why this implementation cannot run on a device type, or None if it can."""
    if device_type != "cuda":
        return f"the scan of mamba-ssm runs on cuda, not on {device_type}"
    if importlib.util.find_spec("mamba_ssm") is None:
        return "mamba-ssm is not installed; install it with `pip install mamba-ssm --no-build-isolation`"
    try:
        importlib.import_module(_INTERFACE).selective_scan_fn  # noqa: B018
    except Exception as error:  # a build for another torch or CUDA fails in many ways
        return f"mamba-ssm is installed but importing it fails with {type(error).__name__}: {error}".partition("\n")[0]
    return None


def selective_scan(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None = None, delta_bias: Tensor | None = None
) -> Tensor:
    """Do what `kernels.reference.selective_scan` does, in float32.

    If u, delta, B and C share one half-precision dtype, the library receives them unconverted.
    """
    interface = importlib.import_module(_INTERFACE)
    dtype_in, inputs = u.dtype, (u, delta, B, C)
    dtype = dtype_in if all(tensor.dtype == dtype_in for tensor in inputs) else torch.float32
    u, delta, B, C = (tensor.to(dtype).contiguous() for tensor in inputs)
    A, D, delta_bias = (tensor if tensor is None else tensor.float().contiguous() for tensor in (A, D, delta_bias))
    y = interface.selective_scan_fn(u, delta, A, B, C, D=D, delta_bias=delta_bias, delta_softplus=True)
    return y.to(dtype_in)


def grid_scan(*arguments) -> Tensor:
    """Do what `kernels.grid_scan` does."""
    return grid.grid_scan(selective_scan, *arguments)


def bidirectional_scan(forward_stream: Sequence[Tensor | None], reversed_stream: Sequence[Tensor | None]) -> Tensor:
    """Do what `kernels.bidirectional_scan` does."""
    return grid.bidirectional_scan(selective_scan, forward_stream, reversed_stream)
