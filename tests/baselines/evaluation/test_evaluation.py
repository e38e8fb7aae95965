"""Evaluation by VideoPose3D's protocol, with models whose errors are known by hand; clips and centre frames alike."""

import dataclasses

import numpy as np
import pytest
import torch

from liftbench import create_model, score
from liftbench.baselines.data.formats.videopose3d import VideoPose3D
from liftbench.baselines.errors import InputError
from liftbench.baselines.evaluation import inference
from liftbench.baselines.registry import MODELS
from liftbench.baselines.skeleton import FLIP
from liftbench.baselines.synthetic import motionbert, videopose3d
from liftbench.baselines.training import checkpoint
from liftbench.baselines.weights.trained import open_weights
from liftbench.bench import records
from liftbench.bench.measure import calls
from liftbench.bench.runs import accuracy

FRAMES = 27


class TruthAsInput(VideoPose3D):
    """Show the network the answer."""

    def inputs(self, split, index):
        return self.targets(split, index)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return videopose3d.write(tmp_path_factory.mktemp("videopose3d"), frames=motionbert.FEWEST_FRAMES)


@pytest.fixture(scope="module")
def dataset(folder):
    return shortened(TruthAsInput(folder), recordings=20)


def shortened(dataset, recordings):
    """The data set with only the first recordings of its test split, to save time."""
    part = dataset._splits["test"]
    part.bounds = part.bounds[: recordings + 1]
    return dataset


class Offset(torch.nn.Module):
    """Answers with its input moved by `offset`, (17, 3) metres; for a window, with the centre frame."""

    def __init__(self, offset, centre):
        super().__init__()
        self.offset, self.centre = torch.as_tensor(offset, dtype=torch.float32), centre

    def forward(self, keypoints):
        middle = keypoints.shape[1] // 2
        return (keypoints[:, middle : middle + 1] if self.centre else keypoints) + self.offset


@pytest.fixture(params=["clips", "centre frames"])
def kind(request, monkeypatch):
    """Yield a registered name for the fake models, and whether they answer only the centre frame."""
    like = MODELS["mlp"] if request.param == "centre frames" else MODELS["posemamba_toy"]
    monkeypatch.setitem(MODELS, "fake", dataclasses.replace(like, channels=3))
    return "fake", like.output == "centre"


def test_a_perfect_model_has_no_error(dataset, kind):
    name, centre = kind
    result = inference.evaluate(Offset(np.zeros((17, 3)), centre), name, dataset, FRAMES)
    assert {*result["variants"]} == {"official", "frame-wise", "without flip"}
    for row in result["variants"].values():
        assert max(row.values()) < 1e-3
    assert max(result["mpjpe_mm_per_joint"].values()) < 1e-3
    assert result["test_frames"] == dataset.frames("test"), "every frame counts"
    assert (result["test_clips"] == dataset.frames("test")) == centre
    assert 150 < result["mean_pose_mpjpe_mm"] < 400
    assert inference.quick_mpjpe(Offset(np.zeros((17, 3)), centre), name, dataset, FRAMES) < 1e-3


def test_a_constant_offset_of_one_joint(dataset, kind):
    """34 mm down on the thorax alone are 2 mm over 17 joints. The mirror image has the same error, and
    nothing moves.
    """
    name, centre = kind
    offset = np.zeros((17, 3))
    offset[8, 1] = 0.034
    result = inference.evaluate(Offset(offset, centre), name, dataset, FRAMES)
    for row in result["variants"].values():
        assert row["mpjpe_mm"] == pytest.approx(2, abs=1e-3)
        assert row["mpjve_mm_per_frame"] < 1e-3 and row["acceleration_error_mm_per_frame2"] < 1e-3
    assert result["mpjpe_mm_per_joint"]["thorax"] == pytest.approx(34, abs=1e-3)
    codes, names = dataset.actions("test")
    assert set(result["mpjpe_mm_per_action"]) == {names[code] for code in codes[: dataset.frames("test")]}
    assert all(value == pytest.approx(2, abs=1e-3) for value in result["mpjpe_mm_per_action"].values())


def test_the_mirrored_average_halves_an_offset_to_one_side(dataset, kind):
    """17 mm to the right on the left knee are 17 mm to the left on the right knee in the mirror; the average
    leaves half.
    """
    name, centre = kind
    offset = np.zeros((17, 3))
    offset[5, 0] = 0.017
    result = inference.evaluate(Offset(offset, centre), name, dataset, FRAMES)
    assert result["variants"]["without flip"]["mpjpe_mm"] == pytest.approx(1, abs=1e-3)
    assert result["mpjpe_mm"] == pytest.approx(1, abs=1e-3)
    assert result["mpjpe_mm_per_joint"]["left_knee"] == pytest.approx(8.5, abs=1e-3)
    assert result["mpjpe_mm_per_joint"]["right_knee"] == pytest.approx(8.5, abs=1e-3)
    offset[FLIP[5]] = offset[5]  # the two errors cancel out in the average
    result = inference.evaluate(Offset(offset, centre), name, dataset, FRAMES)
    assert result["variants"]["without flip"]["mpjpe_mm"] == pytest.approx(2, abs=1e-3)
    assert result["mpjpe_mm"] < 1e-3


def test_an_error_of_the_root_is_not_counted(dataset):
    frames = np.arange(40)[:, None]
    predictions = dataset.targets("test", frames)
    predictions[..., 0, :] += 1
    assert score(dataset, predictions, frames)["mpjpe_mm"] < 1e-3


def test_the_mean_over_actions_is_official_and_that_over_frames_beside_it(dataset):
    """Every action has its own error; the one with the most frames weighs more in the mean over frames."""
    codes, names = dataset.actions("test")
    every = np.arange(dataset.frames("test"))
    frames = every[(codes == codes.max()) | (every % 3 == 0)][:, None]
    codes = codes[frames]
    size = 10.0 + 5 * codes  # mm
    predictions = dataset.targets("test", frames)
    predictions[..., 1:, 0] += (17 / 16 * size / 1000)[..., None]
    result = score(dataset, predictions, frames)
    assert result["variants"]["frame-wise"]["mpjpe_mm"] == pytest.approx(size.mean(), rel=1e-5)
    by_action = {names[code]: 10.0 + 5 * code for code in np.unique(codes)}
    mean = np.mean(list(by_action.values()))
    assert result["mpjpe_mm"] == result["variants"]["official"]["mpjpe_mm"] == pytest.approx(mean, rel=1e-5)
    assert abs(size.mean() - mean) > 0.3, "actions differ in their number of frames"
    assert result["mpjpe_mm_per_action"] == pytest.approx(by_action, rel=1e-5)


def test_the_record(folder, tmp_path):
    dataset = shortened(VideoPose3D(folder, "gt"), recordings=2)
    file = tmp_path / "weights.pth"
    torch.save({"model": create_model("lstm", frames=3).state_dict()}, file)
    record = accuracy.evaluate(open_weights(file, "lstm", 3, "gt"), dataset, "cpu", "reference")
    assert (record.data.protocol, record.data.input, record.data.name) == ("h36m_videopose3d", "gt", folder.name)
    assert record.data.sha256 == dataset.digest and record.data.origin["kind"] == "synthetic"
    assert record.data.test_frames == dataset.frames("test")
    assert record.pck_150mm_percent is None and record.mpjpe_mm > 10
    records.append(tmp_path / "accuracy.jsonl", record)
    assert records.read(tmp_path) == [record]


def test_weights_of_other_data_are_refused(folder, tmp_path):
    """Their answers have other units."""
    file = tmp_path / "weights.safetensors"
    known = {"model": "lstm", "frames": 3, "numbers": {}, "input": "gt", "data": "h36m"}
    checkpoint.write_weights(file, create_model("lstm", frames=3).state_dict(), known)
    with pytest.raises(
        InputError, match="Cannot evaluate .*weights.safetensors on .* trained on h36m, this is h36m_videopose3d"
    ):
        accuracy.evaluate(open_weights(file), VideoPose3D(folder, "gt"), "cpu", "reference")


def test_weights_that_are_not_there(tmp_path):
    with pytest.raises(
        InputError, match="Cannot read .*nothing: there is no such run folder or weights file. Check the path"
    ):
        open_weights(tmp_path / "nothing")


def test_end_to_end_is_timed_on_these_data_too(folder):
    poses = calls.Timed("mlp", 9, dataset=VideoPose3D(folder, "gt")).on(3)()
    assert poses.shape == (3, 1, 17, 3) and not poses[..., 0, :].any() and 10 < np.abs(poses).max() < 1e4


def test_data_that_do_not_say_what_they_are_count_as_released_only_if_as_long(folder, monkeypatch):
    dataset = VideoPose3D(folder)
    dataset.origin = {}
    assert accuracy.data_of(dataset, 1, 1).origin == {"kind": "unidentified"}
    lengths = {split: dataset.frames(split) for split in ("train", "test")}
    monkeypatch.setattr(VideoPose3D, "RELEASE_FRAMES", lengths)
    assert accuracy.data_of(dataset, 1, 1).origin == {}
