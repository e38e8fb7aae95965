"""Pose3DM: bidirectional Mamba-enhanced 3D human pose estimation for accurate clinical gait analysis (Fractal and
Fractional 2025, 9(9), 603).

Axes: B clips, T frames, J = 17 joints, C channels of a stage. Parameter names are those of the official checkpoints.

The network is a U-shape in channels: the encoder doubles them twice, the decoder halves them twice. T and J never
change. Every stage is made of pose blocks, which scan with PoseMamba's block.

Departures from the official code, with reasons:
- Every official pose block builds `depth` = 5 spatial and 5 temporal blocks and a head, but runs only the first spatial
  and the first temporal block. An L checkpoint holds 46.5 M parameters and uses 10.0 M of them. This file builds only
  the blocks that run. `official_depth=5` builds the full official layout, to count it and to load its checkpoints.
- Drop-path rates rise from 0 at the first block, and only first blocks run. Training therefore has no stochastic depth.
- The gradient through the limb term of the scan is exact by default, as in `liftbench.posemamba.model`.
- The official code lacks the paper's fractional-order total variation. It is in `regularizer.py`.
"""

import re
from collections import OrderedDict
from collections.abc import Iterable

import torch
from torch import nn

from liftbench.kernels.block import Linear
from liftbench.posemamba.model import DROP_PATH, JOINTS, Block

_NEVER_RUN = re.compile(r"\.block\d+\.(?:(?:STEblocks|TTEblocks)\.[1-9]\d*|head)\.")


class PatchEmbedding(nn.Module):
    """x: (B, T, J, 2) -> (B, T, J, C): a 3x3 convolution over frames and joints."""

    def __init__(self, channels: int):
        super().__init__()
        self.proj = nn.Conv2d(2, channels, kernel_size=3, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.proj(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Resample(nn.Module):
    """x: (B, T, J, in_channels) -> (B, T, J, channels): 1x1 convolution, BatchNorm, ReLU."""

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(in_channels, channels, kernel_size=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class PoseBlock(nn.Module):
    """PoseMamba of depth 1 without its head; x: (B, T, J, in_channels) -> (B, T, J, channels)."""

    def __init__(
        self, frames: int, in_channels: int, channels: int, official_depth: int | None, limb_gradient: str
    ):  # fmt: skip
        super().__init__()
        self.Spatial_patch_to_embedding = Linear(in_channels, channels)
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

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.Spatial_patch_to_embedding(x) + self.Spatial_pos_embed
        x = self.Spatial_norm(self.STEblocks[0](x))
        x = x + self.Temporal_pos_embed[:, : x.shape[1], None]
        return self.Temporal_norm(self.TTEblocks[0](x))


class Pose3DM(nn.Module):
    """The whole network.

    keypoints: (B, T, 17, 2) image coordinates in [-1, 1] -> (B, T, 17, 3), camera frame, normalised like the training
    targets. embed_dim: C of level 1; bottleneck: C inside level 3; blocks: pose blocks per stage; limb_gradient:
    "exact" or "published".

    official_depth: None builds only the blocks that run. A number (5 in the official configurations) builds every pose
    block as the official code does, with that many spatial and temporal blocks and a head; only the first spatial and
    the first temporal block run.

    A clip shorter than `frames` uses the first T temporal embeddings. Raises ValueError for a longer clip.
    """

    def __init__(
        self,
        frames: int,
        embed_dim: int,
        bottleneck: int,
        blocks: int,
        official_depth: int | None = None,
        limb_gradient: str = "exact",
    ):
        super().__init__()
        self.frames = frames

        def stage(in_channels: int, channels: int) -> nn.Sequential:
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

    def forward(self, keypoints: torch.Tensor) -> torch.Tensor:
        frames = keypoints.shape[1]
        if frames > self.frames:
            raise ValueError(
                f"Cannot read a clip of {frames} frames: this model was built for at most {self.frames}. Cut the clip."
            )
        encoded1 = self.encoder_level1(self.patch_embed(keypoints))
        encoded2 = self.encoder_level2(self.down1_2(encoded1))
        x = self.decoder_level3(self.encoder_level3(self.down2_3(encoded2)))
        x = self.decoder_level2(self.up3_2(x) + encoded2)
        x = self.decoder_level1(self.up2_1(x) + encoded1)
        return self.head(x)

    def unused_official_keys(self, keys: Iterable[str]) -> set[str]:
        """Pick the checkpoint keys of blocks and heads that never run and that this model does not build.

        An official checkpoint without them loads strictly: `load_state_dict({key: state[key] for key in state.keys() -
        model.unused_official_keys(state)})`. The set is empty for a model built with `official_depth`.
        """
        own = self.state_dict().keys()
        return {key for key in keys if key not in own and _NEVER_RUN.search(key)}
