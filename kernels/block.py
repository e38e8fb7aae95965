"""The modules around the scan of a PoseMamba block. They replace PyTorch's own, with the same weights and results.

If the scan is `cpu`, they run in its library and in oneDNN, equal up to rounding. In every other case they run
PyTorch's code: with another scan, in forward-mode differentiation, and for settings that the library lacks (another
kernel size, a smaller gate).
"""

import torch
import torch.nn.functional as F
from torch import nn

from liftbench.kernels.choice import choose
from liftbench.kernels.cpu import block as cpu_block
from liftbench.kernels.operators import has_tangents


class Linear(nn.Linear):
    """x: (..., C) -> (..., C'), `nn.Linear`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if _on_cpu(x) and not has_tangents((x, *self.parameters())):
            return cpu_block.linear(x, self.weight, self.bias)
        return super().forward(x)


class ConvSilu(nn.Conv2d):
    """x: (B, T, J, C) -> (B, T', J', C'), an `nn.Conv2d` over (T, J), then SiLU."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if _on_cpu(x) and self._is_in_library(x) and _is_plain(self, x):
            return cpu_block.conv_silu(x.float(), self.weight.float(), self.bias.float()).to(x.dtype)
        return F.silu(super().forward(x.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)

    def _is_in_library(self, x: torch.Tensor) -> bool:
        """Return whether this is a depthwise 3 x 3 convolution that keeps T and J, and whether x fits it."""
        settings = self.kernel_size, self.stride, self.padding, self.dilation, self.padding_mode
        channels = self.out_channels, self.groups, x.shape[-1]
        return (
            settings == ((3, 3), (1, 1), (1, 1), (1, 1), "zeros")
            and channels == (self.in_channels,) * 3
            and self.bias is not None
            and _is_grid(x)
        )


class GatedNorm(nn.LayerNorm):
    """x, gate: (B, T, J, C) -> (B, T, J, C), an `nn.LayerNorm` of x times silu(gate)."""

    def forward(self, x: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
        if _on_cpu(x) and self._is_in_library(x, gate) and _is_plain(self, x, gate):
            y = cpu_block.norm_gate(x.float(), gate.float(), self.weight.float(), self.bias.float(), self.eps)
            return y.to(x.dtype)
        return super().forward(x) * F.silu(gate)

    def _is_in_library(self, x: torch.Tensor, gate: torch.Tensor) -> bool:
        """Return whether this norms the channels with weight and bias, and whether the gate has the shape of x."""
        affine = self.weight is not None and self.bias is not None
        return affine and self.normalized_shape == (x.shape[-1],) and gate.shape == x.shape and _is_grid(x)


def _on_cpu(x: torch.Tensor) -> bool:
    return choose(x.device.type, x.dtype) == "cpu"


def _is_plain(module: torch.nn.Module, *inputs) -> bool:
    """Return whether all dtypes agree, or autocast makes them agree, and nothing is differentiated in forward mode."""
    tensors = *inputs, *module.parameters()
    one_dtype = torch.is_autocast_enabled("cpu") or all(tensor.dtype == inputs[0].dtype for tensor in tensors)
    return one_dtype and not has_tangents(tensors)


def _is_grid(x: torch.Tensor) -> bool:
    return x.dim() == 4 and x.numel() > 0
