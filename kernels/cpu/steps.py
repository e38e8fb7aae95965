"""The convolution before MDTF's scans, in the C++ library (src/steps.h)."""

import ctypes
import math
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from liftbench.kernels.cpu.library import addresses, call, checked, structure
from liftbench.kernels.operators import operator, register_gradients, traced

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
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    call("steps_conv_silu", _arguments(x, weight, bias, y, back))
    return y


@traced("steps_conv_silu_cpu")
def _conv_fake(x: Tensor, weight: Tensor, bias: Tensor, back: int) -> Tensor:
    _checked(x, weight, bias, back)
    return torch.empty_like(x, memory_format=torch.contiguous_format)


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
    return [torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in (x, weight, bias)]


def _checked(x: Tensor, weight: Tensor, bias: Tensor, back: int) -> list[Tensor]:
    if x.dim() != 3 or not 0 <= back < WIDTH:
        raise ValueError(f"x must be (S, L, C) and back 0 to {WIDTH - 1}, got {tuple(x.shape)} and {back}")
    channels = x.shape[2]
    parameters = {"weight": (weight, (channels, 1, WIDTH)), "bias": (bias, (channels,))}
    return [*checked({"x": (x, x.shape)}, layout=_evenly_spaced), *checked(parameters)]


def _evenly_spaced(x: Tensor) -> Tensor:
    """Return x: (S, L, C) if one stride leads from step to step and on to the next sequence, or else a copy."""
    return x if x.stride() == (x.shape[1] * x.stride(1), x.stride(1), 1) else x.contiguous()


def _arguments(x: Tensor, weight: Tensor, bias: Tensor, y: Tensor, back: int) -> ctypes.Structure:
    step = x.shape[2] if x.is_contiguous() else x.stride(1)  # strides of axes of length 1 mean nothing
    return _StepsConvSilu(*x.shape, back, step, x.data_ptr(), *addresses(weight, bias, y))


def _save(ctx: Any, inputs: tuple, output: Tensor) -> None:
    *tensors, ctx.back = inputs
    ctx.save_for_backward(*tensors)


def _operations(x: tuple[int, ...], *_, **__) -> int:
    """Return two operations for each product of a step and channel, as FlopCounterMode counts them."""
    return 2 * WIDTH * math.prod(x)


register_flop_formula(torch.ops.liftbench.steps_conv_silu_cpu)(_operations)
register_flop_formula(torch.ops.liftbench.steps_conv_silu_cpu_backward)(lambda dy, *_, **__: 2 * _operations(dy))
conv_silu = register_gradients(
    "steps_conv_silu_cpu", _save, lambda ctx, saved, dy: (*_conv_backward(dy, *saved, ctx.back), None)
)
