"""Weights in 16 bits."""

import pytest
import torch

from liftbench import create_model
from liftbench.baselines.errors import InputError
from liftbench.baselines.training.checkpoint import write_weights
from liftbench.baselines.weights.half import halve
from liftbench.baselines.weights.metadata import read_metadata
from liftbench.baselines.weights.trained import open_weights

NUMBERS = {"width": 64, "normalization": "person"}


@pytest.fixture
def saved(tmp_path):
    def save(change=lambda state: None):
        model = create_model("mlp", frames=9, **NUMBERS)
        change(model.state_dict())
        path = tmp_path / "run" / "last.safetensors"
        write_weights(path, model.state_dict(), {"model": "mlp", "frames": 9, "numbers": NUMBERS, "joint_9": "neck"})
        return model.eval(), path

    return save


def test_half_the_size_and_the_same_answers(saved, tmp_path):
    model, path = saved()
    half = halve(path.parent, tmp_path / "half.safetensors")
    assert half.stat().st_size < 0.6 * path.stat().st_size
    found = open_weights(half)
    assert (found.model_name, found.frames, found.numbers, found.joint_9) == ("mlp", 9, NUMBERS, "neck")
    assert {value.dtype for value in found.model.state_dict().values()} == {torch.float32}
    keypoints = torch.rand(4, 9, 17, 2)
    torch.testing.assert_close(found.model.eval()(keypoints), model(keypoints), rtol=0, atol=2e-3)


def test_a_note_says_why_they_are_as_they_are(saved, tmp_path):
    _, path = saved()
    half = halve(path, tmp_path / "half.safetensors", "normalization person: errs less")
    again = halve(half, tmp_path / "again.safetensors")
    for file in (half, again):
        assert read_metadata(file)["note"] == "normalization person: errs less"


def test_a_value_that_16_bits_do_not_hold(saved, tmp_path):
    _, path = saved(lambda state: state["lifter.fc1.bias"].fill_(1e6))
    with pytest.raises(InputError, match="a value in lifter.fc1.bias is too large for 16 bits. Keep the file"):
        halve(path, tmp_path / "half.safetensors")
    assert not (tmp_path / "half.safetensors").exists()
