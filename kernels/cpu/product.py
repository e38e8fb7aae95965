"""Linear layers in the C++ library (src/layers/product.h).

`kernels.block.linear` runs PyTorch's own where `runs` says no.
"""

import ctypes
import math
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from liftbench.kernels.cpu.library import addresses, call, checked, structure
from liftbench.kernels.operators import call_operator, has_tangents, in_transform, operator, register_gradients, traced

_Linear = structure("Linear", ("rows inputs outputs", ctypes.c_int64), ("x weight bias y", ctypes.c_void_p))
_LinearGradients = structure(
    "LinearGradients", ("linear", _Linear), ("x weight bias", ctypes.c_void_p), ("add_x", ctypes.c_int64)
)


def runs(x: Tensor, *parameters: Tensor | None) -> bool:
    """Return whether the library computes products of these tensors.

    They must be float32 and have a row, and neither autocast nor a transform of torch.func may be at work.
    """
    tensors = [tensor for tensor in (x, *parameters) if tensor is not None]
    plain = all(tensor.dtype == torch.float32 for tensor in tensors) and x.numel() > 0
    return plain and not in_transform() and not torch.is_autocast_enabled("cpu") and not has_tangents(tensors)


def compute_linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Return x weight^T + bias; x: (..., C) float32; weight: (C', C); bias: (C',) or None -> (..., C').

    Raises ValueError for other shapes, dtypes and devices.
    """
    x, weight, bias = _checked(x, weight, bias)
    y = _output(x, weight)
    call("linear", _arguments(x, weight, bias, y))
    return y


operator("linear_cpu")(compute_linear)


@traced("linear_cpu")
def _linear_fake(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    x, weight, _ = _checked(x, weight, bias)
    return _output(x, weight)


@operator("linear_cpu_backward")
def _linear_backward(dy: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, wanted: list[bool]) -> list[torch.Tensor]:
    """Return the gradients of x, weight and the bias, and an empty tensor for each that is not wanted."""
    x, weight, dy = _checked_gradient(dy, x, weight)
    gradients = _gradients(x, weight, wanted)
    pointers = [gradient.data_ptr() or None for gradient in gradients]
    call("linear_backward", _LinearGradients(_arguments(x, weight, None, dy), *pointers, 0))
    return gradients


@traced("linear_cpu_backward")
def _linear_backward_fake(dy: Tensor, x: Tensor, weight: Tensor, wanted: list[bool]) -> list[Tensor]:
    x, weight, _ = _checked_gradient(dy, x, weight)
    return _gradients(x, weight, wanted)


def _gradients(x: Tensor, weight: Tensor, wanted: list[bool]) -> list[Tensor]:
    shapes = x.shape, weight.shape, (len(weight),)
    return [x.new_empty(shape if want else 0) for shape, want in zip(shapes, wanted, strict=True)]


def add_gradients(dy: Tensor, x: Tensor, weight: Tensor, dx: Tensor, dweight: Tensor, dy_weight: Tensor) -> None:
    """Add dy weight to dx and write dy_weight^T x to dweight; all contiguous, float32 and (rows, C) or (C', C)."""
    for_x, for_weight = (_arguments(x, weight, None, gradient) for gradient in (dy, dy_weight))
    call("linear_backward", _LinearGradients(for_x, *addresses(dx), None, None, 1))
    call("linear_backward", _LinearGradients(for_weight, None, *addresses(dweight), None, 0))


def _checked(x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    if x.dim() < 1 or weight.dim() != 2:
        raise ValueError(f"x must be (..., C) and weight (C', C), got {tuple(x.shape)} and {tuple(weight.shape)}")
    x, weight = checked({"x": (x, x.shape), "weight": (weight, (len(weight), x.shape[-1]))})
    return x, weight, None if bias is None else checked({"bias": (bias, (len(weight),))})[0]


def _checked_gradient(dy: Tensor, x: Tensor, weight: Tensor) -> list[Tensor]:
    x, weight, _ = _checked(x, weight, None)
    return [x, weight, *checked({"the gradient of y": (dy, (*x.shape[:-1], len(weight)))})]


def _output(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], len(weight))


def _arguments(x: Tensor, weight: Tensor, bias: Tensor | None, y: Tensor) -> ctypes.Structure:
    outputs, inputs = weight.shape
    rows = math.prod(x.shape[:-1])
    pointers = *addresses(x, weight), None if bias is None else bias.data_ptr(), *addresses(y)
    return _Linear(rows, inputs, outputs, *pointers)


def _save(ctx: Any, inputs: tuple, output: Tensor) -> None:
    x, weight, _ = inputs
    ctx.save_for_backward(x, weight)
    ctx.wanted = [tensor is not None and tensor.requires_grad for tensor in inputs]


def _differentiate(ctx: Any, saved: tuple, dy: Tensor) -> tuple[Tensor | None, ...]:
    gradients = call_operator("linear_cpu_backward", dy, *saved, ctx.wanted)
    return tuple(gradient if wanted else None for gradient, wanted in zip(gradients, ctx.wanted, strict=True))


def _operations(x: tuple[int, ...], weight: tuple[int, ...], *_, **__) -> int:
    """Return two operations for each product, as FlopCounterMode counts them."""
    return 2 * math.prod(x) * weight[0]


register_flop_formula(torch.ops.liftbench.linear_cpu)(_operations)
register_flop_formula(torch.ops.liftbench.linear_cpu_backward)(
    lambda dy, x, weight, wanted, **__: sum(wanted[:2]) * _operations(x, weight)
)
linear = register_gradients("linear_cpu", _save, _differentiate)
