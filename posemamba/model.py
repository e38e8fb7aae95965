"""PoseMamba: monocular 3D human pose estimation with bidirectional global-local spatio-temporal state space models
(Huang et al., AAAI 2025, arXiv:2408.03540).

Axes: B clips, T frames, J = 17 joints, C model channels, D = 2C inner channels, N = 16 states, R = ceil(C / 16) rank of
delta, K = 4 scan directions, L = T * J scan length. Parameter names are those of the official checkpoints.

Departures from the official code, with reasons:
- The gradient through the limb term of the scan is exact by default; the official autograd function drops it.
  `limb_gradient="published"` reproduces that, and with it published training.
- Weights keep PyTorch's default initialisation where it is the same distribution as the official helper's. The other
  initialisations are written out below.
"""

import math

import torch
from torch import nn

from liftbench.kernels import check_limb_gradient, grid_scan, refuse_script, scan_orders
from liftbench.kernels.block import ConvSilu, GatedNorm, Linear, Mlp, add_branch, are_as_built
from liftbench.kernels.cpu.mixer import mixer

JOINTS = 17
STATES = 16
DIRECTIONS = 4
DROP_PATH = 0.2


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016): training drops a clip's branch with probability p and scales up the rest.

    x: (B, ...) -> the same shape. Evaluation leaves x as it is.
    """

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = self.scale(x)
        return x if scale is None else x * scale.view(-1, *[1] * (x.dim() - 1))

    def scale(self, x: torch.Tensor) -> torch.Tensor | None:
        """Draw the factor of every clip, (B,), or return None if all are 1."""
        if not self.training or self.p == 0:
            return None
        keep = torch.rand(len(x), device=x.device, dtype=x.dtype) >= self.p
        return keep / (1 - self.p)

    def extra_repr(self) -> str:
        return f"p={self.p:.3f}"


class GridMixer(nn.Module):
    """The bidirectional global-local spatio-temporal SSM block (paper, section "PoseMamba block"; VMamba's SS2D).

    x: (B, T, J, C) -> (B, T, J, C). scan: one of `kernels.PATTERNS`; limb_gradient: "exact" or "published".
    Raises ValueError for any other scan or limb_gradient.
    """

    scans = True
    __prepare_scriptable__ = refuse_script

    def __init__(self, channels: int, scan: str, limb_gradient: str):
        super().__init__()
        inner, rank = 2 * channels, math.ceil(channels / 16)
        scan_orders(scan, frames=1)  # raises ValueError for an unknown pattern
        check_limb_gradient(limb_gradient)
        self.scan, self.limb_gradient = scan, limb_gradient
        self.in_proj = Linear(channels, 2 * inner, bias=False)
        self.conv2d = ConvSilu(inner, inner, kernel_size=3, padding=1, groups=inner)
        self.x_proj_weight = nn.Parameter(torch.empty(DIRECTIONS, rank + 2 * STATES, inner))
        self.dt_projs_weight = nn.Parameter(torch.empty(DIRECTIONS, inner, rank))
        self.dt_projs_bias = nn.Parameter(torch.empty(DIRECTIONS, inner))
        self.A_logs = nn.Parameter(torch.empty(DIRECTIONS * inner, STATES))
        self.Ds = nn.Parameter(torch.empty(DIRECTIONS * inner))
        self.out_norm = GatedNorm(inner, eps=1e-5)
        self.out_proj = Linear(inner, channels, bias=False)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Initialise the scan as in Mamba: A = -(1..N), D = 1, softplus(dt bias) log-uniform in [1e-3, 1e-1]."""
        inner, rank = self.dt_projs_weight.shape[1:]
        self.x_proj_weight.uniform_(-(inner**-0.5), inner**-0.5)
        self.dt_projs_weight.uniform_(-(rank**-0.5), rank**-0.5)
        delta = torch.empty_like(self.dt_projs_bias).uniform_(math.log(1e-3), math.log(1e-1)).exp().clamp(min=1e-4)
        self.dt_projs_bias.copy_(delta + torch.log(-torch.expm1(-delta)))  # the inverse of softplus
        self.A_logs.copy_(torch.arange(1, STATES + 1).log().expand_as(self.A_logs))
        self.Ds.fill_(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        frames, joints = x.shape[1:3]
        x, z = self.in_proj(x).chunk(2, dim=-1)
        x = self.conv2d(x)
        y = grid_scan(
            x, self.x_proj_weight, self.dt_projs_weight, self.dt_projs_bias, -torch.exp(self.A_logs), self.Ds,
            *scan_orders(self.scan, frames, joints), self.limb_gradient,
        )  # fmt: skip
        y = self.out_norm(y, z)
        return self.out_proj(y)

    def weights(self) -> tuple[torch.Tensor, ...] | None:
        """Return what `residual` reads, or None if somebody changed or watches a part of the mixer."""
        parts = (self.in_proj, Linear), (self.conv2d, ConvSilu), (self.out_norm, GatedNorm), (self.out_proj, Linear)
        if not are_as_built(*parts) or not self.conv2d.is_in_library():
            return None
        if self.in_proj.bias is not None or self.out_proj.bias is not None:
            return None
        return (
            self.in_proj.weight, self.conv2d.weight, self.conv2d.bias, self.x_proj_weight, self.dt_projs_weight,
            self.dt_projs_bias, self.A_logs, self.Ds, self.out_norm.weight, self.out_norm.bias, self.out_proj.weight,
        )  # fmt: skip

    def residual(
        self, x: torch.Tensor, scale: torch.Tensor | None, parameters: tuple[torch.Tensor, ...], epsilon: float
    ) -> torch.Tensor:
        """Return x + scale mixer(norm(x)). parameters: weight and bias of the norm, and `weights`."""
        orders, limb = scan_orders(self.scan, *x.shape[1:3], dtype=torch.int32)  # as the kernel reads it
        return mixer(x, scale, parameters, orders, limb, self.limb_gradient, epsilon, self.out_norm.eps)


class Block(nn.Module):
    """x + op(norm(x)), then x + mlp(norm2(x)); x: (B, T, J, C) -> (B, T, J, C)."""

    def __init__(self, channels: int, drop_path: float, scan: str, limb_gradient: str):
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.op = GridMixer(channels, scan, limb_gradient)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = Mlp(channels)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = add_branch(x, self.norm, self.op, self.drop_path)
        return add_branch(x, self.norm2, self.mlp, self.drop_path)


class PoseMamba(nn.Module):
    """The whole network (paper, figure 2).

    keypoints: (B, T, 17, 2) image coordinates in [-1, 1] -> (B, T, 17, 3), camera frame, normalised like the training
    targets. scan: one of `kernels.PATTERNS`; limb_gradient: "exact" or "published". A clip shorter than `frames` uses
    the first T temporal embeddings. Raises ValueError for a longer clip and for an unknown scan or limb_gradient.
    """

    def __init__(
        self, frames: int, embed_dim: int, depth: int, scan: str = "posemamba", limb_gradient: str = "exact"
    ):  # fmt: skip
        super().__init__()
        self.frames = frames
        self.Spatial_patch_to_embedding = nn.Linear(2, embed_dim)
        self.Spatial_pos_embed = nn.Parameter(torch.zeros(1, JOINTS, embed_dim))
        self.Temporal_pos_embed = nn.Parameter(torch.zeros(1, frames, embed_dim))
        rates = torch.linspace(0, DROP_PATH, depth).tolist()
        self.STEblocks, self.TTEblocks = (
            nn.ModuleList(Block(embed_dim, rate, scan, limb_gradient) for rate in rates) for _ in range(2)
        )
        self.Spatial_norm = nn.LayerNorm(embed_dim, eps=1e-6)  # the two norms are shared by all depths
        self.Temporal_norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.head = nn.Sequential(nn.LayerNorm(embed_dim, eps=1e-5), nn.Linear(embed_dim, 3))

    def forward(self, keypoints: torch.Tensor) -> torch.Tensor:
        frames = keypoints.shape[1]
        if frames > self.frames:
            raise ValueError(
                f"Cannot read a clip of {frames} frames: this model was built for at most {self.frames}. Cut the clip."
            )
        x = self.Spatial_patch_to_embedding(keypoints) + self.Spatial_pos_embed
        for i, (spatial, temporal) in enumerate(zip(self.STEblocks, self.TTEblocks, strict=True)):
            x = self.Spatial_norm(spatial(x))
            if i == 0:
                x = x + self.Temporal_pos_embed[:, :frames, None]
            x = self.Temporal_norm(temporal(x))
        return self.head(x)
