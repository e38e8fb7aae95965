"""The parts of PoseMamba's block around the scan, as modules on channels-last cells: (B, T, J, C) -> (B, T, J, C').

Where the scan is `cpu`, they run in its library and in oneDNN, with the same results up to rounding; elsewhere, and in
training where a part has no gradient of its own, they are the modules as PyTorch runs them.
"""

import torch
import torch.nn.functional as F

from liftbench import kernels
from liftbench.kernels import cpu
from liftbench.kernels.cpu import block as cpu_block


def linear(layer, x, implementation="auto"):
    """layer(x) of an `nn.Linear`."""
    if _on_cpu(x, implementation):
        return cpu.linear(x, layer.weight, layer.bias)
    return layer(x)


def conv_silu(conv, x, implementation="auto"):
    """silu(conv(x)) of a depthwise 3 x 3 `nn.Conv2d` over (T, J)."""
    if _on_cpu(x, implementation) and not torch.is_grad_enabled():
        return cpu_block.conv_silu(x.float(), conv.weight.float(), conv.bias.float()).to(x.dtype)
    return F.silu(conv(x.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)


def norm_gate(norm, x, gate, implementation="auto"):
    """norm(x) * silu(gate) of an `nn.LayerNorm` over C."""
    if _on_cpu(x, implementation) and not torch.is_grad_enabled():
        x, dtype = x.float(), x.dtype
        return cpu_block.norm_gate(x, gate.float(), norm.weight.float(), norm.bias.float(), norm.eps).to(dtype)
    return norm(x) * F.silu(gate)


def _on_cpu(x, implementation):
    return kernels.choose(x.device.type, implementation, x.dtype) == "cpu"
