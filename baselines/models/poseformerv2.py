"""PoseFormerV2: exploring frequency domain for efficient and robust 3D human pose estimation (Zhao et al., CVPR 2023,
arXiv:2303.17472).

Axes: B clips, T frames, J = 17 joints, E channels of a joint, D = 17 E channels of a token; a clip becomes n frequency
tokens (DCT coefficients of all T frames) and f frame tokens (the central frames). Parameter names are those of the
official checkpoints. The official code is licensed under MIT; this file is written afresh.

One oddity of the official code is kept, because the published numbers depend on it: the second half of all tokens
passes the frequency MLP, whatever these tokens are. With one frame and three coefficients (a published row), one
frequency token is treated as a frame token.

Departures from the official code, with reasons:
- The cosine transforms are products with a matrix, not Fourier transforms, because the sequences are short. Counters
  see these products: 34 n T MACs for the input and (n + f)^2 D / 2 for the transforms of each block's MLP.
"""

import math

import torch
from torch import Tensor, nn

from liftbench.baselines.models.layers import Attention, Block, Mlp, drop_path_rates
from liftbench.posemamba.model import JOINTS, DropPath

DROP_PATH = 0.1
MLP_RATIO = 2


def dct_matrix(length: int) -> Tensor:
    """Return the DCT-II without normalisation, X_k = 2 sum_t x_t cos(pi k (2t + 1) / 2L) -> (L, L) float64."""
    k, t = torch.arange(length, dtype=torch.float64)[:, None], torch.arange(length, dtype=torch.float64)
    return 2 * torch.cos(math.pi * k * (2 * t + 1) / (2 * length))


def inverse_dct_matrix(length: int) -> Tensor:
    """Return the inverse of `dct_matrix`, (L, L) float64."""
    transposed = dct_matrix(length).T / (2 * length)
    transposed[:, 0] /= 2
    return transposed


class FrequencyMlp(Mlp):
    """An MLP between a cosine transform over the tokens and its inverse (paper, equation 7); x: (B, L, D)."""

    def __init__(self, channels: int, tokens: int):
        super().__init__(channels, MLP_RATIO)
        self.register_buffer("dct", dct_matrix(tokens), persistent=False)
        self.register_buffer("inverse_dct", inverse_dct_matrix(tokens), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.inverse_dct.to(x.dtype) @ super().forward(self.dct.to(x.dtype) @ x)


class MixedBlock(nn.Module):
    """Attention over all tokens, then an MLP for the first half of them and a frequency MLP for the second.

    x: (B, n + f, D) -> (B, n + f, D).
    """

    def __init__(self, channels: int, tokens: int, drop_path: float):
        super().__init__()
        self.first = tokens // 2
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(channels, eps=1e-6) for _ in range(3))
        self.attn = Attention(channels)
        self.mlp1 = Mlp(channels, MLP_RATIO)
        self.mlp2 = FrequencyMlp(channels, tokens - self.first)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        first, second = x[:, : self.first], x[:, self.first :]
        first = first + self.drop_path(self.mlp1(self.norm2(first)))
        second = second + self.drop_path(self.mlp2(self.norm3(second)))
        return torch.cat([first, second], dim=1)


class PoseFormerV2(nn.Module):
    """The whole network (paper, figure 3).

    keypoints: (B, T, 17, 2) image coordinates in [-1, 1] -> (B, 1, 17, 3), the pose of the centre frame in metres,
    camera frame, root-relative. kept_frames: f, odd; kept_coefficients: n; embed_dim: E. Neither n nor f may exceed
    `frames`. Raises ValueError for an even f, for an n or f out of range, and for a clip that does not have exactly
    `frames` frames.
    """

    def __init__(
        self, frames: int, kept_frames: int, kept_coefficients: int, embed_dim: int = 32, depth: int = 4
    ):  # fmt: skip
        super().__init__()
        if not (kept_frames % 2 and 0 < kept_frames <= frames):
            raise ValueError(f"kept_frames must be odd and at most {frames}, not {kept_frames}")
        if not 0 < kept_coefficients <= frames:
            raise ValueError(f"kept_coefficients must be from 1 to {frames}, not {kept_coefficients}")
        self.frames, self.kept_frames = frames, kept_frames
        channels, tokens = JOINTS * embed_dim, kept_coefficients + kept_frames
        rates = drop_path_rates(DROP_PATH, depth)
        self.Joint_embedding = nn.Linear(2, embed_dim)
        self.Spatial_pos_embed = nn.Parameter(torch.zeros(1, JOINTS, embed_dim))
        self.Spatial_blocks = nn.ModuleList(Block(embed_dim, rate) for rate in rates)
        self.Spatial_norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.Temporal_pos_embed = nn.Parameter(torch.zeros(1, kept_frames, channels))
        self.Freq_embedding = nn.Linear(2 * JOINTS, channels)
        self.Temporal_pos_embed_ = nn.Parameter(torch.zeros(1, kept_coefficients, channels))
        self.register_buffer("dct", dct_matrix(frames)[:kept_coefficients], persistent=False)
        self.blocks = nn.ModuleList(MixedBlock(channels, tokens, rate) for rate in rates)
        self.Temporal_norm = nn.LayerNorm(channels, eps=1e-6)
        self.weighted_mean = nn.Conv1d(kept_coefficients, 1, 1)
        self.weighted_mean_ = nn.Conv1d(kept_frames, 1, 1)
        self.head = nn.Sequential(nn.LayerNorm(2 * channels), nn.Linear(2 * channels, 3 * JOINTS))

    def forward(self, keypoints: Tensor) -> Tensor:
        frames = keypoints.shape[1]
        if frames != self.frames:
            raise ValueError(
                f"Cannot read a clip of {frames} frames: this model takes exactly {self.frames}. Cut or pad the clip."
            )
        tokens = torch.cat([self.frequency_tokens(keypoints), self.frame_tokens(keypoints)], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        frequency, frame = self.Temporal_norm(tokens).tensor_split([len(self.dct)], dim=1)
        pooled = torch.cat([self.weighted_mean(frequency), self.weighted_mean_(frame)], dim=-1)
        return self.head(pooled).view(-1, 1, JOINTS, 3)

    def frequency_tokens(self, keypoints: Tensor) -> Tensor:
        """Embed the first n DCT coefficients of every coordinate over time -> (B, n, D)."""
        coefficients = self.dct.to(keypoints.dtype) @ keypoints.flatten(2)
        return self.Freq_embedding(coefficients) + self.Temporal_pos_embed_

    def frame_tokens(self, keypoints: Tensor) -> Tensor:
        """Let the joints of the f central frames attend to each other -> (B, f, D)."""
        first = (self.frames - 1) // 2 - self.kept_frames // 2
        central = keypoints[:, first : first + self.kept_frames]
        x = self.Joint_embedding(central.flatten(0, 1)) + self.Spatial_pos_embed
        for block in self.Spatial_blocks:
            x = block(x)
        return self.Spatial_norm(x).unflatten(0, (-1, self.kept_frames)).flatten(2) + self.Temporal_pos_embed
