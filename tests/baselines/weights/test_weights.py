"""Weights files: official layouts, our own, and every way in which one can be wrong."""

import pickle

import numpy as np
import pytest
import safetensors.torch
import torch

from liftbench import create_model, load_weights
from liftbench.baselines.errors import InputError


def small(**numbers):
    torch.manual_seed(numbers.pop("seed", 0))
    return create_model("posemamba_s", frames=9, **{"embed_dim": 16, "depth": 2} | numbers)


@pytest.fixture
def source():
    return small(seed=1)


def assert_same(model, source):
    for key, value in source.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key


def prefixed(model):
    return {f"module.{key}": value for key, value in model.state_dict().items()}


@pytest.mark.parametrize("key", ["model_pos", "model", None])
def test_official_checkpoints(tmp_path, source, key):
    """Write it as the official code does: DataParallel's prefix, optimizer state, a numpy scalar among the numbers."""
    path = tmp_path / "best_epoch.bin"
    optimizer = torch.optim.AdamW(source.parameters())
    state = prefixed(source)
    extra = {"epoch": 7, "lr": 1e-4, "optimizer": optimizer.state_dict(), "min_loss": np.float64(41.8)}
    torch.save({key: state} | extra if key else state, path)
    assert_same(load_weights(small(), path), source)


def test_safetensors(tmp_path, source):
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(source.state_dict(), path)
    assert_same(load_weights(small(), path), source)


def test_every_key_that_does_not_fit_is_named(tmp_path, source):
    state = source.state_dict()
    state["extra.weight"] = state.pop("head.1.bias")
    state["Ds_wrong"] = torch.zeros(1)
    state["Spatial_pos_embed"] = torch.zeros(1, 17, 8)
    path = tmp_path / "wrong.bin"
    torch.save(state, path)
    model = small()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(InputError) as caught:
        load_weights(model, path)
    message = str(caught.value)
    assert "1 missing: head.1.bias" in message
    assert "2 not in the model: extra.weight, Ds_wrong" in message
    assert "1 of another shape: Spatial_pos_embed is (1, 17, 8) but the model has (1, 17, 16)" in message
    assert all(torch.equal(model.state_dict()[key], value) for key, value in before.items()), "nothing was loaded"


def test_another_variant(tmp_path, source):
    path = tmp_path / "small.bin"
    torch.save({"model_pos": prefixed(source)}, path)
    with pytest.raises(InputError, match="Cannot load .* into PoseMamba: .* missing: STEblocks.2"):
        load_weights(small(depth=3), path)


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_hostile_checkpoint_runs_nothing(tmp_path):
    victim = tmp_path / "made_by_the_attack"
    path = tmp_path / "evil.bin"
    torch.save({"model_pos": {"a": torch.zeros(1)}, "epoch": Hostile(victim)}, path)
    with pytest.raises(InputError, match="it asks to run .*. Save the weights alone"):
        load_weights(small(), path)
    path.write_bytes(pickle.dumps(Hostile(victim)))
    victim.unlink(missing_ok=True)
    with pytest.raises(InputError):
        load_weights(small(), path)
    assert not victim.exists()


@pytest.mark.parametrize("suffix", ["bin", "safetensors"])
@pytest.mark.parametrize("share", [0, 0.3, 0.99])
def test_truncated(tmp_path, source, suffix, share):
    path = tmp_path / f"weights.{suffix}"
    if suffix == "bin":
        torch.save(prefixed(source), path)
    else:
        safetensors.torch.save_file(source.state_dict(), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match="Copy it again|Save the weights alone"):
        load_weights(small(), path)


def test_not_weights(tmp_path):
    with pytest.raises(InputError, match="there is no such weights file"):
        load_weights(small(), tmp_path / "missing.bin")
    path = tmp_path / "list.bin"
    torch.save([1, 2], path)
    with pytest.raises(InputError, match="as weights: it holds no dict of tensors"):
        load_weights(small(), path)
    torch.save({"epoch": 3}, path)
    with pytest.raises(InputError, match="entry 'epoch' is of the type int"):
        load_weights(small(), path)
