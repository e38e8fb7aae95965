"""MDTF: parity of both stages and of the features between them, counts, and training stage by stage."""

import numpy as np
import pytest
import torch

from liftbench import kernels
from liftbench.baselines.skeleton import BONES, PARENTS
from liftbench.bench.measure import cost
from liftbench.mdtf import (
    MDTF,
    BoneAware,
    Refinement,
    bone_class_loss,
    bone_class_scores,
    bone_features,
    polar_classes,
)
from liftbench.mdtf import model as mdtf_model
from support import GOLDEN

# The official code in float32 meets these outputs within 1e-5; they are stored as float32, hence 1e-6 in float64.
PARITY = {torch.float32: 5e-5, torch.float64: 1e-6}

TINY, LARGE = {"embed_dim": 64, "depth": 8}, {"embed_dim": 128, "depth": 12}
SMALL = {"embed_dim": 16, "depth": 2}
CELLS = 243 * 17


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("scan", ["auto", "chunked", "reference"])
@pytest.mark.parametrize("dtype", PARITY)
@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_parity(stage, dtype, scan):
    arrays = np.load(GOLDEN / f"papers/mdtf_{stage}_small.npz")
    model = BoneAware(32, 3) if stage == "stage1" else Refinement(27, 32, 3)
    model.load_state_dict({key[6:]: torch.tensor(arrays[key]) for key in arrays.files if key.startswith("state/")})
    model.to(dtype).eval()
    with kernels.using(scan), torch.no_grad():
        output = model(torch.tensor(arrays["input"]).to(dtype))
    assert (output - torch.tensor(arrays["output"])).abs().max() < PARITY[dtype]


def test_bone_features_parity():
    arrays = np.load(GOLDEN / "papers/mdtf_bone_features.npz")
    logits, keypoints = torch.tensor(arrays["logits"]), torch.tensor(arrays["input"])
    features = torch.tensor(arrays["features"])
    torch.testing.assert_close(bone_features(logits, keypoints.double()), features, rtol=0, atol=1e-12)
    torch.testing.assert_close(bone_features(logits, keypoints).double(), features, rtol=1e-6, atol=1e-6)


def test_polar_classes_parity():
    arrays = np.load(GOLDEN / "papers/mdtf_polar_classes.npz")
    assert torch.equal(polar_classes(torch.tensor(arrays["pose3d"])), torch.tensor(arrays["classes"]))


def test_bones_are_those_of_the_skeleton():
    assert mdtf_model.BONES == BONES == tuple((parent, joint) for joint, parent in enumerate(PARENTS) if parent >= 0)


def posed(angle_degrees):
    """Make a pose whose bones all point at this angle from +z, (1, 1, 17, 3) float64."""
    angle = torch.tensor(angle_degrees, dtype=torch.float64).deg2rad()
    pose = torch.zeros(1, 1, 17, 3, dtype=torch.float64)
    for parent, child in mdtf_model.BONES:
        pose[..., child, :] = pose[..., parent, :] + torch.stack([torch.zeros(()), angle.sin(), angle.cos()])
    return pose


@pytest.mark.parametrize("angle, expected", [(0, 0), (29, 0), (31, 1), (89, 2), (91, 3), (149, 4), (151, 5), (180, 5)])
def test_polar_classes_by_hand(angle, expected):
    assert polar_classes(posed(angle)).flatten().tolist() == [0] + 16 * [expected]


def test_bone_features_by_hand():
    """Bones one unit up the image, of class 4: polar angle 135 degrees, so they come towards the camera by one unit."""
    keypoints = posed(90).float() + 0.25
    keypoints[..., 2] = 0.9  # confidence
    logits = torch.nn.functional.one_hot(polar_classes(posed(135)), 6).float()
    features = bone_features(logits, keypoints)
    assert torch.equal(features[..., :3], keypoints)
    torch.testing.assert_close(features[0, 0, :16, 3:], torch.tensor([0.5, 0.75, 2**0.5]).expand(16, 3))
    assert (features[0, 0, 16, 3:] == 0).all()


def test_bone_class_scores_by_hand():
    """Four frames of 16 bones: 48 truly of class 0 and 16 of class 1; 32 and 16 of them right, 16 called class 2."""
    true, predicted = torch.zeros(1, 4, 17, dtype=torch.int64), torch.zeros(1, 4, 17, dtype=torch.int64)
    true[:, 3, 1:], predicted[:, 3, 1:] = 1, 1
    predicted[:, 2, 1:] = 2
    predicted[:, :, 0] = 5  # row 0 belongs to no bone
    scores = bone_class_scores(predicted, true)
    assert scores == {
        "accuracy": pytest.approx(48 / 64),
        "precision": pytest.approx((1 + 1 + 0) / 3),
        "recall": pytest.approx((32 / 48 + 1 + 0) / 3),
        "f1": pytest.approx((2 * 32 / (48 + 32) + 1 + 0) / 3),
    }


def block_macs(channels):
    """thop sees two linear layers of a block per cell and, at 4 per element, its two norms."""
    return 4 * channels**2 + 2 * 4 * channels


def test_costs_of_stage_1():
    model = BoneAware()
    widths = [64, 32, 16, 8, 6]
    macs = 3 * 64 + sum(2 * block_macs(c) + 2 * 4 * c + c * after for c, after in zip(widths, widths[1:]))
    assert parameters(model) == 110_526
    assert cost.count_by_thop(model, torch.zeros(1, 243, 17, 3)).macs == CELLS * macs == 203_773_968


@pytest.mark.parametrize("numbers, count, macs", [(TINY, 823_269, 1_855_182_528), (LARGE, 4_313_781, 10_563_198_336)])
def test_costs_of_stage_2(numbers, count, macs):
    model = Refinement(243, **numbers)
    c, depth = numbers["embed_dim"], numbers["depth"]
    graph_convolution = 4 * c + 2 * c * c + 4 * c  # its norm, U and V, BatchNorm
    blocks = (2 * depth + 2) * (block_macs(c) + 4 * c) + 2 * depth * graph_convolution
    assert parameters(model) == count
    by_thop = cost.count_by_thop(model, torch.zeros(1, 243, 17, 6)).macs
    assert by_thop == CELLS * (2 * 3 * c + blocks + 2 * c * 2 + 4 * c + 3 * c) == macs


def test_contractions_of_a_mixer_are_counted():
    """thop misses the projections, the convolution and the scan of both streams of every mixer."""
    c, rank, states = 16, 1, 16
    seen = cost.count(mdtf_model.Mixer(c), torch.zeros(5, 17, c))
    stream = 4 * c + c * (rank + 2 * states) + rank * c
    assert seen.contraction_macs.total() == 5 * 17 * (2 * c * c + 2 * stream + c * c)
    assert seen.scans == {(c, 17, states, True): 2 * 5}


@pytest.mark.parametrize("numbers, published", [(TINY, 0.9), (LARGE, 4.4)])
def test_the_published_parameters_are_those_of_both_stages(numbers, published):
    assert round(parameters(MDTF(243, **numbers)) / 1e6, 1) == published


def test_whole_model_is_its_stages():
    torch.manual_seed(0)
    model = MDTF(9, **SMALL).eval()
    keypoints = torch.randn(2, 9, 17, 3)
    with torch.no_grad():
        expected = model.refinement(bone_features(model.bone_aware(keypoints), keypoints))
        assert torch.equal(model(keypoints), expected)
    assert set(model.state_dict()) == {
        *(f"bone_aware.{key}" for key in model.bone_aware.state_dict()),
        *(f"refinement.{key}" for key in model.refinement.state_dict()),
    }


def test_stages_train_one_by_one():
    torch.manual_seed(0)
    model = MDTF(9, **SMALL).train()
    assert not model.bone_aware.training and model.refinement.training
    keypoints, target = torch.randn(2, 9, 17, 3), torch.randn(2, 9, 17, 3)
    model(keypoints).pow(2).sum().backward()
    assert all(parameter.grad is None for parameter in model.bone_aware.parameters())

    loss = bone_class_loss(model.bone_aware.train()(keypoints), target)
    loss.backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all() and parameter.grad.any(), key


def test_stage_1_learns():
    """It learns to tell bones that point to the camera from bones that point away; here they stand at
    different places.
    """
    torch.manual_seed(0)
    stage = BoneAware(16, 2)
    optimizer = torch.optim.AdamW(stage.parameters(), lr=1e-2)
    pose = torch.cat([posed(20), posed(160)]).float()
    keypoints = torch.stack([torch.full((1, 17, 3), -0.5), torch.full((1, 17, 3), 0.5)])
    for _ in range(30):
        optimizer.zero_grad()
        bone_class_loss(stage(keypoints), pose).backward()
        optimizer.step()
    predicted = stage.eval()(keypoints).argmax(-1)
    assert bone_class_scores(predicted, polar_classes(pose))["accuracy"] == 1


def test_fusion_starts_as_the_mean_of_both_branches():
    fusion = Refinement(9, **SMALL).fusion
    assert (fusion(torch.randn(3, 32)).softmax(-1) == 0.5).all()


def test_the_second_graph_is_the_first_with_its_joints_renamed():
    forward = mdtf_model.GraphConvolution(8, reversed_joints=False).adjacency
    backward = mdtf_model.GraphConvolution(8, reversed_joints=True).adjacency
    for i in range(17):
        for j in range(17):
            assert backward[16 - i, 16 - j] == forward[i, j]
    assert (forward.diagonal() == 0).all() and torch.equal(forward, forward.T)
    assert forward[0, 1] == pytest.approx((3 * 2) ** -0.5), "the pelvis has three neighbours, the hip two"


def test_scan_parameters_start_as_in_mamba():
    torch.manual_seed(0)
    mixer = mdtf_model.Mixer(64)
    for A_log, D, dt_proj in ((mixer.A_log, mixer.D, mixer.dt_proj), (mixer.A_b_log, mixer.D_b, mixer.dt_proj_b)):
        torch.testing.assert_close(A_log.exp()[5], torch.arange(1.0, 17.0))
        assert (D == 1).all()
        delta = torch.nn.functional.softplus(dt_proj.bias)
        assert 1e-3 * 0.99 < delta.min() < 5e-3 and 0.03 < delta.max() < 1e-1 * 1.01
        assert 0.9 * 0.5 < dt_proj.weight.abs().max() <= 0.5  # R = 4, R^-0.5 = 0.5
