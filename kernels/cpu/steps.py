"""The convolution before MDTF's scans, in the C++ library (src/layers/steps.h)."""

import ctypes
import math

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from liftbench.kernels.cpu.library import addresses, call, checked, dense_like, evenly_spaced, row_stride, structure
from liftbench.kernels.operators import operator, register_gradients_of_arguments, traced

WIDTH = 4  # conv_steps of src/scan.h

_StepsConvSilu = structure(
    "StepsConvSilu", ("sequences steps channels back x_step", ctypes.c_int64), ("x weight bias y", ctypes.c_void_p)
)
_StepsConvSiluGradients = structure(
    "StepsConvSiluGradients", ("conv", _StepsConvSilu), ("x weight bias", ctypes.c_void_p)
)


@operator("steps_conv_silu_cpu")
def _conv(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, back: int) -> torch.Tensor:
    """Apply a depthwise convolution over L, padded with zeros, then SiLU.

    x: (S, L, C) float32; weight: (C, 1, 4); bias: (C,); back: how many steps before its own step the kernel begins, 0
    to 3 -> (S, L, C). Raises ValueError for anything else.
    """
    x, weight, bias = _checked(x, weight, bias, back)
    y = dense_like(x)
    call("steps_conv_silu", _arguments(x, weight, bias, y, back))
    return y


@traced("steps_conv_silu_cpu")
def _conv_fake(x: Tensor, weight: Tensor, bias: Tensor, back: int) -> Tensor:
    _checked(x, weight, bias, back)
    return dense_like(x)


@operator("steps_conv_silu_cpu_backward")
def _conv_backward(
    dy: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, back: int
) -> list[torch.Tensor]:
    """Return gradients of x, weight and bias."""
    x, weight, bias = _checked(x, weight, bias, back)
    (dy,) = checked({"the gradient of y": (dy, x.shape)})
    gradients = _conv_backward_fake(dy, x, weight, bias, back)
    arguments = _arguments(x, weight, bias, dy, back)
    call("steps_conv_silu_backward", _StepsConvSiluGradients(arguments, *addresses(*gradients)))
    return gradients


@traced("steps_conv_silu_cpu_backward")
def _conv_backward_fake(dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor, back: int) -> list[Tensor]:
    return [dense_like(tensor) for tensor in (x, weight, bias)]


def _checked(x: Tensor, weight: Tensor, bias: Tensor, back: int) -> list[Tensor]:
    if x.dim() != 3 or not 0 <= back < WIDTH:
        raise ValueError(f"x must be (S, L, C) and back 0 to {WIDTH - 1}, got {tuple(x.shape)} and {back}")
    channels = x.shape[2]
    parameters = {"weight": (weight, (channels, 1, WIDTH)), "bias": (bias, (channels,))}
    return [*checked({"x": (x, x.shape)}, layout=evenly_spaced), *checked(parameters)]


def _arguments(x: Tensor, weight: Tensor, bias: Tensor, y: Tensor, back: int) -> ctypes.Structure:
    return _StepsConvSilu(*x.shape, back, row_stride(x), x.data_ptr(), *addresses(weight, bias, y))


def _operations(x: tuple[int, ...], *_, **__) -> int:
    """Return two operations for each product of a step and channel, as FlopCounterMode counts them."""
    return 2 * WIDTH * math.prod(x)


register_flop_formula(torch.ops.liftbench.steps_conv_silu_cpu)(_operations)
register_flop_formula(torch.ops.liftbench.steps_conv_silu_cpu_backward)(lambda dy, *_, **__: 2 * _operations(dy))
conv_silu = register_gradients_of_arguments("steps_conv_silu_cpu")
