"""Every model in every offered precision, in inference and training: it works, or one sentence says why not."""

import copy
import functools
import re

import pytest
import torch

from liftbench import create_model, list_models
from liftbench.baselines import registry
from liftbench.baselines.errors import InputError
from liftbench.baselines.training import loop
from liftbench.baselines.training.recipe import read_recipe
from liftbench.bench.measure.calls import Timed

# One small model for each class and each of its switches; it runs the same code.
SMALL = {
    "posemamba_s": {"embed_dim": 16, "depth": 2}, "posemamba_s_bs_bt": {"embed_dim": 16, "depth": 2},
    "pose3dm_s": {"embed_dim": 8, "bottleneck": 32}, "mdtf_tiny": {"embed_dim": 16, "depth": 2},
    "lstm": {"hidden_dim": 16}, "transformer": {"d_model": 16, "num_encoder_layers": 1},
    "transformer_published": {"d_model": 16, "num_encoder_layers": 1}, "mlp": {},
    "motionagformer_xs": {"embed_dim": 16, "depth": 2, "rep_dim": 16}, "mixste": {"embed_dim": 16, "depth": 2},
    "motionbert_lite": {"embed_dim": 16, "depth": 2, "rep_dim": 16}, "stcformer_27": {"embed_dim": 16, "depth": 2},
    "poseformerv2_27": {"embed_dim": 8, "depth": 2}, "videopose3d_27": {"channels": 16},
}  # fmt: skip
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# A prediction of order 1 through a few blocks whose every product is rounded to 8 or 11 bits.
TOLERANCE = {"float32": 0, "bfloat16": 0.1, "float16": 0.02}
ONE_SENTENCE = r"Cannot run an LSTM in b?float16: this processor has none\. Use float32 or a GPU\."


@functools.cache
def made(name):
    """Return (model, clip, its prediction in float32), made once for all tests."""
    torch.manual_seed(0)
    model = create_model(name, frames=9, **SMALL[name])
    clip = torch.rand(2, 9, 17, registry.entry(name).channels) * 2 - 1
    return model, clip, run(model, clip, training=False)


def run(model, clip, training):
    """Return a prediction in float32; in training, with a backward pass whose gradients are finite."""
    if not training:
        with torch.inference_mode():
            return model.eval()(clip).float()
    model.eval()  # no stochastic depth, so that predictions can be compared
    pose = model(clip)
    pose.float().square().mean().backward()
    assert all(value.grad.isfinite().all() for value in model.parameters() if value.grad is not None)
    return pose.detach().float()


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("way", ["autocast", "weights"])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", SMALL)
def test_every_model_in_every_precision(name, precision, way, training):
    (model, clip, expected), dtype = made(name), PRECISIONS[precision]
    model = copy.deepcopy(model)
    if way == "weights":
        model, clip = model.to(dtype), clip.to(dtype)
    with torch.autocast("cpu", dtype, enabled=way == "autocast" and precision != "float32"):
        try:
            found = run(model, clip, training)
        except NotImplementedError as error:
            assert name == "lstm" and way == "autocast" and re.fullmatch(ONE_SENTENCE, str(error))
            return
    difference = (found - expected).abs().max() / expected.abs().max()
    flips = name == "mdtf_tiny" and precision != "float32"  # bones change their class and so their features
    assert difference <= (1 if flips else max(TOLERANCE[precision], 1e-5))


def test_the_small_models_stand_for_all_variants():
    builders = {registry.entry(name).builder for name in list_models()}
    assert {registry.entry(name).builder for name in SMALL} == builders


class WithoutHalves(torch.nn.LSTM):
    """An LSTM that fails as PyTorch's does on a processor without one in half precision."""

    def forward(self, *_):
        if torch.is_autocast_enabled("cpu"):
            raise RuntimeError("could not create a primitive descriptor for the LSTM forward propagation primitive.")
        return super().forward(*_)


@pytest.fixture
def lstm_without_halves(monkeypatch):
    monkeypatch.setattr(torch.nn, "LSTM", WithoutHalves)


def test_a_missing_lstm_is_an_input_error_of_training(lstm_without_halves, synthetic_dataset, tmp_path):
    recipe = read_recipe("toy/lstm").model_copy(update={"precision": "bfloat16"})
    with pytest.raises(InputError, match=ONE_SENTENCE):
        loop.train(recipe, synthetic_dataset, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_a_missing_lstm_is_an_input_error_of_measuring(lstm_without_halves):
    with pytest.raises(InputError, match=ONE_SENTENCE):
        Timed("lstm", 9, dtype="bfloat16")
