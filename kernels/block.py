"""The parts of PoseMamba's block around the scan, as modules on channels-last cells: (B, T, J, C) -> (B, T, J, C').

Where the scan is `cpu`, they run in its library and in oneDNN, with the same results up to rounding; elsewhere, and in
training where a part has no gradient of its own, they are the modules as PyTorch runs them.
"""

import torch
import torch.nn.functional as F

from liftbench import kernels
from liftbench.kernels.cpu import block as cpu_block
from liftbench.kernels.operators import has_tangents


def linear(layer, x, implementation="auto"):
    """layer(x) of an `nn.Linear`."""
    if _on_cpu(x, implementation):
        return cpu_block.linear(x, layer.weight, layer.bias)
    return layer(x)


def conv_silu(conv, x, implementation="auto"):
    """silu(conv(x)) of an `nn.Conv2d` over (T, J)."""
    if _on_cpu(x, implementation) and _is_depthwise_3x3(conv, x) and _only_forward(x, conv):
        return cpu_block.conv_silu(x.float(), conv.weight.float(), conv.bias.float()).to(x.dtype)
    return F.silu(conv(x.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)


def norm_gate(norm, x, gate, implementation="auto"):
    """norm(x) * silu(gate) of an `nn.LayerNorm`."""
    if _on_cpu(x, implementation) and _is_over_channels(norm, x, gate) and _only_forward(x, norm, gate):
        x, dtype = x.float(), x.dtype
        return cpu_block.norm_gate(x, gate.float(), norm.weight.float(), norm.bias.float(), norm.eps).to(dtype)
    return norm(x) * F.silu(gate)


def _on_cpu(x, implementation):
    return kernels.choose(x.device.type, implementation, x.dtype) == "cpu"


def _only_forward(x, module, *others):
    """Whether nothing is differentiated, and everything is of one dtype or in autocast's hands."""
    tensors = x, *others, *module.parameters()
    one_dtype = torch.is_autocast_enabled("cpu") or all(tensor.dtype == x.dtype for tensor in tensors)
    return one_dtype and not torch.is_grad_enabled() and not has_tangents(tensors)


def _is_depthwise_3x3(conv, x):
    """Whether the library computes this convolution of x."""
    settings = conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.padding_mode
    channels = conv.out_channels, conv.groups, x.shape[-1]
    return (
        settings == ((3, 3), (1, 1), (1, 1), (1, 1), "zeros")
        and channels == (conv.in_channels,) * 3
        and conv.bias is not None
        and _is_grid(x)
    )


def _is_over_channels(norm, x, gate):
    """Whether the library computes this norm of x and its gate."""
    affine = norm.weight is not None and norm.bias is not None
    return affine and norm.normalized_shape == (x.shape[-1],) and gate.shape == x.shape and _is_grid(x)


def _is_grid(x):
    return x.dim() == 4 and x.numel() > 0
