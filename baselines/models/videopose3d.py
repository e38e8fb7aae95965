"""VideoPose3D: 3D human pose estimation in video with temporal convolutions (Pavllo et al., CVPR 2019,
arXiv:1811.11742).

Axes: B clips, T frames, F frames of the receptive field, J = 17 joints, C channels. Parameter names are those of the
official checkpoints. The official code and weights are licensed under CC BY-NC 4.0 (not for commercial use); this file
is written afresh.

One set of weights runs in two forms. The dilated form slides over a video and shares work between neighbouring frames.
The strided form computes only what a single frame needs. Both give the same pose for a clip of exactly F frames. To
train the strided form, use batches of at least two clips: its batch norms need them.

Departures from the official code, with reasons:
- The dense form, an ablation without dilation, is left out.
- The momentum of the batch norms stays 0.1. Official training lowers it to 0.001 over the epochs.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from liftbench.posemamba.model import JOINTS

DROPOUT = 0.25


def filter_widths(frames: int) -> list[int]:
    """Return the widths of the temporal convolutions: the prime factors of the receptive field, smallest first.

    Raises ValueError for an even `frames` and for one below 3.
    """
    field, widths, width = frames, [], 3
    while width <= frames:
        while frames % width == 0:
            widths.append(width)
            frames //= width
        width += 2
    if frames != 1 or not widths:
        raise ValueError(f"frames must be odd and at least 3, not {field}")
    return widths


class VideoPose3D(nn.Module):
    """The whole network (paper, figure 2).

    keypoints: (B, T, 17, 2) image coordinates in [-1, 1] -> (B, T - F + 1, 17, 3), metres, camera frame, root-relative.
    frames: the receptive field F. A pose belongs to the centre of its F frames, or to the last of them if causal.
    strided: take exactly F frames and return one pose. Raises ValueError for a clip shorter than F and, if strided, for
    a longer one.
    """

    recomputed = "block"  # by gradient checkpointing

    def __init__(self, frames: int, channels: int = 1024, strided: bool = True, causal: bool = False):
        super().__init__()
        self.frames, self.strided, self.causal = frames, strided, causal
        first, *widths = filter_widths(frames)
        self.expand_conv = nn.Conv1d(2 * JOINTS, channels, first, stride=first if strided else 1, bias=False)
        self.expand_bn = nn.BatchNorm1d(channels)
        self.layers_conv, self.layers_bn = nn.ModuleList(), nn.ModuleList()
        dilation = first
        for width in widths:
            step = {"stride": width} if strided else {"dilation": dilation}
            self.layers_conv.append(nn.Conv1d(channels, channels, width, bias=False, **step))
            self.layers_conv.append(nn.Conv1d(channels, channels, 1, bias=False))
            self.layers_bn.extend(nn.BatchNorm1d(channels) for _ in range(2))
            dilation *= width
        self.drop = nn.Dropout(DROPOUT)
        self.shrink = nn.Conv1d(channels, 3 * JOINTS, 1)

    def forward(self, keypoints: Tensor) -> Tensor:
        frames = keypoints.shape[1]
        if frames < self.frames or (self.strided and frames > self.frames):
            wanted = "exactly" if self.strided else "at least"
            raise ValueError(
                f"Cannot read a clip of {frames} frames: this model takes {wanted} {self.frames}. Cut or pad the clip."
            )
        x = keypoints.flatten(2).transpose(1, 2)  # (B, 34, T)
        x = self.drop(F.relu(self.expand_bn(self.expand_conv(x))))
        for number in range(len(self.layers_conv) // 2):
            x = self.block(x, number)
        return self.shrink(x).transpose(1, 2).unflatten(-1, (JOINTS, 3))

    def block(self, x: Tensor, number: int) -> Tensor:
        """One residual block, counted from 0: a wide convolution and one of width 1; x: (B, C, T) -> (B, C, less)."""
        wide, narrow = self.layers_conv[2 * number : 2 * number + 2]
        wide_norm, narrow_norm = self.layers_bn[2 * number : 2 * number + 2]
        y = self.drop(F.relu(wide_norm(wide(x))))
        y = self.drop(F.relu(narrow_norm(narrow(y))))
        return self.seen_by(wide, x)[..., : y.shape[-1]] + y

    def seen_by(self, convolution: nn.Conv1d, x: Tensor) -> Tensor:
        """Pick the frames at the centre of the convolution's window, or at its end if causal."""
        reach = convolution.dilation[0] * (convolution.kernel_size[0] - 1)
        return x[..., reach if self.causal else reach // 2 :: convolution.stride[0]]
