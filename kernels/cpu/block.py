"""The convolution and the norm of PoseMamba's block, in the C++ library (src/layers/block.h)."""

import ctypes
import math

import torch
from torch.utils.flop_counter import register_flop_formula

from liftbench.kernels.cpu.library import addresses, call, checked, dense_like, evenly_spaced, row_stride, structure
from liftbench.kernels.operators import operator, register_gradients_of_arguments, traced

_ConvSilu = structure(
    "ConvSilu", ("batch frames joints channels x_cell", ctypes.c_int64), ("x weight bias y", ctypes.c_void_p)
)
_ConvSiluGradients = structure(
    "ConvSiluGradients", ("conv", _ConvSilu), ("x_cell", ctypes.c_int64), ("x weight bias", ctypes.c_void_p)
)
_NormGate = structure(
    "NormGate",
    ("cells channels gate_cell", ctypes.c_int64),
    ("x gate weight bias y", ctypes.c_void_p),
    ("epsilon", ctypes.c_float),
)
_NormGateGradients = structure(
    "NormGateGradients", ("norm", _NormGate), ("gate_cell", ctypes.c_int64), ("x gate weight bias", ctypes.c_void_p)
)


@operator("conv_silu_cpu")
def _conv_silu(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Apply a depthwise 3 x 3 convolution over (T, J), padded with zeros, then SiLU.

    x: (B, T, J, C) float32; weight: (C, 1, 3, 3); bias: (C,) -> (B, T, J, C). Raises ValueError for other shapes,
    dtypes and devices.
    """
    (x,), (weight, bias) = _checked_conv(x, weight, bias)
    y = dense_like(x)
    call("conv_silu", _conv(x, weight, bias, y))
    return y


@traced("conv_silu_cpu")
def _conv_silu_fake(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    _checked_conv(x, weight, bias)
    return dense_like(x)


@operator("conv_silu_cpu_backward")
def _conv_silu_backward(
    dy: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> list[torch.Tensor]:
    """Return gradients of x, weight and bias."""
    (x,), (weight, bias) = _checked_conv(x, weight, bias)
    (dy,) = checked({"the gradient of y": (dy, x.shape)})
    gradients = [dense_like(tensor) for tensor in (x, weight, bias)]
    call("conv_silu_backward", _ConvSiluGradients(_conv(x, weight, bias, dy), x.shape[-1], *addresses(*gradients)))
    return gradients


@traced("conv_silu_cpu_backward")
def _conv_silu_backward_fake(
    dy: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> list[torch.Tensor]:
    checked({"the gradient of y": (dy, x.shape)})
    return [dense_like(tensor) for tensor in (x, weight, bias)]


def _conv(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, y: torch.Tensor) -> ctypes.Structure:
    return _ConvSilu(*x.shape, row_stride(x), x.data_ptr(), *addresses(weight, bias, y))


def _checked_conv(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    channels = _channels(x)
    parameters = {"weight": (weight, (channels, 1, 3, 3)), "bias": (bias, (channels,))}
    return checked({"x": (x, x.shape)}, layout=evenly_spaced), checked(parameters)


@operator("norm_gate_cpu")
def _norm_gate(
    x: torch.Tensor, gate: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epsilon: float
) -> torch.Tensor:
    """Compute layer_norm(x) * silu(gate), normalised over C.

    x, gate: (B, T, J, C) float32; weight, bias: (C,) -> (B, T, J, C). Raises what `conv_silu` raises.
    """
    (x, weight, bias), (gate,) = _checked_norm(x, gate, weight, bias)
    y = torch.empty_like(x)
    call("norm_gate", _norm(x, gate, weight, bias, y, epsilon))
    return y


@traced("norm_gate_cpu")
def _norm_gate_fake(
    x: torch.Tensor, gate: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epsilon: float
) -> torch.Tensor:
    _checked_norm(x, gate, weight, bias)
    return dense_like(x)


@operator("norm_gate_cpu_backward")
def _norm_gate_backward(
    dy: torch.Tensor, x: torch.Tensor, gate: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epsilon: float
) -> list[torch.Tensor]:
    """Return gradients of x, gate, weight and bias."""
    (x, weight, bias), (gate,) = _checked_norm(x, gate, weight, bias)
    (dy,) = checked({"the gradient of y": (dy, x.shape)})
    gradients = [dense_like(tensor) for tensor in (x, gate, weight, bias)]
    norm = _norm(x, gate, weight, bias, dy, epsilon)
    call("norm_gate_backward", _NormGateGradients(norm, x.shape[-1], *addresses(*gradients)))
    return gradients


@traced("norm_gate_cpu_backward")
def _norm_gate_backward_fake(
    dy: torch.Tensor, x: torch.Tensor, gate: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epsilon: float
) -> list[torch.Tensor]:
    checked({"the gradient of y": (dy, x.shape)})
    return [dense_like(tensor) for tensor in (x, gate, weight, bias)]


def _norm(
    x: torch.Tensor, gate: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, y: torch.Tensor, epsilon: float
) -> ctypes.Structure:
    channels = x.shape[-1]
    pointers = *addresses(x), gate.data_ptr(), *addresses(weight, bias, y)
    return _NormGate(x.numel() // channels, channels, row_stride(gate), *pointers, epsilon)


def _checked_norm(
    x: torch.Tensor, gate: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    channels = _channels(x)
    dense = {"x": (x, x.shape), "weight": (weight, (channels,)), "bias": (bias, (channels,))}
    return checked(dense), checked({"gate": (gate, x.shape)}, layout=evenly_spaced)


def _channels(x: torch.Tensor) -> int:
    if x.dim() != 4:
        raise ValueError(f"x must be (B, T, J, C), got {tuple(x.shape)}")
    return x.shape[3]


def _operations(x: tuple[int, ...], *_, **__) -> int:
    """Return two operations for each of the nine products of a cell and channel, as FlopCounterMode counts them."""
    return 2 * 9 * math.prod(x)


register_flop_formula(torch.ops.liftbench.conv_silu_cpu)(_operations)
register_flop_formula(torch.ops.liftbench.conv_silu_cpu_backward)(lambda dy, *_, **__: 2 * _operations(dy))


conv_silu = register_gradients_of_arguments("conv_silu_cpu")
norm_gate = register_gradients_of_arguments("norm_gate_cpu")
