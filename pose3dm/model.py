"""Pose3DM: bidirectional Mamba-enhanced 3D human pose estimation for accurate clinical gait analysis (Fractal and
Fractional 2025, 9(9), 603).

Axes: B clips, T frames, J = 17 joints, C channels of a stage. Parameter names are those of the official checkpoints.

A U-shape in channels: its encoder doubles them twice, its decoder halves them twice, T and J never change. Every stage
is made of pose blocks, and the block that scans is PoseMamba's.

Departures from the official code, with reasons:
- Every official pose block builds `depth` = 5 spatial and 5 temporal blocks and a head, runs the first spatial and the
  first temporal one, and nothing else: of the 46.5 M parameters of an L checkpoint 10.0 M are used. Only these are
  built here; `official_depth=5` builds the official layout in full, for its counts and its checkpoints as they are.
- Drop-path rates rise from 0 at the first block, so the blocks that run have rate 0: training has no stochastic depth.
- The gradient through the limb term of the scan is exact by default, as in `liftbench.posemamba.model`.
- The fractional-order total variation of the paper is not in the official code; it is in `regularizer.py`.
"""

import re
from collections import OrderedDict

import torch
from torch import nn

from liftbench.posemamba.model import DROP_PATH, JOINTS, Block

_NEVER_RUN = re.compile(r"\.block\d+\.(?:(?:STEblocks|TTEblocks)\.[1-9]\d*|head)\.")


class PatchEmbedding(nn.Module):
    """x: (B, T, J, 2) -> (B, T, J, C): a 3x3 convolution over frames and joints."""

    def __init__(self, channels):
        super().__init__()
        self.proj = nn.Conv2d(2, channels, kernel_size=3, padding=1, bias=False)

    def forward(self, x):
        return self.proj(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Resample(nn.Module):
    """x: (B, T, J, in_channels) -> (B, T, J, channels): 1x1 convolution, BatchNorm, ReLU."""

    def __init__(self, in_channels, channels):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(in_channels, channels, kernel_size=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
        )

    def forward(self, x):
        return self.body(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class PoseBlock(nn.Module):
    """PoseMamba of depth 1 without its head; x: (B, T, J, in_channels) -> (B, T, J, channels)."""

    def __init__(self, frames, in_channels, channels, official_depth, limb_gradient):
        super().__init__()
        self.Spatial_patch_to_embedding = nn.Linear(in_channels, channels)
        self.Spatial_pos_embed = nn.Parameter(torch.zeros(1, JOINTS, channels))
        self.Temporal_pos_embed = nn.Parameter(torch.zeros(1, frames, channels))
        rates = torch.linspace(0, DROP_PATH, official_depth or 1).tolist()
        self.STEblocks, self.TTEblocks = (
            nn.ModuleList(Block(channels, rate, "posemamba", limb_gradient) for rate in rates) for _ in range(2)
        )
        self.Spatial_norm = nn.LayerNorm(channels, eps=1e-6)
        self.Temporal_norm = nn.LayerNorm(channels, eps=1e-6)
        if official_depth:
            self.head = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, 3))  # never runs

    def forward(self, x):
        x = self.Spatial_patch_to_embedding(x) + self.Spatial_pos_embed
        x = self.Spatial_norm(self.STEblocks[0](x))
        x = x + self.Temporal_pos_embed[:, : x.shape[1], None]
        return self.Temporal_norm(self.TTEblocks[0](x))


class Pose3DM(nn.Module):
    """keypoints: (B, T, 17, 2) image coordinates in [-1, 1] -> (B, T, 17, 3), normalised as the training targets are.

    embed_dim: C of level 1; bottleneck: C inside level 3; blocks: pose blocks per stage. official_depth: None builds
    what runs; a number builds every pose block as the official code does, with that many spatial and temporal blocks
    (5 in the official configurations) and a head, all but the first of each unused. limb_gradient: "exact" or
    "published".

    A clip may be shorter than `frames`: the first T temporal embeddings are used. Raises ValueError when it is longer.
    """

    def __init__(self, frames, embed_dim, bottleneck, blocks, official_depth=None, limb_gradient="exact"):
        super().__init__()
        self.frames = frames

        def stage(in_channels, channels):
            settings = (channels, official_depth, limb_gradient)
            return nn.Sequential(
                OrderedDict((f"block{i}", PoseBlock(frames, channels if i else in_channels, *settings))
                            for i in range(blocks))
            )  # fmt: skip

        level1, level2, level3 = embed_dim, 2 * embed_dim, 4 * embed_dim
        self.patch_embed = PatchEmbedding(level1)
        self.encoder_level1 = stage(level1, level1)
        self.down1_2 = Resample(level1, level2)
        self.encoder_level2 = stage(level2, level2)
        self.down2_3 = Resample(level2, level3)
        self.encoder_level3 = stage(level3, bottleneck)
        self.decoder_level3 = stage(bottleneck, level3)
        self.up3_2 = Resample(level3, level2)
        self.decoder_level2 = stage(level2, level2)
        self.up2_1 = Resample(level2, level1)
        self.decoder_level1 = stage(level1, level1)
        self.head = nn.Sequential(nn.LayerNorm(level1, eps=1e-5), nn.Linear(level1, 3))

    def forward(self, keypoints):
        if keypoints.shape[1] > self.frames:
            raise ValueError(
                f"the clip has {keypoints.shape[1]} frames but this model was built for at most {self.frames}"
            )
        encoded1 = self.encoder_level1(self.patch_embed(keypoints))
        encoded2 = self.encoder_level2(self.down1_2(encoded1))
        x = self.decoder_level3(self.encoder_level3(self.down2_3(encoded2)))
        x = self.decoder_level2(self.up3_2(x) + encoded2)
        x = self.decoder_level1(self.up2_1(x) + encoded1)
        return self.head(x)

    def unused_official_keys(self, keys):
        """Those of `keys` that belong to blocks and heads which never run and are not built here, as a set.

        An official checkpoint without them loads strictly: `load_state_dict({key: state[key] for key in state.keys() -
        model.unused_official_keys(state)})`. With `official_depth` they are built, and the set is empty.
        """
        own = self.state_dict().keys()
        return {key for key in keys if key not in own and _NEVER_RUN.search(key)}
