"""MixSTE: seq2seq mixed spatio-temporal encoder for 3D human pose estimation in video (Zhang et al., CVPR 2022,
arXiv:2203.00859).

Axes: B clips, T frames, J = 17 joints, C model channels. Parameter names are those of the official checkpoints (class
MixSTE2). The official code carries no licence; nothing of it is copied here.

One departure from the official code: its training passes the loss to `backward` as the incoming gradient, which
multiplies every gradient by the loss. Our training uses the exact gradient.
"""

import torch
from torch import Tensor, nn

from liftbench.baselines.models.layers import Block, drop_path_rates, over_frames, over_joints
from liftbench.posemamba.model import JOINTS

DROP_PATH = 0.1


class MixSTE(nn.Module):
    """The whole network (paper, figure 2).

    keypoints: (B, T, 17, 2) image coordinates in [-1, 1] -> (B, T, 17, 3), metres, camera frame, root-relative. Raises
    ValueError for a clip that does not have exactly `frames` frames.
    """

    def __init__(self, frames: int, embed_dim: int = 512, depth: int = 8):
        super().__init__()
        self.frames = frames
        self.Spatial_patch_to_embedding = nn.Linear(2, embed_dim)
        self.Spatial_pos_embed = nn.Parameter(torch.zeros(1, JOINTS, embed_dim))
        self.Temporal_pos_embed = nn.Parameter(torch.zeros(1, frames, embed_dim))
        self.STEblocks, self.TTEblocks = (
            nn.ModuleList(Block(embed_dim, rate) for rate in drop_path_rates(DROP_PATH, depth)) for _ in range(2)
        )
        self.Spatial_norm = nn.LayerNorm(embed_dim, eps=1e-6)  # the two norms are shared by all depths
        self.Temporal_norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.head = nn.Sequential(nn.LayerNorm(embed_dim, eps=1e-5), nn.Linear(embed_dim, 3))

    def forward(self, keypoints: Tensor) -> Tensor:
        frames = keypoints.shape[1]
        if frames != self.frames:
            raise ValueError(
                f"Cannot read a clip of {frames} frames: this model takes exactly {self.frames}. Cut or pad the clip."
            )
        x = self.Spatial_patch_to_embedding(keypoints) + self.Spatial_pos_embed
        for i, (spatial, temporal) in enumerate(zip(self.STEblocks, self.TTEblocks, strict=True)):
            x = self.Spatial_norm(over_joints(spatial, x))
            if i == 0:
                x = x + self.Temporal_pos_embed[:, :, None]
            x = self.Temporal_norm(over_frames(temporal, x))
        return self.head(x)
