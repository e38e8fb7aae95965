"""Pose3DM: parity with the official implementation, its two layouts and their counts, and the paper's regulariser."""

import json
import math

import numpy as np
import pytest
import torch

from liftbench import kernels
from liftbench.bench.measure import cost
from liftbench.pose3dm import Pose3DM, fractional_total_variation
from liftbench.pose3dm.regularizer import grunwald_letnikov_weights
from liftbench.posemamba.model import DropPath, GridMixer
from support import GOLDEN

GOLDEN = np.load(GOLDEN / "papers/pose3dm_s_small.npz")
OFFICIAL_DEPTH = 5

# The official code in float32 meets these outputs within 1e-5; they are stored as float32, hence 1e-6 in float64.
PARITY = {torch.float32: 5e-5, torch.float64: 1e-6}

VARIANTS = {
    "S": {"embed_dim": 16, "bottleneck": 128, "blocks": 1},
    "B": {"embed_dim": 32, "bottleneck": 256, "blocks": 1},
    "L": {"embed_dim": 64, "bottleneck": 256, "blocks": 2},
}
# Counted on the official code: parameters, by thop, contractions.
OFFICIAL = {
    "S": (3_878_181, (504_819, 2_097_424_368), 2_844_573_552),
    "B": (12_873_269, (1_979_363, 8_200_795_104), 10_080_036_576),
    "L": (46_483_047, (7_429_955, 30_765_044_160), 37_091_224_512),
}
# The parameters that run: those that thop sees, position embeddings, the scans' own; thop cannot see the last two.
USED = {
    "S": (504_819, 74_880, 276_480),
    "B": (1_979_363, 149_760, 645_120),
    "L": (7_429_955, 465_920, 2_121_728),
}


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


STATE = {key[6:]: torch.tensor(GOLDEN[key]) for key in GOLDEN.files if key.startswith("state/")}
LEAN_PARITY = [
    (torch.float32, "auto"), (torch.float32, "chunked"), (torch.float32, "reference"), (torch.float64, "chunked"),
    (torch.float64, "reference"),
]  # fmt: skip


def golden_model(dtype, **numbers):
    """Return the golden model, loaded strictly without the parts that it does not build, and their number of
    parameters.
    """
    assert json.loads(str(GOLDEN["config"])) == {"variant": "s", "num_frame": 27, "depth": 2}
    model = Pose3DM(27, **VARIANTS["S"], **numbers).to(dtype).eval()
    unused = model.unused_official_keys(STATE)
    model.load_state_dict({key: value for key, value in STATE.items() if key not in unused})
    return model, sum(STATE[key].numel() for key in unused)


def error(model, dtype):
    with torch.no_grad():
        return (model(torch.tensor(GOLDEN["input"]).to(dtype)) - torch.tensor(GOLDEN["output"])).abs().max()


@pytest.mark.parametrize("dtype, scan", LEAN_PARITY)
def test_parity(dtype, scan):
    model, _ = golden_model(dtype)
    with kernels.using(scan):
        assert error(model, dtype) < PARITY[dtype]


@pytest.mark.parametrize("dtype", PARITY)
def test_parity_of_the_official_layout(dtype):
    model, _ = golden_model(dtype, official_depth=2)
    with kernels.using("chunked"):
        assert error(model, dtype) < PARITY[dtype]


def test_what_is_left_out_of_an_official_checkpoint():
    lean, left_out = golden_model(torch.float32)
    full, nothing = golden_model(torch.float32, official_depth=2)
    assert nothing == 0
    assert left_out == parameters(full) - parameters(lean) == 756_594
    assert {key for key, _ in full.named_parameters()} - {key for key, _ in lean.named_parameters()} == (
        lean.unused_official_keys(full.state_dict())
    )


def test_only_unused_blocks_are_left_out():
    model = Pose3DM(9, **VARIANTS["S"])
    stage = "encoder_level3.block0"
    unused = {f"{stage}.STEblocks.1.norm.weight", f"{stage}.TTEblocks.12.op.Ds", f"{stage}.head.1.bias"}
    others = {"head.1.bias", f"{stage}.STEblocks.0.op.Ds", f"{stage}.STEblocks.0.extra", "encoder_level4.block0.x"}
    assert model.unused_official_keys(unused | others) == unused


@pytest.mark.parametrize("variant", VARIANTS)
def test_costs_of_both_layouts(variant):
    official_parameters, thop, contraction_macs = OFFICIAL[variant]
    clip = torch.zeros(1, 243, 17, 2)
    for official_depth in (None, OFFICIAL_DEPTH):
        model = Pose3DM(243, **VARIANTS[variant], official_depth=official_depth)
        by_thop = cost.count_by_thop(model, clip)
        assert (by_thop.parameters, by_thop.macs) == thop
        assert cost.count(model, clip).contraction_macs.total() == contraction_macs
        assert parameters(model) == (official_parameters if official_depth else sum(USED[variant]))


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_thop_does_not_see(variant):
    """The scans' own parameters are in use like any other: parity above needs them.

    Counts of the official code that miss them too give 579,699, 2,129,123 and 7,895,875.
    """
    model = Pose3DM(243, **VARIANTS[variant])
    embeddings = sum(value.numel() for key, value in model.named_parameters() if key.endswith("_pos_embed"))
    mixers = [module for module in model.modules() if isinstance(module, GridMixer)]
    scans = sum(value.numel() for mixer in mixers for value in mixer.parameters(recurse=False))
    assert (parameters(model) - embeddings - scans, embeddings, scans) == USED[variant]
    assert parameters(model) - scans == {"S": 579_699, "B": 2_129_123, "L": 7_895_875}[variant]


def test_everything_built_is_used():
    model = Pose3DM(5, embed_dim=8, bottleneck=32, blocks=2)
    assert cost.without_gradient(model, torch.zeros(2, 5, 17, 2)) == []
    drop_paths = [module for module in model.modules() if isinstance(module, DropPath)]
    assert drop_paths and not any(module.p for module in drop_paths), "stochastic depth never acts"


def test_official_layout_runs_its_first_blocks_only():
    model = Pose3DM(3, embed_dim=8, bottleneck=32, blocks=1, official_depth=3)
    unused = cost.without_gradient(model, torch.zeros(1, 3, 17, 2))
    lean = Pose3DM(3, embed_dim=8, bottleneck=32, blocks=1)
    assert set(unused) == lean.unused_official_keys(model.state_dict())


@pytest.mark.parametrize(
    "order, weights",
    [
        (1, [1, -1, 0, 0, 0]),
        (2, [1, -2, 1, 0, 0]),
        (0.5, [1, -1 / 2, -1 / 8, -1 / 16, -5 / 128]),
        (1.5, [1, -3 / 2, 3 / 8, 1 / 16, 3 / 128]),
    ],
)
def test_weights_by_hand(order, weights):
    torch.testing.assert_close(grunwald_letnikov_weights(order, 5), torch.tensor(weights, dtype=torch.float64))
    assert len(grunwald_letnikov_weights(order, 1)) == 1


def test_weights_are_those_of_the_definition():
    """w_k = (-1)^k a (a - 1) ... (a - k + 1) / k!, and half a derivative twice is one derivative."""
    weights = grunwald_letnikov_weights(0.7, 12)
    for k, weight in enumerate(weights.tolist()):
        assert weight == pytest.approx((-1) ** k * math.prod(0.7 - i for i in range(k)) / math.factorial(k), rel=1e-12)
    half = grunwald_letnikov_weights(0.5, 12).numpy()
    np.testing.assert_allclose(np.convolve(half, half)[:12], grunwald_letnikov_weights(1, 12), atol=1e-15)


def test_fractional_total_variation_by_hand():
    """One joint moves from 0 by (3, 4) and on by (3, 4); the others rest, away from the origin."""
    poses = torch.full((1, 3, 17, 3), 7.0, dtype=torch.float64)
    poses[0, :, 5, :2] += torch.tensor([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]])
    lengths = {  # of the difference at frames 1 and 2: |w_0 5|, |w_0 10 + w_1 5|
        1: 5 + 5,
        2: 5 + 0,
        0.5: 5 + 7.5,
        1.5: 5 + 2.5,
    }
    for order, expected in lengths.items():
        assert fractional_total_variation(poses, order).item() == pytest.approx(expected / (2 * 17), rel=1e-12)


def test_fractional_total_variation_has_a_memory():
    """A step of 1 at frame 1 is felt at frame t as w_0 + ... + w_(t-1): 1, 1/2, 3/8 at order one half."""
    poses = torch.zeros(1, 4, 17, 3, dtype=torch.float64)
    poses[0, 1:, 0, 2] = 1
    assert fractional_total_variation(poses, 0.5).item() == pytest.approx((1 + 1 / 2 + 3 / 8) / (3 * 17), rel=1e-12)


def test_fractional_total_variation_limits():
    torch.manual_seed(0)
    poses = torch.randn(2, 6, 17, 3, dtype=torch.float64)
    speed = torch.linalg.vector_norm(poses.diff(dim=1), dim=-1).mean()
    torch.testing.assert_close(fractional_total_variation(poses, 1), speed)
    torch.testing.assert_close(fractional_total_variation(poses + 3, 0.5), fractional_total_variation(poses, 0.5))
    assert fractional_total_variation(poses[:, :1].expand(2, 6, 17, 3), 0.5) == 0
    assert fractional_total_variation(poses[:, :1], 0.5) == 0
    for order in (0, -0.5, 2.5):
        with pytest.raises(ValueError, match="it must be above 0 and at most 2"):
            fractional_total_variation(poses, order)
    few = poses[:1, :3].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: fractional_total_variation(x, 0.5), few)
