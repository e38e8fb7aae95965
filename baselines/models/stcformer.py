"""STCFormer: 3D human pose estimation with spatio-temporal criss-cross attention (Tang et al., CVPR 2023).

Axes: B clips, T frames, J = 17 joints, C model channels, H = 8 heads; one half of the channels attends over joints, the
other over frames. Parameter names are those of the official checkpoints. The official code carries no licence; nothing
of it is copied here.

Two oddities of the official code are kept, because the published numbers depend on them. The attention scores are
scaled by the width of a group, not of a head. The embedding of body parts, the paper's first structural encoding, is
scaled by 1e-4 and 1e-9, so it has almost no effect.

Departures from the official code, with reasons:
- The table of body parts lies on the model's device. The official class puts it on a GPU and cannot be built without
  one.
- The network for MPI-INF-3DHP, in a second official file, is older and different. It is left out.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liftbench.baselines.models.layers import HEADS, Mlp
from liftbench.posemamba.model import DropPath

MLP_RATIO = 4
DROPOUT = 0.1
PART_DROP_PATH = 0.5
SPATIAL_PART_SCALE, TEMPORAL_PART_SCALE = 1e-4, 1e-9
# Torso and head, right leg, left leg, left arm, right arm.
BODY_PARTS = (0, 1, 1, 1, 2, 2, 2, 0, 0, 0, 0, 3, 3, 3, 4, 4, 4)


class CrissCrossAttention(nn.Module):
    """x + the criss-cross attention of norm x (paper, figures 2 and 3); x: (B, T, J, C) -> (B, T, J, C).

    Channel c of q, k and v are outputs 3c, 3c + 1 and 3c + 2 of `qkv`. The values of each group also pass a depthwise
    convolution over (T, J), the paper's second structural encoding. Raises ValueError when C is not a multiple of 16.
    """

    def __init__(self, channels: int):
        super().__init__()
        if channels % (2 * HEADS):
            raise ValueError(f"{channels} channels do not divide into two groups of {HEADS} heads")
        group = channels // 2
        self.layer_norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.sep2_s, self.sep2_t = (nn.Conv2d(group, group, 3, padding=1, groups=group) for _ in range(2))
        self.emb = nn.Embedding(max(BODY_PARTS) + 1, group // HEADS)
        self.register_buffer("body_parts", torch.tensor(BODY_PARTS), persistent=False)
        self.drop_path = DropPath(PART_DROP_PATH)
        self.proj = nn.Linear(channels, channels)
        self.scale = group**-0.5

    def forward(self, x: Tensor) -> Tensor:
        # q, k and v of both groups: each (B, T, J, H, C / 16)
        groups = self.qkv(self.layer_norm(x)).unflatten(-1, (2, HEADS, -1, 3))
        spatial, temporal = (group.unbind(-1) for group in groups.unbind(3))
        part = self.emb(self.body_parts)[None, :, None]  # (1, J, 1, C / 16)
        over_joints = self.attend(*spatial) + _convolve(self.sep2_s, spatial[2])
        over_joints = over_joints + SPATIAL_PART_SCALE * self.drop_path(part)
        over_frames = self.attend(*(y.transpose(1, 2) for y in temporal)).transpose(1, 2)
        over_frames = over_frames + _convolve(self.sep2_t, temporal[2])
        over_frames = over_frames + TEMPORAL_PART_SCALE * self.drop_path(part)
        return x + self.proj(torch.cat([over_joints, over_frames], dim=-1).flatten(3))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend along the third axis: (B, T, J, H, C / 16) over joints, (B, J, T, H, C / 16) over frames."""
        folded = (y.flatten(0, 1).transpose(1, 2) for y in (q, k, v))
        mixed = F.scaled_dot_product_attention(*folded, scale=self.scale)
        return mixed.transpose(1, 2).view(v.shape)


def _convolve(convolution: nn.Module, values: torch.Tensor) -> torch.Tensor:
    """Convolve values over (T, J); values: (B, T, J, H, C / 16)."""
    image = values.flatten(3).permute(0, 3, 1, 2)
    return convolution(image).permute(0, 2, 3, 1).reshape(values.shape)


class Block(nn.Module):
    """Criss-cross attention with its own residual, then x + mlp(norm x); x: (B, T, J, C) -> (B, T, J, C)."""

    def __init__(self, channels: int):
        super().__init__()
        self.stc_att = CrissCrossAttention(channels)
        self.layer_norm = nn.LayerNorm(channels)
        self.mlp = Mlp(channels, MLP_RATIO, bias=False, dropout=DROPOUT)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stc_att(x)
        return x + self.mlp(self.layer_norm(x))


class STCFormer(nn.Module):
    """The whole network (paper, figure 2).

    keypoints: (B, T, 17, 2) image coordinates in [-1, 1] -> (B, T, 17, 3), metres, camera frame, root-relative. No
    parameter depends on T, so a clip may have any number of frames; `frames` is the clip length of training.
    """

    def __init__(self, frames: int, embed_dim: int = 256, depth: int = 6):
        super().__init__()
        self.frames = frames
        self.pose_emb = nn.Linear(2, embed_dim, bias=False)
        self.stcformer = nn.Module()
        self.stcformer.stc_block = nn.ModuleList(Block(embed_dim) for _ in range(depth))
        self.regress_head = nn.Linear(embed_dim, 3, bias=False)

    def forward(self, keypoints: Tensor) -> Tensor:
        x = F.gelu(self.pose_emb(keypoints))
        for block in self.stcformer.stc_block:
            x = block(x)
        return self.regress_head(x)
