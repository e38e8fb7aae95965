"""MotionAGFormer: enhancing 3D human pose estimation with a Transformer-GCNFormer network (Mehraban et al., WACV 2024,
arXiv:2310.16288).

Axes: B clips, T frames, J = 17 joints, C model channels, R = 512 channels of the representation; a mixer reads S
sequences of L tokens: the 17 joints of each frame (S = B * T), or the T frames of each joint (S = B * J). Parameter
names are those of the official checkpoints. The official code is licensed under Apache-2.0; this file is written
afresh.

Three oddities of the official code are kept, because the published numbers depend on them. Joint 0 does not see its
neighbour 4, and joint 8 sees neither 11 nor 14. MPI-INF-3DHP uses the same edges, although its joints have another
order. Only the batch norms, with one entry per frame, know the order of the frames.

Departures from the official code, with reasons:
- Temporal neighbours are gathered by index. The official code multiplies by a dense 0/1 matrix and normalises both
  adjacencies with products of two diagonal matrices. The values agree; the costs do not, and our counts are those of
  the gather. Beside linear layers and attention, a layer costs T J C (J + T) MACs for the spatial adjacency and the
  similarities. The official form adds 2 T J (J^2 + T^2) for the diagonal products and T^2 J C for the aggregation,
  15 % of its contractions for B and L at 243 frames.
- If more than two frames are equally similar, the gather takes two of them and the official matrix takes all. Both give
  the same result for a clip that repeats one pose.
- Similarities are float32 under autocast too. In half precision neighbours flip, which visibly moves single poses.
"""

import math
from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liftbench.baselines.models.layers import Attention, Mlp, over_frames, over_joints
from liftbench.posemamba.model import JOINTS

MLP_RATIO = 4
TEMPORAL_NEIGHBOURS = 2  # the frame itself and the most similar other one
LAYER_SCALE = 1e-5

# The joints that each joint sees. As published: 0 does not see 4, and 8 sees neither 11 nor 14.
NEIGHBOURS = (
    (1, 7), (2, 0), (3, 1), (2,), (5, 0), (6, 4), (5,), (0, 8), (7, 9), (8, 10), (9,), (12, 8), (13, 11), (12,),
    (15, 8), (16, 14), (15,),
)  # fmt: skip


class GraphMixer(nn.Module):
    """ReLU(y + BatchNorm over the nodes(A V(y) + U(y))), A the normalised adjacency (paper, equation 6).

    y: (S, nodes, C) -> (S, nodes, C). A subclass computes A V in `aggregate`.
    """

    def __init__(self, channels: int, nodes: int):
        super().__init__()
        self.U, self.V = (nn.Linear(channels, channels) for _ in range(2))
        for linear in (self.U, self.V):
            nn.init.normal_(linear.weight, std=math.sqrt(2 / channels))
        self.batch_norm = nn.BatchNorm1d(nodes)

    def forward(self, y: Tensor) -> Tensor:
        return F.relu(y + self.batch_norm(self.aggregate(y, self.V(y)) + self.U(y)))


class SpatialGraphMixer(GraphMixer):
    """Neighbours come from the skeleton; y: (S, 17, C) -> (S, 17, C)."""

    def __init__(self, channels: int):
        super().__init__(channels, JOINTS)
        adjacency = torch.tensor([[float(j in neighbours) for j in range(JOINTS)] for neighbours in NEIGHBOURS])
        scale = adjacency.sum(1) ** -0.5
        self.register_buffer("adjacency", scale[:, None] * adjacency * scale, persistent=False)  # D^-1/2 A D^-1/2

    def aggregate(self, y: Tensor, values: Tensor) -> Tensor:
        return self.adjacency @ values


class TemporalGraphMixer(GraphMixer):
    """Neighbours are the frames with the most similar features, by dot product; y: (S, T, C) -> (S, T, C).

    The choice has no gradient.
    """

    def aggregate(self, y: Tensor, values: Tensor) -> Tensor:
        device = (
            y.device.type if torch.amp.is_autocast_available(y.device.type) else "cpu"
        )  # a meta device has no autocast
        with torch.no_grad(), torch.autocast(device, enabled=False):
            y = y.to(torch.promote_types(y.dtype, torch.float32))
            nearest = (y @ y.transpose(1, 2)).topk(TEMPORAL_NEIGHBOURS).indices  # (S, T, 2)
        index = nearest.flatten(1)[..., None].expand(-1, -1, values.shape[-1])
        return values.gather(1, index).unflatten(1, nearest.shape[1:]).mean(2)


class Block(nn.Module):
    """x + scale * mixer(norm1 x), then x + scale * mlp(norm2 x), with a scale per channel; x: (S, L, C)."""

    recomputed = "forward"  # by gradient checkpointing

    def __init__(self, channels: int, mixer: nn.Module):
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.mixer = mixer
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels, MLP_RATIO)
        self.layer_scale_1, self.layer_scale_2 = (
            nn.Parameter(torch.full((channels,), LAYER_SCALE)) for _ in range(2)
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.layer_scale_1 * self.mixer(self.norm1(x))
        return x + self.layer_scale_2 * self.mlp(self.norm2(x))


class Layer(nn.Module):
    """A stream of attention beside one of graph convolutions; a weight per token adds them (paper, figure 2).

    x: (B, T, J, C) -> (B, T, J, C), without a residual around the layer.
    """

    def __init__(self, frames: int, channels: int):
        super().__init__()
        self.att_spatial, self.att_temporal = (Block(channels, Attention(channels, bias=False)) for _ in range(2))
        self.graph_spatial = Block(channels, SpatialGraphMixer(channels))
        self.graph_temporal = Block(channels, TemporalGraphMixer(channels, frames))
        self.fusion = nn.Linear(2 * channels, 2)
        nn.init.zeros_(self.fusion.weight)
        nn.init.constant_(self.fusion.bias, 0.5)

    def forward(self, x: Tensor) -> Tensor:
        attention = over_frames(self.att_temporal, over_joints(self.att_spatial, x))
        graph = over_frames(self.graph_temporal, over_joints(self.graph_spatial, x))
        weights = self.fusion(torch.cat([attention, graph], dim=-1)).softmax(dim=-1)
        return weights[..., :1] * attention + weights[..., 1:] * graph


class MotionAGFormer(nn.Module):
    """The whole network (paper, figure 2).

    keypoints: (B, T, 17, 3), image coordinates in [-1, 1] and confidence -> (B, T, 17, 3), camera frame, normalised
    like the training targets. `rep_logit` returns the motion representation, (B, T, 17, R). Raises ValueError for
    `frames` below two, and for a clip that does not have exactly `frames` frames.
    """

    def __init__(self, frames: int, embed_dim: int, depth: int, rep_dim: int = 512):
        super().__init__()
        if frames < TEMPORAL_NEIGHBOURS:
            raise ValueError(f"frames must be at least {TEMPORAL_NEIGHBOURS}, not {frames}")
        self.frames = frames
        self.joints_embed = nn.Linear(3, embed_dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, JOINTS, embed_dim))
        self.layers = nn.ModuleList(Layer(frames, embed_dim) for _ in range(depth))
        self.norm = nn.LayerNorm(embed_dim)
        self.rep_logit = nn.Sequential(OrderedDict(fc=nn.Linear(embed_dim, rep_dim), act=nn.Tanh()))
        self.head = nn.Linear(rep_dim, 3)

    def forward(self, keypoints: Tensor) -> Tensor:
        frames = keypoints.shape[1]
        if frames != self.frames:
            raise ValueError(
                f"Cannot read a clip of {frames} frames: this model takes exactly {self.frames}. Cut or pad the clip."
            )
        x = self.joints_embed(keypoints) + self.pos_embed
        for layer in self.layers:
            x = layer(x)
        return self.head(self.rep_logit(self.norm(x)))
