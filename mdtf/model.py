"""MDTF: Mamba-driven topology fusion for monocular 3D human pose estimation (Zheng et al., arXiv:2505.20611).

Axes: B clips, T frames, J = 17 joints, C model channels, N = 16 states, R = ceil(C / 16) rank of delta; a mixer reads S
sequences of length L: the 17 joints of each frame (S = B * T), or the T frames of each joint (S = B * J).

The model has two stages. The first classifies how steeply every bone points away from the camera, in 6 classes. These
classes turn the bones into spherical coordinates, which join the keypoints. The second stage estimates the pose. There
is one official checkpoint per stage; its keys are the parameter names of `bone_aware` or `refinement`.

Departures from the official code, with reasons:
- The official second stage stops with an AttributeError: it calls the graph convolution of the reversed stream, but the
  two modules `norm_gcn_b` and `gcn_b` are commented out in the mixer. This file builds them; the parameter counts then
  match the paper.
- A bone that points exactly along -z, at 180 degrees, gets class 5. The official code gives it class 6 of 0..5.
- A clip may be shorter than the configuration's T, as in PoseMamba.

The mixers hold linear and convolution modules but pass their weights to functions. thop counts only the modules that
are called. Its figures for a mixer therefore cover the graph convolutions alone, in the official code and in ours.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from liftbench.kernels import bidirectional_scan, refuse_script
from liftbench.kernels.block import Linear, Mlp, add_branch, linear, steps_conv_silu
from liftbench.posemamba.model import JOINTS, DropPath

STATES = 16
CONV_WIDTH = 4
DROP_PATH = 0.1
POLAR_CLASSES = 6  # of 30 degrees each
BONE_AWARE_CHANNELS, BONE_AWARE_DEPTH = 64, 4  # the first stage is the same in Tiny and Large

# Parent and child of every bone, in the order of the classes and features.
BONES = (
    (0, 1), (1, 2), (2, 3), (0, 4), (4, 5), (5, 6), (0, 7), (7, 8), (8, 9), (9, 10), (8, 11), (11, 12), (12, 13),
    (8, 14), (14, 15), (15, 16),
)  # fmt: skip


class Mixer(nn.Module):
    """The average of Mamba over a sequence and over its reversal; x: (S, L, C) -> (S, L, C)."""

    scans = True
    __prepare_scriptable__ = refuse_script

    def __init__(self, channels: int):
        super().__init__()
        self.in_proj = nn.Linear(channels, 2 * channels, bias=False)
        self.conv1d, self.conv1d_b = (nn.Conv1d(channels, channels, CONV_WIDTH, groups=channels) for _ in range(2))
        rank = math.ceil(channels / 16)
        self.x_proj, self.x_proj_b = (nn.Linear(channels, rank + 2 * STATES, bias=False) for _ in range(2))
        self.dt_proj, self.dt_proj_b = (nn.Linear(rank, channels) for _ in range(2))
        self.A_log, self.A_b_log = (nn.Parameter(torch.empty(channels, STATES)) for _ in range(2))
        self.D, self.D_b = (nn.Parameter(torch.empty(channels)) for _ in range(2))
        self.out_proj = nn.Linear(channels, channels, bias=False)
        self.reset_scan_parameters()

    @torch.no_grad()
    def reset_scan_parameters(self) -> None:
        """Initialise as in Mamba: A = -(1..N), D = 1, softplus(dt bias) log-uniform in [1e-3, 1e-1]."""
        for A_log, D, dt_proj in ((self.A_log, self.D, self.dt_proj), (self.A_b_log, self.D_b, self.dt_proj_b)):
            A_log.copy_(torch.arange(1, STATES + 1).log().expand_as(A_log))
            D.fill_(1)
            dt_proj.weight.uniform_(-(dt_proj.in_features**-0.5), dt_proj.in_features**-0.5)
            delta = torch.empty_like(dt_proj.bias).uniform_(math.log(1e-3), math.log(1e-1)).exp().clamp(min=1e-4)
            dt_proj.bias.copy_(delta + torch.log(-torch.expm1(-delta)))  # the inverse of softplus

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, z = linear(x, self.in_proj.weight).chunk(2, dim=-1)
        x, x_b = self.inputs(x)
        y = bidirectional_scan(
            _stream(steps_conv_silu(x, self.conv1d.weight, self.conv1d.bias),
                    self.x_proj, self.dt_proj, self.A_log, self.D),
            _stream(steps_conv_silu(x_b, self.conv1d_b.weight, self.conv1d_b.bias, reverse=True),
                    self.x_proj_b, self.dt_proj_b, self.A_b_log, self.D_b),
        )  # fmt: skip
        return linear(y.transpose(1, 2) * F.silu(z) / 2, self.out_proj.weight)

    def inputs(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the inputs of the two streams, both in the order of the sequence; x: (S, L, C)."""
        return x, x


def _stream(
    u: torch.Tensor, x_proj: nn.Linear, dt_proj: nn.Linear, A_log: torch.Tensor, D: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Return the arguments of one scan, in the order of the sequence; u: (S, L, C)."""
    low_rank, B, C = linear(u, x_proj.weight).split([dt_proj.in_features, STATES, STATES], dim=-1)
    delta = linear(low_rank, dt_proj.weight)
    u, delta, B, C = (tensor.transpose(1, 2) for tensor in (u, delta, B, C))
    return u, delta, -torch.exp(A_log), B[:, None], C[:, None], D, dt_proj.bias


class GraphConvolution(nn.Module):
    """ReLU(x + BatchNorm over the joints (A V(x) + U(x))), A the normalised adjacency; x: (S, 17, C) -> (S, 17, C).

    reversed_joints: row 16 - j of x holds joint j of the skeleton.
    """

    counted_as = "graph convolution"  # in tables of costs

    def __init__(self, channels: int, reversed_joints: bool):
        super().__init__()
        self.U, self.V = (Linear(channels, channels) for _ in range(2))
        for layer in (self.U, self.V):
            nn.init.normal_(layer.weight, std=math.sqrt(2 / channels))
        self.batch_norm = nn.BatchNorm1d(JOINTS)
        adjacency = torch.zeros(JOINTS, JOINTS)
        for parent, child in BONES:
            adjacency[parent, child] = adjacency[child, parent] = 1
        scale = adjacency.sum(0) ** -0.5
        adjacency = scale[:, None] * adjacency * scale  # D^-1/2 A D^-1/2, no self loops
        self.register_buffer("adjacency", adjacency.flip(0, 1) if reversed_joints else adjacency, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(x + self.batch_norm(self.adjacency @ self.V(x) + self.U(x)))


class GraphMixer(Mixer):
    """A mixer over the 17 joints; each stream first passes a graph convolution. x: (S, 17, C) -> (S, 17, C)."""

    def __init__(self, channels: int):
        super().__init__(channels)
        self.norm_gcn, self.norm_gcn_b = (nn.LayerNorm(channels) for _ in range(2))
        self.gcn = GraphConvolution(channels, reversed_joints=False)
        self.gcn_b = GraphConvolution(channels, reversed_joints=True)

    def inputs(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.gcn(self.norm_gcn(x)), self.gcn_b(self.norm_gcn_b(x.flip(1))).flip(1)


class Block(nn.Module):
    """x + mamba(norm1(x)), then x + mlp(norm2(x)); x: (S, L, C) -> (S, L, C)."""

    def __init__(self, channels: int, drop_path: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.mamba = Mixer(channels)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = Mlp(channels)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.drop_path(self.mamba(self.norm1(x)))
        return add_branch(x, self.norm2, self.mlp, self.drop_path)


class GraphBlock(nn.Module):
    """`Block` with the graph mixer and its official parameter names; x: (S, 17, C) -> (S, 17, C)."""

    def __init__(self, channels: int, drop_path: float):
        super().__init__()
        self.mambanorm1 = nn.LayerNorm(channels, eps=1e-6)
        self.gcnmamba = GraphMixer(channels)
        self.mambanorm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = Mlp(channels)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.drop_path(self.gcnmamba(self.mambanorm1(x)))
        return add_branch(x, self.mambanorm2, self.mlp, self.drop_path)


def _over_joints(block: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Run a block on the 17 joints of each frame; x: (B, T, J, C)."""
    return block(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def _over_frames(block: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Run a block on the T frames of each joint; x: (B, T, J, C)."""
    return _over_joints(block, x.transpose(1, 2)).transpose(1, 2)


class BoneAware(nn.Module):
    """Stage 1, the paper's bone aware module.

    keypoints: (B, T, 17, 3), image coordinates in [-1, 1] and confidence -> logits (B, T, 17, 6) of the classes that
    `polar_classes` defines. T is arbitrary. Every further depth has half the channels.
    """

    headline = "accuracy"  # the score by which training chooses the best epoch

    def __init__(self, channels: int = BONE_AWARE_CHANNELS, depth: int = BONE_AWARE_DEPTH):
        super().__init__()
        widths = [channels // 2**i for i in range(depth)]
        rates = torch.linspace(0, DROP_PATH, depth).tolist()
        self.Spatial_patch_to_embedding = nn.Linear(3, channels)
        self.STEblocks, self.TTEblocks = (
            nn.ModuleList(Block(width, rate) for width, rate in zip(widths, rates)) for _ in range(2)
        )
        self.Spatial_norm, self.Temporal_norm = (
            nn.ModuleList(nn.LayerNorm(width, eps=1e-6) for width in widths) for _ in range(2)
        )
        self.mlp = nn.ModuleList(nn.Linear(*pair) for pair in zip(widths, widths[1:] + [POLAR_CLASSES]))

    def forward(self, keypoints: torch.Tensor) -> torch.Tensor:
        x = self.Spatial_patch_to_embedding(keypoints)
        for spatial, spatial_norm, temporal, temporal_norm, narrow in zip(
            self.STEblocks, self.Spatial_norm, self.TTEblocks, self.Temporal_norm, self.mlp
        ):
            x = spatial_norm(_over_joints(spatial, x))
            x = narrow(temporal_norm(_over_frames(temporal, x)))
        return x

    @staticmethod
    def loss(logits: torch.Tensor, pose: torch.Tensor) -> torch.Tensor:
        """See `bone_class_loss`."""
        return bone_class_loss(logits, pose)

    @staticmethod
    def scores(logits: torch.Tensor, pose: torch.Tensor) -> dict[str, float]:
        """Apply `bone_class_scores` to logits (B, T, 17, 6) and true poses (B, T, 17, 3)."""
        return bone_class_scores(logits.argmax(-1), polar_classes(pose))


def polar_classes(pose: torch.Tensor) -> torch.Tensor:
    """Compute the target of stage 1: the angle between each bone and +z, in steps of 30 degrees.

    pose: (B, T, 17, 3), any unit, camera frame (z away from the camera) -> (B, T, 17) int64. Row 0 has class 0; row
    i + 1 has the class, 0 .. 5, of bone i. A bone of length zero has class 0.
    """
    bones = _bones(pose)
    angle = torch.rad2deg(torch.atan2(torch.linalg.vector_norm(bones[..., :2], dim=-1), bones[..., 2]))
    classes = angle.div(180 / POLAR_CLASSES, rounding_mode="floor").long().clamp(max=POLAR_CLASSES - 1)
    return F.pad(classes, (1, 0))


def bone_class_loss(logits: torch.Tensor, pose: torch.Tensor) -> torch.Tensor:
    """Compute the loss of stage 1, cross entropy over all 17 rows; logits: (B, T, 17, 6), pose: (B, T, 17, 3)."""
    return F.cross_entropy(logits.flatten(0, 2), polar_classes(pose).flatten())


def bone_class_scores(predicted: torch.Tensor, true: torch.Tensor) -> dict[str, float]:
    """Score the classes of the 16 bones -> {"accuracy", "precision", "recall", "f1"}, each in [0, 1].

    predicted, true: (B, T, 17) int64, as `polar_classes` returns them. Row 0 belongs to no bone and does not count.
    Precision, recall and F1 are means over the classes that occur, predicted or true. A score whose denominator is
    zero counts as zero.
    """
    predicted, true = predicted[:, :, 1:].flatten(), true[:, :, 1:].flatten()
    confusion = torch.bincount(POLAR_CLASSES * true + predicted, minlength=POLAR_CLASSES**2).double()
    confusion = confusion.view(POLAR_CLASSES, POLAR_CLASSES)  # rows: true; columns: predicted
    right, true, predicted = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    occurs = true + predicted > 0
    return {
        "accuracy": (right.sum() / confusion.sum()).item(),
        "precision": (right / predicted.clamp(min=1))[occurs].mean().item(),
        "recall": (right / true.clamp(min=1))[occurs].mean().item(),
        "f1": (2 * right / (true + predicted).clamp(min=1))[occurs].mean().item(),
    }


def _bones(joints: torch.Tensor) -> torch.Tensor:
    """Child minus parent; joints: (B, T, 17, coordinates) -> (B, T, 16, coordinates)."""
    parents, children = zip(*BONES)
    return joints[:, :, list(children)] - joints[:, :, list(parents)]


def bone_features(logits: torch.Tensor, keypoints: torch.Tensor) -> torch.Tensor:
    """Build the input of stage 2: the keypoints, followed by every bone in spherical coordinates.

    logits: (B, T, 17, 6); keypoints: (B, T, 17, 3) -> (B, T, 17, 6). Row i adds bone i to keypoint i: azimuth and
    polar angle in units of pi, then the length in the keypoints' unit. Row 16 adds zeros. The polar angle is the
    middle of the likeliest class; together with the bone's length in the image it gives the depth. No gradient
    reaches the logits. The polar angle is float32 for any keypoints, as in the official code. Half-precision
    keypoints are converted to float32, and their features are rounded once.
    """
    polar = (2 * logits[:, :, 1:].argmax(-1) + 1).float() / (2 * POLAR_CLASSES)
    bones = _bones(keypoints[..., :2].to(torch.promote_types(keypoints.dtype, torch.float32)))
    depth = torch.linalg.vector_norm(bones, dim=-1) / torch.tan(polar * math.pi)
    features = torch.stack(
        [
            torch.atan2(bones[..., 1], bones[..., 0]) / math.pi,
            polar.to(bones.dtype),
            torch.linalg.vector_norm(torch.cat([bones, depth[..., None]], dim=-1), dim=-1),
        ],
        dim=-1,
    )
    return torch.cat([keypoints, F.pad(features, (0, 0, 0, 1)).to(keypoints.dtype)], dim=-1)


class Refinement(nn.Module):
    """Stage 2, the paper's spatiotemporal refinement module.

    features: (B, T, 17, 6) from `bone_features` -> (B, T, 17, 3), camera frame, normalised like the training targets.
    A clip shorter than `frames` uses the first T temporal embeddings. Raises ValueError for a longer clip.
    """

    def __init__(self, frames: int, embed_dim: int, depth: int):
        super().__init__()
        self.frames = frames
        self.Spatial_patch_to_embedding1 = nn.Linear(3, embed_dim)
        self.Spatial_patch_to_embedding2 = nn.Linear(3, embed_dim)
        self.Spatial_pos_embed = nn.Parameter(torch.zeros(1, JOINTS, embed_dim))
        self.Temporal_pos_embed = nn.Parameter(torch.zeros(1, frames, embed_dim))
        rates = torch.linspace(0, DROP_PATH, depth).tolist()
        self.STEblocks = nn.ModuleList(GraphBlock(embed_dim, rate) for rate in rates)
        self.TTEblocks = nn.ModuleList(Block(embed_dim, rate) for rate in rates)
        self.Spatial_norm = nn.LayerNorm(embed_dim, eps=1e-6)  # the two norms are shared by all depths
        self.Temporal_norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.limbSpatialMamba, self.limbTemporalMamba = (Block(embed_dim, rates[0]) for _ in range(2))
        self.limbSpatialNorm, self.limbTemporalNorm = (nn.LayerNorm(embed_dim, eps=1e-6) for _ in range(2))
        self.fusion = nn.Linear(2 * embed_dim, 2)
        nn.init.zeros_(self.fusion.weight)
        nn.init.constant_(self.fusion.bias, 0.5)
        self.head = nn.Sequential(nn.LayerNorm(embed_dim, eps=1e-5), nn.Linear(embed_dim, 3))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        frames = features.shape[1]
        if frames > self.frames:
            raise ValueError(
                f"Cannot read a clip of {frames} frames: this model was built for at most {self.frames}. Cut the clip."
            )
        joints = self.Spatial_patch_to_embedding1(features[..., :3]) + self.Spatial_pos_embed
        joints = self.Spatial_norm(_over_joints(self.STEblocks[0], joints))
        joints = joints + self.Temporal_pos_embed[:, :frames, None]
        joints = self.Temporal_norm(_over_frames(self.TTEblocks[0], joints))

        bones = self.Spatial_patch_to_embedding2(features[..., 3:])
        bones = self.limbSpatialNorm(_over_joints(self.limbSpatialMamba, bones))
        bones = self.limbTemporalNorm(_over_frames(self.limbTemporalMamba, bones))

        weights = self.fusion(torch.cat([joints, bones], dim=-1)).softmax(dim=-1)
        x = weights[..., :1] * joints + weights[..., 1:] * bones
        for spatial, temporal in zip(self.STEblocks[1:], self.TTEblocks[1:]):
            x = self.Spatial_norm(_over_joints(spatial, x))
            x = self.Temporal_norm(_over_frames(temporal, x))
        return self.head(x)


class MDTF(nn.Module):
    """Both stages, `bone_aware` and `refinement`.

    keypoints: (B, T, 17, 3), image coordinates in [-1, 1] and confidence -> (B, T, 17, 3), camera frame, normalised
    like the training targets. embed_dim and depth are those of the second stage. Raises ValueError for a clip longer
    than `frames`.

    The first stage returns classes, so no gradient reaches it from the second. It stays in evaluation mode here; train
    it separately with `bone_class_loss`.
    """

    def __init__(self, frames: int, embed_dim: int, depth: int):
        super().__init__()
        self.frames = frames
        self.bone_aware = BoneAware()
        self.refinement = Refinement(frames, embed_dim, depth)

    def train(self, mode: bool = True) -> "MDTF":
        """Set the mode of the second stage only; the first stays in evaluation mode."""
        super().train(mode)
        self.bone_aware.eval()
        return self

    def forward(self, keypoints: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            logits = self.bone_aware(keypoints)
        return self.refinement(bone_features(logits, keypoints))
