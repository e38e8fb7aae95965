"""What stands around the scans of PoseMamba's and MDTF's blocks. It replaces PyTorch's own, with the same weights and
results.

If the scan is `cpu`, they run in its library, equal up to rounding. In every other case they run PyTorch's code: with
another scan, in forward-mode differentiation, and for settings that the library lacks (another kernel size, a smaller
gate).
"""

import torch
import torch.nn.functional as F
from torch import nn

from liftbench.kernels.choice import choose
from liftbench.kernels.cpu import block as cpu_block
from liftbench.kernels.cpu import mlp as cpu_mlp
from liftbench.kernels.cpu import product
from liftbench.kernels.cpu import steps as cpu_steps
from liftbench.kernels.operators import are_operators_watched, has_tangents

MLP_RATIO = 2


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Run `torch.nn.functional.linear`, x: (..., C) -> (..., C')."""
    if _on_cpu(x) and product.runs(x, weight, bias):
        return product.linear(x, weight, bias)
    return F.linear(x, weight, bias)


class Linear(nn.Linear):
    """x: (..., C) -> (..., C'), `nn.Linear`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return linear(x, self.weight, self.bias)


class Mlp(nn.Module):
    """fc1 C -> 2C, GELU, fc2 2C -> C; x: (..., C) -> (..., C)."""

    def __init__(self, channels: int):
        super().__init__()
        self.fc1 = Linear(channels, MLP_RATIO * channels)
        self.fc2 = Linear(MLP_RATIO * channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parameters = self.fc1.weight, self.fc1.bias, self.fc2.weight, self.fc2.bias
        if _on_cpu(x) and product.runs(x, *parameters) and not any(map(_is_hooked, (self.fc1, self.fc2))):
            return cpu_mlp.mlp(x, *parameters)
        return self.fc2(F.gelu(self.fc1(x)))

    def weights(self) -> tuple[torch.Tensor, ...] | None:
        """Return what `residual` reads, or None if somebody changed or watches the layers."""
        if are_as_built((self.fc1, Linear), (self.fc2, Linear)):
            return self.fc1.weight, self.fc1.bias, self.fc2.weight, self.fc2.bias

    def residual(
        self, x: torch.Tensor, scale: torch.Tensor | None, parameters: tuple[torch.Tensor, ...], epsilon: float
    ) -> torch.Tensor:
        """Return x + scale mlp(norm(x)). parameters: weight and bias of the norm, and `weights`."""
        return cpu_mlp.mlp_residual(x, scale, *parameters, epsilon)


class ConvSilu(nn.Conv2d):
    """x: (B, T, J, C) -> (B, T', J', C'), an `nn.Conv2d` over (T, J), then SiLU."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        fits = self.is_in_library() and x.shape[-1] == self.in_channels and _is_grid(x)
        if _on_cpu(x) and fits and _is_plain(x, *self.parameters()):
            return cpu_block.conv_silu(x.float(), self.weight.float(), self.bias.float()).to(x.dtype)
        return F.silu(super().forward(x.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)

    def is_in_library(self) -> bool:
        """Return whether this is a depthwise 3 x 3 convolution that keeps T and J, with a bias."""
        settings = self.kernel_size, self.stride, self.padding, self.dilation, self.padding_mode
        depthwise = self.out_channels == self.groups == self.in_channels
        return settings == ((3, 3), (1, 1), (1, 1), (1, 1), "zeros") and depthwise and self.bias is not None


class GatedNorm(nn.LayerNorm):
    """x, gate: (B, T, J, C) -> (B, T, J, C), an `nn.LayerNorm` of x times silu(gate)."""

    def forward(self, x: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
        if _on_cpu(x) and self._is_in_library(x, gate) and _is_plain(x, gate, *self.parameters()):
            y = cpu_block.norm_gate(x.float(), gate.float(), self.weight.float(), self.bias.float(), self.eps)
            return y.to(x.dtype)
        return super().forward(x) * F.silu(gate)

    def _is_in_library(self, x: torch.Tensor, gate: torch.Tensor) -> bool:
        """Return whether this norms the channels with weight and bias, and whether the gate has the shape of x."""
        affine = self.weight is not None and self.bias is not None
        return affine and self.normalized_shape == (x.shape[-1],) and gate.shape == x.shape and _is_grid(x)


def steps_conv_silu(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, reverse: bool = False) -> torch.Tensor:
    """Apply a causal depthwise convolution over L, then SiLU; x: (S, L, C) -> (S, L, C), weight: (C, 1, K), bias: (C,).

    reverse: do it to the reversed sequences and reverse the result; the kernel then reads the steps that follow.
    """
    reach = weight.shape[-1] - 1
    if reverse:
        weight = weight.flip(-1)
    if _on_cpu(x) and reach + 1 == cpu_steps.WIDTH and x.numel() > 0 and _is_plain(x, weight, bias):
        y = cpu_steps.conv_silu(x.float(), weight.float(), bias.float(), 0 if reverse else reach)
        return y.to(x.dtype)
    padded = F.pad(x.transpose(1, 2), (0, reach) if reverse else (reach, 0))
    return F.silu(F.conv1d(padded, weight, bias, groups=x.shape[-1])).transpose(1, 2)


def add_branch(x: torch.Tensor, norm: nn.LayerNorm, branch: nn.Module, drop_path: nn.Module) -> torch.Tensor:
    """Return x + drop_path(branch(norm(x))), in one call of the library if nobody watches modules or operators.

    x: (B, ..., C) -> the same shape. branch: has `weights` and `residual`, as `Mlp`; drop_path.scale(x) is None for 1.
    """
    if _on_cpu(x) and are_as_built((norm, nn.LayerNorm), (branch, type(branch)), (drop_path, type(drop_path))):
        weights = branch.weights()
        parameters = norm.weight, norm.bias, *(weights or ())
        if weights and _runs_whole(x, norm, parameters):
            return branch.residual(x, drop_path.scale(x), parameters, norm.eps)
    return x + drop_path(branch(norm(x)))


def _runs_whole(x: torch.Tensor, norm: nn.LayerNorm, parameters: tuple[torch.Tensor, ...]) -> bool:
    fits = norm.normalized_shape == x.shape[-1:] and all(tensor is not None for tensor in parameters)
    return fits and product.runs(x, *parameters) and (torch.compiler.is_compiling() or not are_operators_watched())


def are_as_built(*parts: tuple[nn.Module, type]) -> bool:
    """Return whether every module still has its type, and nobody watches its calls."""
    return all(type(module) is kind and not _is_hooked(module) for module, kind in parts)


def _on_cpu(x: torch.Tensor) -> bool:
    return choose(x.device.type, x.dtype) == "cpu"


def _is_plain(x: torch.Tensor, *others: torch.Tensor) -> bool:
    """Return whether all dtypes agree, or autocast makes them agree, and nothing is differentiated in forward mode."""
    one_dtype = torch.is_autocast_enabled("cpu") or all(tensor.dtype == x.dtype for tensor in others)
    return one_dtype and not has_tangents((x, *others))


def _is_hooked(module: nn.Module) -> bool:
    """Return whether somebody watches the calls of a module, which must then happen."""
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)


def _is_grid(x: torch.Tensor) -> bool:
    return x.dim() == 4 and x.numel() > 0
