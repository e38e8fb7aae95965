"""PoseMamba's depthwise convolution and gated norm in the C++ library (block.h): forward only, float32."""

import ctypes

import torch

from liftbench.kernels.cpu import load_library, structure

_ConvSilu = structure(
    "ConvSilu", ("batch frames joints channels x_cell", ctypes.c_int64), ("x weight bias y", ctypes.c_void_p)
)
_NormGate = structure(
    "NormGate",
    ("cells channels gate_cell", ctypes.c_int64),
    ("x gate weight bias y", ctypes.c_void_p),
    ("epsilon", ctypes.c_float),
)


@torch.library.custom_op("liftbench::conv_silu_cpu", mutates_args=())
def conv_silu(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """x: (B, T, J, C) float32 -> silu(depthwise 3 x 3 convolution over (T, J)); weight: (C, 1, 3, 3), bias: (C,).

    Without a gradient.
    """
    y, x = _conv_silu_fake(x, weight, bias), _cells(x)
    weight, bias = weight.contiguous(), bias.contiguous()
    arguments = _ConvSilu(*x.shape, x.stride(2), *(tensor.data_ptr() for tensor in (x, weight, bias, y)))
    load_library().liftbench_conv_silu(ctypes.byref(arguments), torch.get_num_threads())
    return y


@conv_silu.register_fake
def _conv_silu_fake(x, weight, bias):
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@torch.library.custom_op("liftbench::norm_gate_cpu", mutates_args=())
def norm_gate(
    x: torch.Tensor, gate: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epsilon: float
) -> torch.Tensor:
    """x, gate: (B, T, J, C) float32 -> layer_norm(x) * silu(gate), normalised over C. Without a gradient."""
    y, x, gate = _norm_gate_fake(x, gate, weight, bias, epsilon), x.contiguous(), _cells(gate)
    weight, bias, channels = weight.contiguous(), bias.contiguous(), x.shape[-1]
    pointers = (tensor.data_ptr() for tensor in (x, gate, weight, bias, y))
    arguments = _NormGate(x.numel() // channels, channels, gate.stride(2), *pointers, epsilon)
    load_library().liftbench_norm_gate(ctypes.byref(arguments), torch.get_num_threads())
    return y


@norm_gate.register_fake
def _norm_gate_fake(x, gate, weight, bias, epsilon):
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _cells(x):
    """x: (B, T, J, C) itself if one stride leads from cell to cell, as in a part of the channels, or else a copy."""
    _, frames, joints, _ = x.shape
    stride = x.stride(2)
    return x if x.stride() == (frames * joints * stride, joints * stride, stride, 1) else x.contiguous()
