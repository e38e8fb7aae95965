"""Centre-frame baselines of the LSTM / Transformer lifting repository: an LSTM, a Transformer and an MLP.

Axes: B clips, T frames, J = 17 joints, C model channels. Each maps (B, T, 17, 2) image coordinates in [-1, 1] to
(B, 1, 17, 3), the root-relative pose of the centre frame. Parameter names are those of the official checkpoints.

Departures: the Transformer's encoder attends over frames; as published it is not batch-first although its input is,
so attention runs across the clips of a batch. `across_clips=True` reproduces that.
"""

import math

import torch
from torch import nn

JOINTS = 17


def _centre(poses):
    return poses.view(-1, 1, JOINTS, 3)


class LSTM(nn.Module):
    """`LSTM_PoseNet`: a one-layer LSTM over the frames; its last hidden state gives the pose.

    Raises NotImplementedError under autocast on a processor whose PyTorch has no LSTM in that precision.
    """

    def __init__(self, frames, hidden_dim=512):
        super().__init__()
        self.frames = frames
        self.lstm = nn.LSTM(JOINTS * 2, hidden_dim, batch_first=True)
        self.fc = nn.Linear(hidden_dim, JOINTS * 3)

    def forward(self, keypoints):
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
    """Adds the sinusoidal table of Vaswani et al. 2017 (section 3.5), kept as a buffer."""

    def __init__(self, frames, channels):
        super().__init__()
        angle = torch.arange(frames)[:, None] * torch.exp(-math.log(1e4) / channels * torch.arange(0, channels, 2))
        table = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)
        self.register_buffer("permanent_pe", table[None])

    def forward(self, x):
        return x + self.permanent_pe[:, : x.shape[1]]


class Transformer(nn.Module):
    """`SimpleTransformerPoseNet`: a Transformer encoder over the frames, averaged over time.

    across_clips=True is the published behaviour: a prediction then depends on the other clips of its batch.
    Raises ValueError when d_model is no multiple of nhead, and when a clip is longer than `frames`.
    """

    def __init__(self, frames, d_model=256, nhead=8, num_encoder_layers=3, across_clips=False):
        super().__init__()
        if nhead < 1 or d_model % nhead:
            raise ValueError(f"d_model {d_model} is no multiple of nhead {nhead}")
        self.frames = frames
        self.input_linear = nn.Linear(JOINTS * 2, d_model)
        self.pos_encoder = SinusoidalPositions(frames, d_model)
        layer = nn.TransformerEncoderLayer(d_model, nhead, dim_feedforward=512, batch_first=not across_clips)
        self.transformer_encoder = nn.TransformerEncoder(layer, num_encoder_layers, enable_nested_tensor=False)
        self.output_linear = nn.Linear(d_model, JOINTS * 3)

    def forward(self, keypoints):
        if keypoints.shape[1] > self.frames:
            raise ValueError(f"the clip has {keypoints.shape[1]} frames but this model was built for {self.frames}")
        x = self.pos_encoder(self.input_linear(keypoints.flatten(2)))
        return _centre(self.output_linear(self.transformer_encoder(x).mean(dim=1)))


class MLP(nn.Module):
    """`SimplePoseNet`: all frames and joints flattened, one hidden layer of 1024, ReLU. Takes exactly `frames` frames.

    Raises ValueError when a clip has any other number of frames.
    """

    def __init__(self, frames):
        super().__init__()
        self.frames = frames
        self.fc1 = nn.Linear(frames * JOINTS * 2, 1024)
        self.fc2 = nn.Linear(1024, JOINTS * 3)

    def forward(self, keypoints):
        if keypoints.shape[1] != self.frames:
            raise ValueError(f"the clip has {keypoints.shape[1]} frames but this model takes exactly {self.frames}")
        return _centre(self.fc2(torch.relu(self.fc1(keypoints.flatten(1)))))
