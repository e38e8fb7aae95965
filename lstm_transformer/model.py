"""The centre-frame baselines of the LSTM / Transformer lifting repository: an LSTM, a Transformer and an MLP.

Axes: B clips, T frames, J = 17 joints, C model channels. Each model maps keypoints, (B, T, 17, 2) image coordinates in
[-1, 1], to the pose of the centre frame: (B, 1, 17, 3), camera frame, root-relative, in the unit of the training
targets. Parameter names are those of the official checkpoints.

Departure from the official code: the Transformer attends over frames. The published encoder expects frames first but
receives clips first, so it attends across the clips of a batch. `across_clips=True` reproduces that.
"""

import math

import torch
from torch import nn

JOINTS = 17


def _centre(poses: torch.Tensor) -> torch.Tensor:
    return poses.view(-1, 1, JOINTS, 3)


class LSTM(nn.Module):
    """`LSTM_PoseNet`: a one-layer LSTM over the frames; its last hidden state gives the pose.

    Raises NotImplementedError under autocast if PyTorch has no LSTM of that precision for this processor.
    """

    def __init__(self, frames: int, hidden_dim: int = 512):
        super().__init__()
        self.frames = frames
        self.lstm = nn.LSTM(JOINTS * 2, hidden_dim, batch_first=True)
        self.fc = nn.Linear(hidden_dim, JOINTS * 3)

    def forward(self, keypoints: torch.Tensor) -> torch.Tensor:
        try:
            _, (hidden, _) = self.lstm(keypoints.flatten(2))
        except RuntimeError as error:
            if "could not create a primitive" not in str(error):
                raise
            dtype = str(torch.get_autocast_dtype("cpu")).removeprefix("torch.")
            raise NotImplementedError(
                f"Cannot run an LSTM in {dtype}: this processor has none. Use float32 or a GPU."
            ) from error
        return _centre(self.fc(hidden[-1]))


class SinusoidalPositions(nn.Module):
    """Add the sinusoidal table of Vaswani et al. 2017 (section 3.5); x: (B, T, C) -> (B, T, C)."""

    def __init__(self, frames: int, channels: int):
        super().__init__()
        angle = torch.arange(frames)[:, None] * torch.exp(-math.log(1e4) / channels * torch.arange(0, channels, 2))
        table = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)
        self.register_buffer("permanent_pe", table[None])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.permanent_pe[:, : x.shape[1]]


class Transformer(nn.Module):
    """`SimpleTransformerPoseNet`: a Transformer encoder over the frames, averaged over time.

    across_clips=True reproduces the published behaviour: a prediction depends on the other clips of its batch.
    Raises ValueError for a d_model that nhead does not divide, and for a clip longer than `frames`.
    """

    def __init__(
        self,
        frames: int,
        d_model: int = 256,
        nhead: int = 8,
        num_encoder_layers: int = 3,
        across_clips: bool = False,
    ):
        super().__init__()
        if nhead < 1 or d_model % nhead:
            raise ValueError(
                f"Cannot build a Transformer with d_model {d_model} and nhead {nhead}: nhead must divide d_model. "
                "Change one of them."
            )
        self.frames = frames
        self.input_linear = nn.Linear(JOINTS * 2, d_model)
        self.pos_encoder = SinusoidalPositions(frames, d_model)
        layer = nn.TransformerEncoderLayer(d_model, nhead, dim_feedforward=512, batch_first=not across_clips)
        self.transformer_encoder = nn.TransformerEncoder(layer, num_encoder_layers, enable_nested_tensor=False)
        self.output_linear = nn.Linear(d_model, JOINTS * 3)

    def forward(self, keypoints: torch.Tensor) -> torch.Tensor:
        frames = keypoints.shape[1]
        if frames > self.frames:
            raise ValueError(
                f"Cannot read a clip of {frames} frames: this model was built for at most {self.frames}. Cut the clip."
            )
        x = self.pos_encoder(self.input_linear(keypoints.flatten(2)))
        return _centre(self.output_linear(self.transformer_encoder(x).mean(dim=1)))


class ResidualBlock(nn.Module):
    """Two layers beside a shortcut, as Martinez et al. 2017 (figure 1) lift single poses."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.fc2(torch.relu(self.fc1(self.norm(x))))


class MLP(nn.Module):
    """`SimplePoseNet`: flatten all frames and joints, one hidden layer of 1024, ReLU.

    width: of the hidden layer; blocks: residual blocks behind it, which the published network does not have.
    Raises ValueError for a clip that does not have exactly `frames` frames.
    """

    def __init__(self, frames: int, width: int = 1024, blocks: int = 0):
        super().__init__()
        self.frames = frames
        self.fc1 = nn.Linear(frames * JOINTS * 2, width)
        self.blocks = nn.Sequential(*(ResidualBlock(width) for _ in range(blocks)))
        self.fc2 = nn.Linear(width, JOINTS * 3)

    def forward(self, keypoints: torch.Tensor) -> torch.Tensor:
        frames = keypoints.shape[1]
        if frames != self.frames:
            raise ValueError(
                f"Cannot read a clip of {frames} frames: this model takes exactly {self.frames}. Cut or pad the clip."
            )
        return _centre(self.fc2(torch.relu(self.blocks(self.fc1(keypoints.flatten(1))))))
