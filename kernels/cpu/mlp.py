"""Two linear layers with GELU between them, in the C++ library (src/layers/mlp.h)."""

import ctypes
import math
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from liftbench.kernels.cpu.library import addresses, call, checked, dense_like, structure
from liftbench.kernels.cpu.residual import Residual, ResidualGradients, checked_norm, surroundings
from liftbench.kernels.operators import (
    call_operator,
    operator,
    register_gradients,
    register_gradients_of_arguments,
    traced,
)

_Mlp = structure(
    "Mlp",
    ("rows inputs hidden outputs", ctypes.c_int64),
    ("x first first_bias second second_bias y", ctypes.c_void_p),
    ("residual", Residual),
)
_MlpGradients = structure(
    "MlpGradients",
    ("mlp", _Mlp),
    ("x first first_bias second second_bias", ctypes.c_void_p),
    ("residual", ResidualGradients),
)


@operator("mlp_cpu")
def _mlp(
    x: torch.Tensor, first: torch.Tensor, first_bias: torch.Tensor, second: torch.Tensor, second_bias: torch.Tensor
) -> torch.Tensor:
    """Return second gelu(first x + first_bias) + second_bias, with the exact GELU.

    x: (..., C) float32; first: (H, C); first_bias: (H,); second: (C', H); second_bias: (C',) -> (..., C'). Raises
    ValueError for other shapes, dtypes and devices.
    """
    tensors = _checked(x, first, first_bias, second, second_bias)
    y = _output(tensors)
    call("mlp", _arguments(tensors, y))
    return y


@traced("mlp_cpu")
def _mlp_fake(*tensors: Tensor) -> Tensor:
    return _output(_checked(*tensors))


@operator("mlp_cpu_backward")
def _mlp_backward(
    dy: torch.Tensor,
    x: torch.Tensor,
    first: torch.Tensor,
    first_bias: torch.Tensor,
    second: torch.Tensor,
    second_bias: torch.Tensor,
) -> list[torch.Tensor]:
    """Return the gradients of x, both weights and both biases."""
    dy, *tensors = _checked_gradient(dy, x, first, first_bias, second, second_bias)
    gradients = list(map(dense_like, tensors))
    call("mlp_backward", _MlpGradients(_arguments(tensors, dy), *addresses(*gradients)))
    return gradients


@traced("mlp_cpu_backward")
def _mlp_backward_fake(dy: Tensor, *tensors: Tensor) -> list[Tensor]:
    return list(map(dense_like, _checked_gradient(dy, *tensors)[1:]))


def _checked(x: Tensor, first: Tensor, first_bias: Tensor, second: Tensor, second_bias: Tensor) -> list[Tensor]:
    if x.dim() < 1 or first.dim() != 2 or second.dim() != 2:
        shapes = tuple(x.shape), tuple(first.shape), tuple(second.shape)
        raise ValueError("x must be (..., C), first (H, C) and second (C', H), got {}, {} and {}".format(*shapes))
    hidden, outputs = len(first), len(second)
    parameters = {
        "first": (first, (hidden, x.shape[-1])),
        "first_bias": (first_bias, (hidden,)),
        "second": (second, (outputs, hidden)),
        "second_bias": (second_bias, (outputs,)),
    }
    return checked({"x": (x, x.shape), **parameters})


def _checked_gradient(dy: Tensor, *tensors: Tensor) -> list[Tensor]:
    tensors = _checked(*tensors)
    return [*checked({"the gradient of y": (dy, _output(tensors).shape)}), *tensors]


def _output(tensors: list[Tensor]) -> Tensor:
    x, outputs = tensors[0], len(tensors[4])
    return x.new_empty(*x.shape[:-1], outputs)


def _arguments(tensors: list[Tensor], y: Tensor) -> ctypes.Structure:
    x, first, _, second, _ = tensors
    rows = math.prod(x.shape[:-1])
    return _Mlp(rows, x.shape[-1], len(first), len(second), *addresses(*tensors, y))


def _operations(x: tuple[int, ...], first: tuple[int, ...], _: tuple, second: tuple[int, ...], *__, **___) -> int:
    """Return two operations for each product, as FlopCounterMode counts them; a backward pass counts none twice."""
    return 2 * math.prod(x[:-1]) * first[0] * (first[1] + second[0])


register_flop_formula(torch.ops.liftbench.mlp_cpu)(_operations)
register_flop_formula(torch.ops.liftbench.mlp_cpu_backward)(lambda dy, *shapes, **__: 2 * _operations(*shapes))
mlp = register_gradients_of_arguments("mlp_cpu")


@operator("mlp_residual_cpu")
def _mlp_residual(
    x: torch.Tensor,
    scale: torch.Tensor | None,
    weight: torch.Tensor,
    bias: torch.Tensor,
    first: torch.Tensor,
    first_bias: torch.Tensor,
    second: torch.Tensor,
    second_bias: torch.Tensor,
    epsilon: float,
) -> torch.Tensor:
    """Return x + scale mlp(layer_norm(x)), with the MLP of `mlp_cpu`.

    x: (B, ..., C); scale: (B,), or None for 1; weight, bias: (C,) -> the shape of x. Raises what `mlp_cpu` raises.
    """
    tensors = _checked_residual(x, scale, weight, bias, first, first_bias, second, second_bias)
    y = dense_like(tensors[0])
    call("mlp", _residual_arguments(tensors, y, epsilon))
    return y


@traced("mlp_residual_cpu")
def _mlp_residual_fake(*arguments: Any) -> Tensor:
    return dense_like(_checked_residual(*arguments[:-1])[0])


@operator("mlp_residual_cpu_backward")
def _mlp_residual_backward(
    dy: torch.Tensor,
    x: torch.Tensor,
    scale: torch.Tensor | None,
    weight: torch.Tensor,
    bias: torch.Tensor,
    first: torch.Tensor,
    first_bias: torch.Tensor,
    second: torch.Tensor,
    second_bias: torch.Tensor,
    epsilon: float,
) -> list[torch.Tensor]:
    """Return the gradients of x, of the norm's weight and bias, and of both weights and biases of the MLP."""
    tensors = _checked_residual(x, scale, weight, bias, first, first_bias, second, second_bias)
    (dy,) = checked({"the gradient of y": (dy, x.shape)})
    gradients = [dense_like(tensor) for tensor in (tensors[0], *tensors[2:])]
    dx, dweight, dbias, *others = addresses(*gradients)
    arguments = _residual_arguments(tensors, dy, epsilon)
    call("mlp_backward", _MlpGradients(arguments, dx, *others, (dweight, dbias)))
    return gradients


@traced("mlp_residual_cpu_backward")
def _mlp_residual_backward_fake(dy: Tensor, *arguments: Any) -> list[Tensor]:
    x, _, *parameters = _checked_residual(*arguments[:-1])
    checked({"the gradient of y": (dy, x.shape)})
    return [dense_like(tensor) for tensor in (x, *parameters)]


def _checked_residual(
    x: Tensor, scale: Tensor | None, weight: Tensor, bias: Tensor, *parameters: Tensor
) -> list[Tensor | None]:
    x, *parameters = _checked(x, *parameters)
    checked({"second": (parameters[2], (x.shape[-1], len(parameters[0])))})
    return [x, *checked_norm(x, scale, weight, bias), *parameters]


def _residual_arguments(tensors: list[Tensor | None], y: Tensor, epsilon: float) -> ctypes.Structure:
    x, scale, weight, bias, *parameters = tensors
    arguments = _arguments([x, *parameters], y)
    arguments.residual = surroundings(x, scale, weight, bias, epsilon)
    return arguments


def _save(ctx: Any, inputs: tuple, output: Tensor) -> None:
    *tensors, ctx.epsilon = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, saved: tuple, dy: Tensor) -> tuple[Tensor | None, ...]:
    dx, *others = call_operator("mlp_residual_cpu_backward", dy, *saved, ctx.epsilon)
    return dx, None, *others, None


register_flop_formula(torch.ops.liftbench.mlp_residual_cpu)(
    lambda x, scale, weight, bias, *parameters, **__: _operations(x, *parameters[:-1])
)
register_flop_formula(torch.ops.liftbench.mlp_residual_cpu_backward)(
    lambda dy, x, scale, weight, bias, *parameters, **__: 2 * _operations(x, *parameters[:-1])
)
mlp_residual = register_gradients("mlp_residual_cpu", _save, _differentiate)
