"""Wrappers around weights are stripped and named; hostile files are refused quickly and in one sentence."""

import json
import pickle
import time

import pytest
import safetensors.torch
import torch

from liftbench import create_model, load_weights
from liftbench.baselines.errors import InputError
from liftbench.baselines.weights import torch_checkpoint
from liftbench.baselines.weights.convert import convert, inspect
from liftbench.baselines.weights.metadata import read_metadata
from liftbench.baselines.weights.read import read_checkpoint


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return create_model("mlp", frames=3)


def wrapped(model, prefix):
    return {f"{prefix}{key}": value for key, value in model.state_dict().items()}


def averaged(model):
    return torch.optim.swa_utils.AveragedModel(model).state_dict()


def counted_by_thop(model):
    extra = {
        f"{name}total_{what}": torch.zeros(1).double() for name in ("", "fc1.", "fc2.") for what in ("ops", "params")
    }
    return model.state_dict() | extra


@pytest.mark.parametrize(
    ("make", "stripped"),
    [
        (lambda model: model.state_dict(), []),
        (lambda model: wrapped(model, "_orig_mod."), ["the prefix _orig_mod."]),
        (lambda model: wrapped(model, "module.module."), ["the prefix module.module."]),
        (lambda model: wrapped(model, "_orig_mod.module.net."), ["the prefix _orig_mod.module.net."]),
        (lambda model: {"state_dict": wrapped(model, "model.")}, ["state_dict", "the prefix model."]),
        (lambda model: {"epoch": 3, "model_state_dict": wrapped(model, "")}, ["model_state_dict"]),
        (lambda model: {"net": {"state_dict": wrapped(model, "net.")}}, ["net", "state_dict", "the prefix net."]),
        (averaged, ["the prefix module.", "1 n_averaged"]),
        (counted_by_thop, ["3 total_ops", "3 total_params"]),
    ],
)
def test_wrappers_are_stripped_and_named(model, make, stripped, tmp_path):
    path = tmp_path / "wrapped.pt"
    torch.save(make(model), path)
    found = load_weights(create_model("mlp", frames=3), path).state_dict()
    assert all(torch.equal(found[key], value) for key, value in model.state_dict().items())
    assert read_checkpoint(path).stripped == stripped
    rows = dict(inspect(path))
    assert rows["fits"].startswith("mlp:") and rows.get("stripped", "") == ", ".join(stripped)
    _, provenance = convert([path], tmp_path / "out.safetensors")
    assert provenance["sources"][0]["stripped"] == stripped


def test_a_prefix_of_the_models_own_stays(tmp_path):
    class Mine(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Linear(2, 3)

    source = Mine()
    torch.save({f"module.{key}": value for key, value in source.state_dict().items()}, tmp_path / "mine.pt")
    assert torch.equal(load_weights(Mine(), tmp_path / "mine.pt").net.weight, source.net.weight)


@pytest.mark.parametrize("prefix", ["", "lifter.", "backbone.deep."])
@pytest.mark.parametrize(
    ("name", "numbers"), [("posemamba_s", {"depth": 9}), ("lstm", {}), ("mdtf_tiny", {"depth": 7})]
)
def test_the_nearest_model_has_most_in_common(name, numbers, prefix, tmp_path):
    state = create_model(name, frames=9, **numbers).state_dict()
    state = {f"{prefix}{key}": value for key, value in state.items()} | {"extra": torch.zeros(1)}
    torch.save(state, tmp_path / "odd.pt")
    assert dict(inspect(tmp_path / "odd.pt"))["nearest"].startswith(f"{name}: ")


def refused(path, message):
    began = time.monotonic()
    for use in (read_checkpoint, inspect, lambda file: convert([file], file.with_name("out.safetensors"))):
        with pytest.raises(InputError, match=message) as error:
            use(path)
        assert "\n" not in str(error.value) and len(str(error.value)) < 600
    assert time.monotonic() - began < 20
    assert not list(path.parent.glob("out.*"))


DTYPES = ["complex64", "bool", "uint8", "float8_e4m3fn"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_tensors_that_no_model_has(model, dtype, suffix, tmp_path):
    state = model.state_dict() | {"fc2.bias": torch.zeros(51).to(getattr(torch, dtype))}
    path = tmp_path / f"odd.{suffix}"
    torch.save(state, path) if suffix == "pt" else safetensors.torch.save_file(state, path)
    refused(path, f"entry 'fc2.bias' is a tensor of torch.{dtype}, which no model here has|no sound safetensors")


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (0, "it has a key of the type int, not text"),
        (10**5000, "a key in it is neither text nor a number"),
        ((1, 2), "a key in it is neither text nor a number"),
        ("k" * 1000, "fits no registered model|k{100}"),
        ("two\nlines", "two lines|fits no"),
    ],
    ids=["int", "large", "tuple", "long", "lines"],
)
def test_odd_keys(key, message, tmp_path):
    path = tmp_path / "odd.pt"
    torch.save({key: torch.zeros(1)}, path)
    if isinstance(key, str):
        with pytest.raises(InputError, match=message) as error:
            convert([path], tmp_path / "out.safetensors")
        assert "\n" not in str(error.value) and len(str(error.value)) < 1000
    else:
        refused(path, message)


def test_a_key_whose_hash_takes_for_ever(tmp_path):
    key = ()
    for _ in range(60):
        key = (key, key)
    path = tmp_path / "slow.pt"
    path.write_bytes(b"\x80\x02}" + pickle.dumps(key, protocol=2)[2:-1] + b"K\x01s.")  # {key: 1}
    refused(path, "a key in it is neither text nor a number")


class Calls:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("call", [Calls(bytearray, 10**11), Calls(set, [1, 2])])
def test_calls_that_cost_more_than_they_are_long(call, model, tmp_path):
    path = tmp_path / "costly.pt"
    torch.save(model.state_dict() | {"x": call}, path, pickle_protocol=3)
    refused(path, "it asks to run (builtins|__builtin__).(bytearray|set). Save the weights alone")


def test_a_pickle_that_runs_too_long(tmp_path, monkeypatch):
    monkeypatch.setattr(torch_checkpoint, "_MOST_INSTRUCTIONS", 20_000)
    path = tmp_path / "long.pt"
    path.write_bytes(b"\x80\x02" + b"N0" * 20_000 + b"N.")
    refused(path, "longer than any checkpoint")


def test_nested_metadata_is_text(model, tmp_path):
    path = tmp_path / "nested.safetensors"
    metadata = {"note": "[" * 100_000, "numbers": "[" * 9_000, "model": json.dumps("mlp")}
    safetensors.torch.save_file(model.state_dict(), path, metadata)
    assert dict(inspect(path))["fits"].startswith("mlp:")
    with pytest.raises(InputError, match="it gives its numbers as") as error:
        read_metadata(path)
    assert len(str(error.value)) < 400
    safetensors.torch.save_file(model.state_dict(), path, {"model": "PoseMamba", "author": "somebody"})
    assert read_metadata(path) == {}
