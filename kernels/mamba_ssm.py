"""Adapter to the CUDA scan of the library mamba-ssm (Gu and Dao 2023), for comparison; on request only.

Inside this package `import mamba_ssm` is the library, because imports are absolute; this module is `kernels.mamba_ssm`.
"""

import importlib
import importlib.util

import torch

from liftbench.kernels import grid

_INTERFACE = "mamba_ssm.ops.selective_scan_interface"


def unusable(device_type="cpu"):
    """Why this implementation cannot run on a device type, as one sentence; None if it can."""
    if device_type != "cuda":
        return f"the scan of mamba-ssm runs on cuda, not on {device_type}"
    if importlib.util.find_spec("mamba_ssm") is None:
        return "mamba-ssm is not installed; install it with `pip install mamba-ssm --no-build-isolation`"
    try:
        importlib.import_module(_INTERFACE).selective_scan_fn  # noqa: B018
    except Exception as error:  # a library built for another torch or CUDA fails in many ways
        return f"mamba-ssm is installed but importing it fails with {type(error).__name__}: {error}".partition("\n")[0]
    return None


def selective_scan(u, delta, A, B, C, D=None, delta_bias=None):
    """Same contract as `kernels.reference.selective_scan`, in float32; u, delta, B and C of one half-precision type
    stay in it outside the kernel, as the library has it."""
    interface = importlib.import_module(_INTERFACE)
    dtype_in, inputs = u.dtype, (u, delta, B, C)
    dtype = dtype_in if all(tensor.dtype == dtype_in for tensor in inputs) else torch.float32
    u, delta, B, C = (tensor.to(dtype).contiguous() for tensor in inputs)
    A, D, delta_bias = (tensor if tensor is None else tensor.float().contiguous() for tensor in (A, D, delta_bias))
    y = interface.selective_scan_fn(u, delta, A, B, C, D=D, delta_bias=delta_bias, delta_softplus=True)
    return y.to(dtype_in)


def grid_scan(*arguments):
    """Same contract as `kernels.grid_scan`."""
    return grid.grid_scan(selective_scan, *arguments)


def bidirectional_scan(forward_stream, reversed_stream):
    """Same contract as `kernels.bidirectional_scan`."""
    return grid.bidirectional_scan(selective_scan, forward_stream, reversed_stream)
