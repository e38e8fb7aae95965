"""Metrics by hand, the batched alignment against official values, and the whole protocol against the official run."""

import numpy as np
import pytest
import torch

from liftbench import Human36M, score
from liftbench.baselines.errors import InputError
from liftbench.baselines.evaluation import inference, metrics
from support import GOLDEN
from support.data import perfect


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("h36m") / "data.pkl"
    path.write_bytes((GOLDEN / "h36m_sh_conf_cam_source_final.pkl").read_bytes())
    return Human36M(path)


@pytest.fixture(scope="module")
def protocol():
    return np.load(GOLDEN / "h36m_protocol.npz")


def test_p_mpjpe_per_frame_as_official():
    golden = np.load(GOLDEN / "losses.npz")
    predicted, target = (golden[key].reshape(-1, 17, 3) for key in ("prediction", "target"))
    np.testing.assert_allclose(metrics.p_mpjpe(predicted, target), golden["p_mpjpe_per_frame"], rtol=0, atol=1e-12)


def test_alignment_undoes_a_similarity_but_no_reflection():
    draw = np.random.default_rng(0)
    target = draw.normal(size=(50, 17, 3))
    rotation = np.linalg.qr(draw.normal(size=(50, 3, 3)))[0]
    rotation *= np.sign(np.linalg.det(rotation))[:, None, None]
    moved = 2.5 * target @ rotation + draw.normal(size=(50, 1, 3))
    np.testing.assert_allclose(metrics.p_mpjpe(moved, target), 0, atol=1e-12)
    assert metrics.p_mpjpe(moved * [-1, 1, 1], target).min() > 0.1
    assert metrics.n_mpjpe(3 * target, target).max() < 1e-12


def test_alignment_of_a_point_goes_to_the_centre():
    target = np.random.default_rng(0).normal(size=(2, 17, 3))
    aligned = metrics.align(np.ones_like(target), target)
    np.testing.assert_allclose(aligned, np.broadcast_to(target.mean(1, keepdims=True), target.shape), atol=1e-12)


def test_errors_by_hand():
    target = np.zeros((4, 17, 3))
    predicted = target.copy()
    predicted[:, 5] = [3, 0, 4]
    np.testing.assert_allclose(metrics.mpjpe(predicted, target), 5 / 17)
    np.testing.assert_allclose(metrics.velocity_errors(predicted, target), 0)
    predicted = np.arange(4.0)[:, None, None] ** 2 * np.array([1.0, 0, 0]) * np.ones((17, 1))
    np.testing.assert_allclose(metrics.velocity_errors(predicted, target), [1, 3, 5])
    np.testing.assert_allclose(metrics.acceleration_errors(predicted, target), [2, 2])


def test_official_protocol(dataset, protocol):
    result = score(dataset, protocol["prediction_normalized"], dataset.clips("test", 27))
    assert result["mpjpe_mm"] == pytest.approx(float(protocol["mpjpe"]), rel=1e-6)
    assert result["p_mpjpe_mm"] == pytest.approx(float(protocol["p_mpjpe"]), rel=1e-6)
    for i, action in enumerate(protocol["actions"]):
        assert result["mpjpe_mm_per_action"][action] == pytest.approx(protocol["mpjpe_per_action"][i], rel=1e-6)
        assert result["p_mpjpe_mm_per_action"][action] == pytest.approx(protocol["p_mpjpe_per_action"][i], rel=1e-6)
    assert np.mean(list(result["mpjpe_mm_per_joint"].values())) == pytest.approx(result["mpjpe_mm"])
    assert result["variants"]["official"]["mpjpe_mm"] == result["mpjpe_mm"] == result.mpjpe_mm
    assert list(result) == result.keys() == [*{**result}] and "auc_percent" not in result and "mpjpe_mm" in result
    with pytest.raises(KeyError):
        result["auc_percent"]


def test_the_truth_scores_zero(dataset):
    frames = dataset.clips("test", 27)
    result = score(dataset, perfect(dataset, frames), frames)
    rounding = 1e-2  # mm, of float32 in the file
    assert result["mpjpe_mm"] < rounding and result["variants"]["official"]["mpjve_mm_per_frame"] < rounding


def shift_of(dataset, frames, millimetres):
    """Return a normalised offset of all joints but the root along x that is `millimetres` in every frame."""
    width = dataset.camera_resolution("test", frames)[..., 0]
    offset = millimetres / dataset.factors("test", frames) / width * 2
    shift = np.zeros((*frames.shape, 17, 3))
    shift[..., 1:, 0] = offset[..., None]
    return shift


def test_variants_by_hand(dataset):
    """An error of 17/16 * s mm on 16 joints is an MPJPE of s. Give every source its own s and average by hand."""
    frames = dataset.clips("test", 27)
    codes, names = dataset.sources("test")
    sources = codes[frames[:, 0]]
    size = 10.0 + 10 * sources
    shift = shift_of(dataset, frames, 17 / 16 * size[:, None])
    result = score(dataset, perfect(dataset, frames) + shift, frames)

    excluded = np.char.startswith(np.array(names)[sources], "s_09_act_05_subact_02")
    assert excluded.any() and not excluded.all()
    action = dataset.actions("test")[0][frames[:, 0]]
    by_action = [size[(action == code) & ~excluded].mean() for code in np.unique(action)]
    assert result["mpjpe_mm"] == pytest.approx(np.mean(by_action), rel=1e-5)
    assert result["variants"]["frame-wise"]["mpjpe_mm"] == pytest.approx(size[~excluded].mean(), rel=1e-5)
    by_action = [size[action == code].mean() for code in np.unique(action)]
    assert result["variants"]["with excluded takes"]["mpjpe_mm"] == pytest.approx(np.mean(by_action), rel=1e-5)


def test_frames_covered_twice_count_with_their_mean(dataset):
    frames = dataset.clips("test", 27)[:1]
    twice = np.concatenate([frames, frames])
    truth = perfect(dataset, twice)
    shift = shift_of(dataset, twice, 17 / 16 * np.array([[10.0], [30.0]]))
    assert score(dataset, truth + shift, twice)["mpjpe_mm"] == pytest.approx(20, rel=1e-4)


def test_velocity_of_a_jump(dataset):
    """A step of 17 mm on one joint between two frames: 1 mm once in 26 velocities, twice 1 mm in 25 accelerations."""
    frames = dataset.clips("test", 27)[:1]
    truth = perfect(dataset, frames)
    step = np.zeros_like(truth)
    step[:, 10:, 3] = shift_of(dataset, frames, 17.0)[:, 10:, 3]
    official = score(dataset, truth + step, frames)["variants"]["official"]
    assert official["mpjve_mm_per_frame"] == pytest.approx(1 / 26, abs=1e-3)
    assert official["acceleration_error_mm_per_frame2"] == pytest.approx(2 / 25, abs=1e-3)


def test_predictions_that_do_not_fit(dataset):
    frames = dataset.clips("test", 27)
    with pytest.raises(InputError, match=r"Give shape \(11, 27, 17, 3\)"):
        score(dataset, np.zeros((11, 26, 17, 3)), frames)
    broken = np.zeros((*frames.shape, 17, 3))
    broken[3, 4, 5, 0] = np.nan
    with pytest.raises(InputError, match="not finite"):
        score(dataset, broken, frames)
    excluded = frames[[3, 4]]
    with pytest.raises(InputError, match="excluded takes"):
        score(dataset, np.zeros((2, 27, 17, 3)), excluded)


def test_mirror_is_its_own_inverse_and_swaps_sides():
    pose = torch.randn(2, 3, 17, 3)
    mirrored = inference.mirror(pose)
    torch.testing.assert_close(inference.mirror(mirrored), pose)
    torch.testing.assert_close(mirrored[:, :, 4], pose[:, :, 1] * torch.tensor([-1.0, 1, 1]))
    torch.testing.assert_close(mirrored[:, :, 16], pose[:, :, 13] * torch.tensor([-1.0, 1, 1]))
    torch.testing.assert_close(mirrored[:, :, 8], pose[:, :, 8] * torch.tensor([-1.0, 1, 1]))
