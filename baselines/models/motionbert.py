"""MotionBERT's DSTformer: a unified perspective on learning human motion representations (Zhu et al., ICCV 2023,
arXiv:2210.06551).

Axes: B clips, T frames, J = 17 joints, C model channels, R channels of the representation. Parameter names are those of
the official checkpoints. The official code is licensed under Apache-2.0; this file is written afresh.

Departures from the official code, with reasons:
- The attention modes that no published model uses (series, parallel, coupling, vanilla) are left out. So is `no_conf`:
  the official network always has three input channels and cannot run with it.
- `gt_2d` is left out: it writes the true x and y into the prediction, which is a matter of evaluation.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from liftbench.baselines.models.layers import Attention, Mlp, over_frames, over_joints
from liftbench.posemamba.model import JOINTS


class Block(nn.Module):
    """Spatial and temporal attention, each followed by an MLP, all pre-norm and residual (paper, figure 3).

    x: (B, T, J, C) -> (B, T, J, C). temporal_first: attend over frames before joints.
    """

    recomputed = "forward"  # by gradient checkpointing

    def __init__(self, channels: int, mlp_ratio: int, temporal_first: bool):
        super().__init__()
        self.temporal_first = temporal_first
        self.norm1_s, self.norm1_t = (nn.LayerNorm(channels, eps=1e-6) for _ in range(2))
        self.attn_s, self.attn_t = (Attention(channels) for _ in range(2))
        self.norm2_s, self.norm2_t = (nn.LayerNorm(channels, eps=1e-6) for _ in range(2))
        self.mlp_s, self.mlp_t = (Mlp(channels, mlp_ratio) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        if self.temporal_first:
            return self.spatial(self.temporal(x))
        return self.temporal(self.spatial(x))

    def spatial(self, x: Tensor) -> Tensor:
        x = x + over_joints(self.attn_s, self.norm1_s(x))
        return x + self.mlp_s(self.norm2_s(x))

    def temporal(self, x: Tensor) -> Tensor:
        x = x + over_frames(self.attn_t, self.norm1_t(x))
        return x + self.mlp_t(self.norm2_t(x))


class MotionBERT(nn.Module):
    """The whole network.

    keypoints: (B, T, 17, 3), image coordinates in [-1, 1] and confidence -> (B, T, 17, 3), camera frame, normalised
    like the training targets. `pre_logits` returns the motion representation, (B, T, 17, R).

    At each depth two streams read the same input, one spatial first and one temporal first. A linear layer weighs them
    for every token (paper, equations 4 and 5). A clip shorter than `frames` uses the first T temporal embeddings.
    Raises ValueError for a longer clip.
    """

    def __init__(self, frames: int, embed_dim: int = 512, mlp_ratio: int = 2, depth: int = 5, rep_dim: int = 512):
        super().__init__()
        self.frames = frames
        self.joints_embed = nn.Linear(3, embed_dim)
        self.pos_embed = nn.Parameter(torch.empty(1, JOINTS, embed_dim))
        self.temp_embed = nn.Parameter(torch.empty(1, frames, 1, embed_dim))
        self.blocks_st = nn.ModuleList(Block(embed_dim, mlp_ratio, temporal_first=False) for _ in range(depth))
        self.blocks_ts = nn.ModuleList(Block(embed_dim, mlp_ratio, temporal_first=True) for _ in range(depth))
        self.ts_attn = nn.ModuleList(nn.Linear(2 * embed_dim, 2) for _ in range(depth))
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.pre_logits = nn.Sequential(OrderedDict(fc=nn.Linear(embed_dim, rep_dim), act=nn.Tanh()))
        self.head = nn.Linear(rep_dim, 3)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw linear weights and embeddings with deviation 0.02, clear biases, and weigh both streams equally."""
        for embedding in (self.pos_embed, self.temp_embed):
            nn.init.trunc_normal_(embedding, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        for fusion in self.ts_attn:
            nn.init.zeros_(fusion.weight)
            nn.init.constant_(fusion.bias, 0.5)

    def forward(self, keypoints: Tensor) -> Tensor:
        frames = keypoints.shape[1]
        if frames > self.frames:
            raise ValueError(
                f"Cannot read a clip of {frames} frames: this model was built for at most {self.frames}. Cut the clip."
            )
        x = self.joints_embed(keypoints) + self.pos_embed + self.temp_embed[:, :frames]
        for spatial_first, temporal_first, fusion in zip(self.blocks_st, self.blocks_ts, self.ts_attn, strict=True):
            s, t = spatial_first(x), temporal_first(x)
            weights = fusion(torch.cat([s, t], dim=-1)).softmax(dim=-1)
            x = weights[..., :1] * s + weights[..., 1:] * t
        return self.head(self.pre_logits(self.norm(x)))
