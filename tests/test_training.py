"""Recipes and training: validation, learning, resuming, checkpoints that are never half-written."""

from pathlib import Path

import pandas as pd
import pytest
import safetensors
import torch

from baselines import create_model, load_weights, registry
from baselines.errors import InputError
from baselines.evaluation import evaluate, mean_pose_mpjpe
from baselines.recipe import Recipe, read_recipe
from baselines.training import Examples, train

CONFIGS = Path(__file__).parent.parent / "configs"
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
    assert path.stem == recipe.model, "the name of a variant is its recipe's too"
    header = path.read_text().split("model:")[0]
    for word in ("Command: ", "Expected: ", "Source: "):
        assert word in header, f"the header must say {word!r}"


@pytest.mark.parametrize("variant", ["s", "b", "l"])
def test_published_posemamba_recipe(variant):
    """The published training of models.md, in full."""
    recipe = read_recipe(CONFIGS / f"posemamba_{variant}.yaml").model_dump()
    assert recipe == {
        "model": f"posemamba_{variant}", "numbers": {"limb_gradient": "published"}, "frames": 243, "stride": 81,
        "input": "sh", "flip": True, "optimizer": "adamw", "learning_rate": 2e-4, "weight_decay": 0.01,
        "learning_rate_decay": 0.99, "epochs": 120, "batch_size": 4, "seed": 0,
        "loss": {"mpjpe": 1, "n_mpjpe": 0.5, "velocity": 20, "temporal_consistency": 0.5}, "total_variation": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("learning_rat: 1", "key learning_rat: is no setting of a recipe; did you mean learning_rate"),
        ("epochs: 0", "key epochs: Input should be greater than 0"),
        ("loss: {mpje: 1}", "key loss: 'mpje' is no loss term; did you mean mpjpe"),
        ("model: posemamba_q", "key model: There is no model named 'posemamba_q'; did you mean"),
        ("input: cpn", "key input: Input should be 'sh' or 'gt'"),
        ("total_variation: {order: 2.5, weight: 1}", "key total_variation.order: .* less than or equal to 2"),
        ("total_variation: {order: 0, weight: 1}", "key total_variation.order: .* greater than 0"),
        ("total_variation: {order: .nan, weight: 1}", "key total_variation.order: .* finite"),
        ("total_variation: {order: 0.5, weight: -1}", "key total_variation.weight: .* greater than 0"),
        ("total_variation: {order: 0.5}", "key total_variation.weight: Field required"),
        ("total_variation: {order: 0.5, weight: 1, ordr: 1}", "total_variation.ordr: is no setting .* mean order"),
        ("total_variation: {order: 0.5, weight: 1}", "yaml: total_variation is of poses over time, but here mlp"),
        ("frames: [", "is not valid YAML"),
    ],
)
def test_wrong_recipes(tmp_path, change, message):
    key = change.split(":")[0]
    lines = [line for line in (CONFIGS / "toy/mlp.yaml").read_text().splitlines() if not line.startswith(f"{key}:")]
    path = tmp_path / "recipe.yaml"
    path.write_text("\n".join([*lines, change]))
    with pytest.raises(InputError, match=message):
        read_recipe(path)


def test_one_frame_has_no_variation():
    with pytest.raises(ValueError, match="posemamba_toy answers a clip with a single one"):
        Recipe(**SMALL | {"frames": 1, "total_variation": {"order": 0.5, "weight": 1}})


def test_missing_recipe(tmp_path):
    with pytest.raises(InputError, match="Cannot read the recipe"):
        read_recipe(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(InputError, match="key: value"):
        read_recipe(tmp_path / "list.yaml")


def test_examples_of_a_sequence_model_are_clips_and_of_a_centre_model_windows(synthetic_dataset):
    clips = Examples(synthetic_dataset, Recipe(**SMALL))
    keypoints, targets = clips.__getitems__([0, 5])
    assert keypoints.shape == (2, 9, 17, 2) and targets.shape == (2, 9, 17, 3)
    assert (targets[:, :, 0] == 0).all(), "targets are root-relative"
    windows = Examples(synthetic_dataset, Recipe(**MLP))
    keypoints, targets = windows.__getitems__([0, 5])
    assert keypoints.shape == (2, 9, 17, 2) and targets.shape == (2, 1, 17, 3)
    assert len(windows) == -(-synthetic_dataset.frames("train") // 5)


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
    one_batch = SMALL | {"stride": 400, "batch_size": 10_000, "epochs": 1}
    recipe = Recipe(**one_batch | {"epochs": 2, "total_variation": {"order": 0.5, "weight": 1e3}})
    (plain,), _ = train(Recipe(**one_batch), synthetic_dataset, tmp_path / "plain", "cpu")
    (first, second), _ = train(recipe, synthetic_dataset, tmp_path / "calm", "cpu")
    assert "total_variation" not in plain
    assert first["loss"] == pytest.approx(plain["loss"] + 1e3 * first["total_variation"])
    assert 0 < second["total_variation"] < first["total_variation"]
    log = pd.read_csv(tmp_path / "calm/log.csv")
    assert log["total_variation"].tolist() == pytest.approx([first["total_variation"], second["total_variation"]])
    assert read_recipe(tmp_path / "calm/recipe.yaml") == recipe


@pytest.mark.parametrize("settings", [SMALL, MLP], ids=["posemamba", "mlp"])
def test_resumed_run_reaches_the_same_weights(synthetic_dataset, tmp_path, settings):
    """Interrupted in the middle of its second epoch, as by a kill, and resumed."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(Recipe(**settings), synthetic_dataset, whole, "cpu")

    class Killed(Exception):
        pass

    epochs = []

    def kill(done, total):
        if len(epochs) == 1 and done == total // 2:
            raise Killed

    with pytest.raises(Killed):
        train(Recipe(**settings), synthetic_dataset, parts, "cpu", on_epoch=epochs.append, on_step=kill)
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
    real, calls = torch.save, []

    def save(state, path):
        calls.append(path)
        if len(calls) == 2:
            Path(path).write_bytes(b"half of a checkpoint")
            raise KeyboardInterrupt
        real(state, path)

    monkeypatch.setattr(torch, "save", save)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, synthetic_dataset, tmp_path, "cpu")
    monkeypatch.undo()
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".tmp")]
    assert len(torch.load(tmp_path / "last.ckpt", weights_only=True)["history"]) == 1
    history, _ = train(recipe, synthetic_dataset, tmp_path, "cpu", resume=True)
    assert len(history) == 3


def test_a_folder_is_never_overwritten_by_another_run(synthetic_dataset, tmp_path):
    train(Recipe(**MLP | {"epochs": 1}), synthetic_dataset, tmp_path, "cpu")
    with pytest.raises(InputError, match="already holds a run; resume it with --resume"):
        train(Recipe(**MLP | {"epochs": 1}), synthetic_dataset, tmp_path, "cpu")
    with pytest.raises(InputError, match="another recipe or data file"):
        train(Recipe(**MLP | {"epochs": 1, "seed": 1}), synthetic_dataset, tmp_path, "cpu", resume=True)
    (tmp_path / "last.ckpt").write_bytes(b"not a checkpoint")
    with pytest.raises(InputError, match="it is damaged"):
        train(Recipe(**MLP | {"epochs": 1}), synthetic_dataset, tmp_path, "cpu", resume=True)


def test_loss_that_explodes_stops_the_run(synthetic_dataset, tmp_path):
    with pytest.raises(InputError, match="not finite in epoch 0, step .*lower learning_rate"):
        train(Recipe(**MLP | {"learning_rate": 1e30}), synthetic_dataset, tmp_path, "cpu")


def test_folder_that_cannot_be_made(synthetic_dataset, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="Cannot write to .*run"):
        train(Recipe(**MLP), synthetic_dataset, tmp_path / "file" / "run", "cpu")
