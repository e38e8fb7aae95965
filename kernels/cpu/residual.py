"""What surrounds a branch of a block, x + scale branch(layer_norm(x)), for the C++ library (src/layers/residual.h)."""

import ctypes

from torch import Tensor

from liftbench.kernels.cpu.library import checked, structure

Residual = structure(
    "Residual", ("weight bias scale", ctypes.c_void_p), ("clip_rows", ctypes.c_int64), ("epsilon", ctypes.c_float)
)
ResidualGradients = structure("ResidualGradients", ("weight bias", ctypes.c_void_p))


def checked_norm(x: Tensor, scale: Tensor | None, weight: Tensor, bias: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
    """Check scale: (B,) or None for 1, weight and bias: (C,) for x: (B, ..., C), and return them."""
    width = x.shape[-1:]
    if scale is not None:
        (scale,) = checked({"scale": (scale, (len(x),))})
    return scale, *checked({"weight": (weight, width), "bias": (bias, width)})


def surroundings(x: Tensor, scale: Tensor | None, weight: Tensor, bias: Tensor, epsilon: float) -> ctypes.Structure:
    """Return the argument of the C functions for checked tensors. Keep them alive until the call returns."""
    clip_rows = x.numel() // x.shape[-1] // len(x)
    pointers = weight.data_ptr(), bias.data_ptr(), None if scale is None else scale.data_ptr()
    return Residual(*pointers, clip_rows, epsilon)
