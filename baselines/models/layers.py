"""Layers that the comparators share: attention, the two-layer perceptron and the pre-norm block, and two functions that
fold tokens into sequences.

Axes: B clips, T frames, J = 17 joints, C channels, S sequences of L tokens. Parameter names are those of the official
checkpoints (timm's, Wightman 2019).
"""

import torch.nn.functional as F
from torch import Tensor, nn

from liftbench.posemamba.model import DropPath

HEADS = 8  # as in every published comparator


def over_joints(module: nn.Module, x: Tensor) -> Tensor:
    """Run `module` on the sequences of joints, one for each frame; x: (B, T, J, C) -> (B, T, J, C)."""
    return module(x.flatten(0, 1)).view_as(x)


def over_frames(module: nn.Module, x: Tensor) -> Tensor:
    """Run `module` on the sequences of frames, one for each joint; x: (B, T, J, C) -> (B, T, J, C)."""
    x = x.transpose(1, 2)
    return module(x.flatten(0, 1)).view(x.shape).transpose(1, 2)


def drop_path_rates(last: float, depth: int) -> list[float]:
    """Return rates of stochastic depth that rise linearly from 0 to `last` over `depth` blocks."""
    return [last * i / max(depth - 1, 1) for i in range(depth)]


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017, section 3.2); x: (S, L, C) -> (S, L, C).

    `qkv` gives the channels of q, then of k, then of v; head h owns C / 8 neighbouring channels of each.
    Raises ValueError when C is not a multiple of 8.
    """

    def __init__(self, channels: int, bias: bool = True):
        super().__init__()
        if channels % HEADS:
            raise ValueError(f"{channels} channels do not divide into {HEADS} heads")
        self.qkv = nn.Linear(channels, 3 * channels, bias=bias)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)  # each (S, heads, L, C / heads)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """fc1 C -> rC, GELU, fc2 rC -> C, with dropout after both; x: (..., C) -> (..., C)."""

    def __init__(self, channels: int, ratio: int, bias: bool = True, dropout: float = 0.0):
        super().__init__()
        self.fc1 = nn.Linear(channels, ratio * channels, bias=bias)
        self.fc2 = nn.Linear(ratio * channels, channels, bias=bias)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.fc2(self.drop(F.gelu(self.fc1(x)))))


class Block(nn.Module):
    """x + attn(norm1 x), then x + mlp(norm2 x), with MLP ratio 2; x: (S, L, C) -> (S, L, C).

    drop_path: the probability that training drops a branch of a sequence.
    """

    def __init__(self, channels: int, drop_path: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.attn = Attention(channels)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = Mlp(channels, 2)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))
