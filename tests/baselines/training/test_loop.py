"""Recipes and training: validation, learning, resuming, checkpoints that are never half-written."""

import contextlib
import json
import os
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import safetensors
import torch

from liftbench import create_model, load_weights
from liftbench.baselines import registry
from liftbench.baselines.errors import InputError
from liftbench.baselines.evaluation.inference import evaluate, mirror, quick_mpjpe
from liftbench.baselines.evaluation.protocols import mean_pose_mpjpe
from liftbench.baselines.training import batches, checkpoint
from liftbench.baselines.training.batches import Batches, order_of_epoch
from liftbench.baselines.training.gradient_checkpointing import recompute_blocks
from liftbench.baselines.training.loop import train
from liftbench.baselines.training.recipe import Recipe, read_recipe
from liftbench.baselines.training.schedule import learning_rate
from support import ROOT
from support.in_child import few_clips

CONFIGS = ROOT / "configs"
SMALL = {
    "model": "posemamba_toy", "numbers": {"embed_dim": 16, "depth": 2}, "frames": 9, "stride": 120, "batch_size": 16,
    "loss": {"mpjpe": 1, "n_mpjpe": 0.5, "velocity": 20, "temporal_consistency": 0.5}, "epochs": 3,
    "learning_rate": 2e-3, "weight_decay": 0.01, "learning_rate_decay": 0.9,
}  # fmt: skip
MLP = SMALL | {"model": "mlp", "numbers": {}, "stride": 5, "loss": {"mpjpe": 1}, "batch_size": 64}


def weights_of(folder, name="last"):
    return safetensors.torch.load_file(folder / f"{name}.safetensors")


def assert_equal_weights(a, b):
    assert a.keys() == b.keys()
    for key in a:
        assert torch.equal(a[key], b[key]), key


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONFIGS)))
def test_every_recipe_of_the_project_is_valid(path):
    recipe = read_recipe(path)
    assert registry.entry(recipe.model)
    assert path.stem == recipe.model or "lift" in path.relative_to(CONFIGS).parts, "a variant names its recipe"
    header = path.read_text()
    for word in ("Command: ", "Expected: ", "Source: "):
        assert word in header, f"the header must say {word!r}"


@pytest.mark.parametrize("variant", ["s", "b", "l"])
def test_published_posemamba_recipe(variant):
    """The published training, in full."""
    recipe = read_recipe(f"posemamba_{variant}").model_dump()
    assert recipe == {
        "model": f"posemamba_{variant}", "numbers": {"limb_gradient": "published"}, "frames": 243, "stride": 81,
        "input": "sh", "flip": True, "optimizer": "adamw", "learning_rate": 2e-4, "weight_decay": 0.01,
        "learning_rate_decay": 0.99, "epochs": 120, "batch_size": 4, "seed": 0,
        "loss": {"mpjpe": 1, "n_mpjpe": 0.5, "velocity": 20, "temporal_consistency": 0.5}, "total_variation": None,
        "data": "h36m", "schedule": "exponential", "warmup_epochs": 0, "clip_gradient": None, "ema": None,
        "accumulate": 1, "precision": "float32", "gradient_checkpointing": False, "stage_1": None, "test_stride": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("learning_rat: 1", "there is no setting learning_rat. Did you mean learning_rate"),
        ("epochs: 0", "key epochs: it should be greater than 0"),
        ("loss: {mpje: 1}", "key loss: 'mpje' is not a loss term. Did you mean mpjpe"),
        ("model: posemamba_q", "key model: Cannot find the model 'posemamba_q': no model has that name. Did you mean"),
        ("input: openpose", "key input: it should be 'sh', 'gt' or 'cpn'"),
        ("input: cpn", "yaml: input cpn is not a 2D input of the data h36m. Choose sh or gt"),
        ("data: mpi_inf_3dhp", "yaml: input sh is not a 2D input of the data mpi_inf_3dhp. Choose gt"),
        ("learning_rate: .inf", "key learning_rate: .* finite"),
        ("schedule: cosine", "learning_rate_decay belongs to the exponential schedule. Leave it out of a cosine"),
        (
            "learning_rate_decay: null",
            "learning_rate_decay is missing. Give the factor per epoch of the exponential schedule",
        ),
        ("warmup_epochs: 100", "warmup_epochs 100 leave none of epochs 15"),
        ("ema: 1", "key ema: .* less than 1"),
        ("accumulate: 100000", "accumulate asks for 100000 parts of a batch_size of"),
        ("model: mdtf_tiny", "mdtf_tiny is trained in 2 stages. Write stage_1 beside"),
        (
            "stage_1: {learning_rate: 1, learning_rate_decay: 1, epochs: 1, batch_size: 1}",
            "mlp is trained in 1 stage. Leave stage_1 out",
        ),
        (
            "stage_1: {learning_rate: 1, learning_rate_decay: 1, epochs: 1, batchsize: 1}",
            "no setting stage_1.batchsize. Did you mean batch_",
        ),
        ("total_variation: {order: 2.5, weight: 1}", "key total_variation.order: .* less than or equal to 2"),
        ("total_variation: {order: 0, weight: 1}", "key total_variation.order: .* greater than 0"),
        ("total_variation: {order: .nan, weight: 1}", "key total_variation.order: .* finite"),
        ("total_variation: {order: 0.5, weight: -1}", "key total_variation.weight: .* greater than 0"),
        ("total_variation: {order: 0.5}", "key total_variation.weight: it is missing. Add it"),
        ("total_variation: {order: 0.5, weight: 1, ordr: 1}", "no setting total_variation.ordr. Did you mean order"),
        ("total_variation: {order: 0.5, weight: 1}", "yaml: total_variation compares poses over time, but here mlp"),
        ("frames: [", "Cannot read the recipe .*: line .*expected"),
        ("model: 2020-13-45", "Cannot find the model '2020-13-45'"),
        ("frames: " + "[" * 10_000, "Cannot read the recipe .*: it is nested too deeply"),
        ("epochs: 2\nepochs: 3", "Cannot read the recipe .*: line .*: key epochs is given twice"),
        ("loss: {mpjpe: -1}", "key loss.mpjpe: it should be greater than 0"),
        ("learning_rate_decay: 9.9", "key learning_rate_decay: it should be less than or equal to 1"),
        ("1: 2", "line .*: a key is not a word"),
    ],
)
def test_wrong_recipes(tmp_path, change, message):
    path = tmp_path / "recipe.yaml"
    path.write_text(f"base: mlp\n{change}")
    with pytest.raises(InputError, match=message):
        read_recipe(path)


def test_one_frame_has_no_variation():
    with pytest.raises(ValueError, match="posemamba_toy answers a clip with one pose"):
        Recipe(**SMALL | {"frames": 1, "total_variation": {"order": 0.5, "weight": 1}})


def test_missing_recipe(tmp_path):
    with pytest.raises(InputError, match="Cannot read the recipe"):
        read_recipe(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(InputError, match="key: value"):
        read_recipe(tmp_path / "list.yaml")


def test_batches_of_a_sequence_model_are_clips_and_of_a_centre_model_windows(synthetic_dataset):
    clips = Batches(synthetic_dataset, Recipe(**SMALL))
    ((keypoints, targets),) = clips.each([[0, 5]], np.zeros(len(clips), bool))
    assert keypoints.shape == (2, 9, 17, 2) and targets.shape == (2, 9, 17, 3)
    assert (targets[:, :, 0] == 0).all(), "targets are root-relative"
    windows = Batches(synthetic_dataset, Recipe(**MLP))
    ((keypoints, targets),) = windows.each([[0, 5]], np.zeros(len(windows), bool))
    assert keypoints.shape == (2, 9, 17, 2) and targets.shape == (2, 1, 17, 3)
    assert len(windows) == -(-synthetic_dataset.frames("train") // 5)


@pytest.mark.parametrize("settings", [SMALL, MLP], ids=["posemamba", "mlp"])
def test_a_split_on_the_device_gives_the_batches_that_are_read_ahead(synthetic_dataset, monkeypatch, settings):
    """Some of them are mirrored as by `evaluation.mirror`, input and target alike."""
    recipe = Recipe(**settings)
    read_ahead = Batches(synthetic_dataset, recipe)
    monkeypatch.setattr(batches, "fits_on_device", lambda size, device: True)
    resident = Batches(synthetic_dataset, recipe)
    assert read_ahead.split is None and resident.split
    order, mirrored = order_of_epoch(0, 0, len(resident), flip=True)
    parts = np.array_split(order, 7)
    plain = [pair for part in parts for pair in resident.each([part], np.zeros_like(mirrored))]
    assert sorted(order) == list(range(len(resident))) and 0.3 < mirrored.mean() < 0.7
    pairs = zip(parts, plain, read_ahead.each(parts, mirrored), resident.each(parts, mirrored), strict=True)
    for part, unturned, (keypoints, targets), (others, other_targets) in pairs:
        assert torch.equal(keypoints, others) and torch.equal(targets, other_targets)
        turned = mirrored[part]
        for found, poses in zip((keypoints, targets), unturned, strict=True):
            assert torch.equal(found[turned], mirror(poses[turned])) and torch.equal(found[~turned], poses[~turned])


def test_rates_of_the_schedules():
    """By hand, at the first and last steps of epochs of 10 steps."""
    exponential = Recipe(**SMALL | {"warmup_epochs": 0.5})
    assert learning_rate(exponential, 0, 0, 10) == pytest.approx(2e-3 / 5)
    assert learning_rate(exponential, 0, 4, 10) == learning_rate(exponential, 0, 9, 10) == 2e-3
    assert learning_rate(exponential, 2, 0, 10) == pytest.approx(2e-3 * 0.9**2)
    cosine = Recipe(**SMALL | {"schedule": "cosine", "learning_rate_decay": None, "warmup_epochs": 1})
    assert learning_rate(cosine, 0, 9, 10) == 2e-3
    assert learning_rate(cosine, 1, 0, 10) == 2e-3
    assert learning_rate(cosine, 2, 0, 10) == pytest.approx(1e-3), "half way"
    assert 0 < learning_rate(cosine, 2, 9, 10) < 2e-5


def test_settings_of_better_recipes_train(synthetic_dataset, tmp_path):
    """Warm-up, cosine, a clipped gradient, averaged weights, bfloat16: all at once."""
    better = {
        "schedule": "cosine", "learning_rate_decay": None, "warmup_epochs": 0.5, "clip_gradient": 1, "ema": 0.9,
        "precision": "bfloat16",
    }  # fmt: skip
    dataset = few_clips(synthetic_dataset)
    history, _ = train(Recipe(**SMALL | better | {"batch_size": 4}), dataset, tmp_path, "cpu")
    assert history[-1]["loss"] < 0.8 * history[0]["loss"]
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)
    saved = weights_of(tmp_path)
    assert any(not torch.equal(saved[key], value) for key, value in state["model"].items())
    assert_equal_weights(saved, {key: state["averaged"][f"module.{key}"] for key in saved})
    model = load_weights(create_model("posemamba_toy", frames=9, **SMALL["numbers"]), tmp_path / "last.safetensors")
    assert quick_mpjpe(model, "posemamba_toy", dataset, 9) == pytest.approx(history[-1]["test_mpjpe_mm"])


def test_averaged_weights_by_hand(synthetic_dataset, tmp_path):
    """Epochs of one step: the first average is the weights themselves, the second goes a quarter of the way on."""
    one_step = MLP | {"stride": 50, "batch_size": 10_000}
    for epochs in (1, 2):
        train(Recipe(**one_step | {"epochs": epochs}), synthetic_dataset, tmp_path / str(epochs), "cpu")
    train(Recipe(**one_step | {"epochs": 2, "ema": 0.75}), synthetic_dataset, tmp_path / "averaged", "cpu")
    first, second = weights_of(tmp_path / "1"), weights_of(tmp_path / "2")
    for key, value in weights_of(tmp_path / "averaged").items():
        torch.testing.assert_close(value, 0.75 * first[key] + 0.25 * second[key])


def test_a_clipped_gradient_is_as_long_as_asked(synthetic_dataset, tmp_path, monkeypatch):
    norms = []

    class Watched(torch.optim.AdamW):
        def step(self):
            norms.append(torch.nn.utils.get_total_norm([p.grad for p in self.param_groups[0]["params"]]).item())
            super().step()

    monkeypatch.setattr(torch.optim, "AdamW", Watched)
    train(Recipe(**MLP | {"epochs": 1, "clip_gradient": 1e-3}), synthetic_dataset, tmp_path, "cpu")
    assert norms == pytest.approx([1e-3] * len(norms), rel=1e-3)


def test_parts_of_a_batch_add_up_to_it(synthetic_dataset, tmp_path):
    """Batches of 64, and the smaller last one, in 7 parts have the losses of the whole, up to rounding."""
    settings = MLP | {"stride": 20}
    whole, _ = train(Recipe(**settings), synthetic_dataset, tmp_path / "whole", "cpu")
    parts, _ = train(Recipe(**settings | {"accumulate": 7}), synthetic_dataset, tmp_path / "parts", "cpu")
    assert [row["loss"] for row in parts] == pytest.approx([row["loss"] for row in whole], rel=0, abs=1e-5)
    assert parts[-1]["test_mpjpe_mm"] == pytest.approx(whole[-1]["test_mpjpe_mm"], rel=1e-3)


@contextlib.contextmanager
def saved_tensors():
    """A list of what autograd saves inside."""
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda value: kept.append(value) or value, lambda value: value):
        yield kept


@pytest.mark.parametrize(
    "name",
    ["posemamba_toy", "pose3dm_s", "mdtf_tiny", "transformer", "motionagformer_xs", "motionbert", "videopose3d_27"],
)
def test_recomputed_blocks_keep_less_and_change_nothing(name):
    """Answer, gradients, statistics of BatchNorm and dropped branches stay the same."""
    numbers = {
        "mdtf_tiny": {"embed_dim": 16, "depth": 2}, "transformer": {"num_encoder_layers": 2},
        "motionagformer_xs": {"embed_dim": 16, "depth": 3}, "motionbert": {"embed_dim": 32, "depth": 2},
        "videopose3d_27": {"channels": 64},
    }.get(name, {})  # fmt: skip
    frames, found = max(9, registry.entry(name).shortest), []
    for recomputed in (False, True):
        torch.manual_seed(0)
        model = create_model(name, frames=frames, **numbers).train()
        if recomputed:
            recompute_blocks(model)
        keypoints = torch.randn(4, frames, 17, registry.entry(name).channels)
        with saved_tensors() as kept:
            poses = model(keypoints)
        poses.square().sum().backward()
        gradients = {key: p.grad for key, p in model.named_parameters() if p.grad is not None}
        running = {key: value for key, value in model.named_buffers() if "running" in key}
        found.append(({"poses": poses} | gradients | running, sum(value.nbytes for value in kept)))
    (plain, kept), (again, kept_less) = found
    assert_equal_weights(plain, again)
    assert kept_less < 0.4 * kept


def test_gradient_checkpointing_by_recipe(synthetic_dataset, tmp_path):
    for name, recipe in (("plain", SMALL), ("again", SMALL | {"gradient_checkpointing": True, "ema": 0.5})):
        train(Recipe(**recipe | {"epochs": 1}), few_clips(synthetic_dataset), tmp_path / name, "cpu")
    plain, again = (torch.load(tmp_path / name / "last.ckpt", weights_only=True) for name in ("plain", "again"))
    assert_equal_weights(plain["model"], again["model"])
    with pytest.raises(InputError, match="of MLP: it has no blocks .* Leave gradient_checkpointing out"):
        train(Recipe(**MLP | {"gradient_checkpointing": True}), synthetic_dataset, tmp_path / "mlp", "cpu")
    assert not (tmp_path / "mlp/last.ckpt").exists()


def test_data_of_another_protocol_are_refused(synthetic_dataset, tmp_path):
    recipe = Recipe(**MLP | {"data": "mpi_inf_3dhp", "input": "gt"})
    with pytest.raises(InputError, match="Cannot train on .*: the recipe is for data mpi_inf_3dhp, this is h36m"):
        train(recipe, synthetic_dataset, tmp_path / "run", "cpu")
    assert not (tmp_path / "run").exists()


def test_training_beats_the_mean_pose_and_writes_its_folder(synthetic_dataset, tmp_path):
    recipe = Recipe(**MLP)
    history, trained = train(recipe, synthetic_dataset, tmp_path / "run", "cpu")
    assert trained and [row["epoch"] for row in history] == [0, 1, 2]
    assert history[-1]["loss"] < history[0]["loss"]
    assert [row["learning_rate"] for row in history] == pytest.approx([2e-3, 2e-3 * 0.9, 2e-3 * 0.81])
    log = pd.read_csv(tmp_path / "run/log.csv")
    assert log["test_mpjpe_mm"].tolist() == pytest.approx([row["test_mpjpe_mm"] for row in history])
    assert list((tmp_path / "run").glob("events.*")), "TensorBoard events"
    assert not list((tmp_path / "run").glob("*.tmp")) and not list((tmp_path / "run").glob(".*"))

    model = load_weights(create_model("mlp", frames=9), tmp_path / "run/last.safetensors")
    result = evaluate(model, "mlp", synthetic_dataset, frames=9)
    assert result["variants"]["without flip"]["mpjpe_mm"] == pytest.approx(history[-1]["test_mpjpe_mm"])
    assert result["mpjpe_mm"] < 0.7 * result["mean_pose_mpjpe_mm"]
    assert result["mean_pose_mpjpe_mm"] == mean_pose_mpjpe(synthetic_dataset, synthetic_dataset.clips("test", 9))
    assert set(result["variants"]) == {
        "official", "frame-wise", "with excluded takes", "without flip", "every frame",
    }  # fmt: skip
    assert result["test_frames"] < synthetic_dataset.frames("test"), "tails are not covered officially"


def test_total_variation_is_added_to_the_loss_and_logged(synthetic_dataset, tmp_path):
    """Epochs of one batch: the first loss is that of the initial weights; a large weight then calms the motion."""
    one_batch, dataset = SMALL | {"stride": 40, "batch_size": 10_000, "epochs": 1}, few_clips(synthetic_dataset)
    recipe = Recipe(**one_batch | {"epochs": 2, "total_variation": {"order": 0.5, "weight": 1e3}})
    (plain,), _ = train(Recipe(**one_batch), dataset, tmp_path / "plain", "cpu")
    (first, second), _ = train(recipe, dataset, tmp_path / "calm", "cpu")
    assert "total_variation" not in plain
    assert first["loss"] == pytest.approx(plain["loss"] + 1e3 * first["total_variation"])
    assert 0 < second["total_variation"] < first["total_variation"]
    log = pd.read_csv(tmp_path / "calm/log.csv")
    assert log["total_variation"].tolist() == pytest.approx([first["total_variation"], second["total_variation"]])
    assert read_recipe(tmp_path / "calm/recipe.yaml") == recipe


@pytest.mark.parametrize("settings", [SMALL | {"batch_size": 4}, MLP], ids=["posemamba", "mlp"])
def test_resumed_run_reaches_the_same_weights(synthetic_dataset, tmp_path, settings):
    """The run is interrupted in the middle of its second epoch, as by a kill, and resumed."""
    synthetic_dataset = few_clips(synthetic_dataset)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(Recipe(**settings), synthetic_dataset, whole, "cpu")

    class Killed(Exception):
        pass

    def kill(what, done, total):
        if what == "epoch 2 of 3" and done == total // 2:
            raise Killed

    with pytest.raises(Killed):
        train(Recipe(**settings), synthetic_dataset, parts, "cpu", on_progress=kill)
    history, trained = train(Recipe(**settings), synthetic_dataset, parts, "cpu", resume=True)
    assert trained and len(history) == 3
    assert_equal_weights(weights_of(whole), weights_of(parts))
    assert_equal_weights(weights_of(whole, "best"), weights_of(parts, "best"))
    assert pd.read_csv(whole / "log.csv")["loss"].equals(pd.read_csv(parts / "log.csv")["loss"])

    before = weights_of(parts)
    assert train(Recipe(**settings), synthetic_dataset, parts, "cpu", resume=True) == (history, False)
    assert_equal_weights(weights_of(parts), before)


def test_interrupted_checkpoint_writing_leaves_the_one_before(synthetic_dataset, tmp_path, monkeypatch):
    recipe = Recipe(**MLP)
    calls = []

    def fsync(handle):
        calls.append(handle)
        if len(calls) == 4:  # after the first epoch's last.ckpt, best.safetensors and last.safetensors
            os.ftruncate(handle, 100)
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "os", SimpleNamespace(fsync=fsync))
    with pytest.raises(KeyboardInterrupt):
        train(recipe, synthetic_dataset, tmp_path, "cpu")
    monkeypatch.undo()
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".tmp")]
    assert len(torch.load(tmp_path / "last.ckpt", weights_only=True)["history"]) == 1
    history, _ = train(recipe, synthetic_dataset, tmp_path, "cpu", resume=True)
    assert len(history) == 3


def test_a_folder_is_never_overwritten_by_another_run(synthetic_dataset, tmp_path):
    train(Recipe(**MLP | {"epochs": 1}), synthetic_dataset, tmp_path, "cpu")
    with pytest.raises(InputError, match="it holds a run. Resume it with --resume"):
        train(Recipe(**MLP | {"epochs": 1}), synthetic_dataset, tmp_path, "cpu")
    with pytest.raises(
        InputError, match="Cannot resume .*: its recipe or data file differs in seed. Choose another folder"
    ):
        train(Recipe(**MLP | {"epochs": 1, "seed": 1}), synthetic_dataset, tmp_path, "cpu", resume=True)
    assert read_recipe(tmp_path / "recipe.yaml").seed == 0, "a refused run leaves no trace"
    (tmp_path / "last.ckpt").write_bytes(b"not a checkpoint")
    with pytest.raises(InputError, match="it is damaged"):
        train(Recipe(**MLP | {"epochs": 1}), synthetic_dataset, tmp_path, "cpu", resume=True)


def test_loss_that_explodes_stops_the_run(synthetic_dataset, tmp_path):
    with pytest.raises(InputError, match="in epoch 1, step .* not finite.*Lower learning_rate"):
        train(Recipe(**MLP | {"learning_rate": 1e30}), synthetic_dataset, tmp_path, "cpu")


def test_loss_that_explodes_but_is_finite_stops_the_run(synthetic_dataset, tmp_path):
    with pytest.raises(InputError, match=r"in epoch 1, step 1, .* not finite, or the loss is above 1,000,000"):
        train(Recipe(**MLP | {"loss": {"mpjpe": 1e9}}), synthetic_dataset, tmp_path, "cpu")


@pytest.mark.parametrize(
    "name, numbers",
    [
        ("posemamba_toy", {"embed_dim": "big"}),
        ("posemamba_toy", {"embed_dim": 0}),
        ("posemamba_toy", {"limb_gradient": "publishd"}),
        ("pose3dm_s", {"limb_gradient": "publishd"}),
        ("posemamba_toy", {"scan": "globl"}),
        ("transformer", {"nhead": 7}),
    ],
)
def test_numbers_that_make_no_model(name, numbers):
    with pytest.raises(InputError, match=f"Cannot build {name} with {[*numbers][0]}") as refused:
        create_model(name, **numbers)
    assert "\n" not in str(refused.value)


def test_folder_that_cannot_be_made(synthetic_dataset, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="Cannot write .*run"):
        train(Recipe(**MLP), synthetic_dataset, tmp_path / "file" / "run", "cpu")


def test_a_stride_scores_a_part_of_the_test_clips_and_says_so(synthetic_dataset, tmp_path):
    recipe = Recipe(**MLP | {"epochs": 1, "test_stride": 7})
    (row,), _ = train(recipe, synthetic_dataset, tmp_path, "cpu")
    model = load_weights(create_model("mlp", frames=9), tmp_path / "last.safetensors")
    part, whole = (quick_mpjpe(model, "mlp", synthetic_dataset, 9, stride=stride) for stride in (7, 1))
    assert row["test_mpjpe_mm"] == pytest.approx(part) != whole
    with safetensors.safe_open(tmp_path / "best.safetensors", "pt") as file:
        assert json.loads(file.metadata()["chosen_by"]) == "lowest MPJPE on the test subjects (1 of 7 clips)"
