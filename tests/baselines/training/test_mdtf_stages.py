"""MDTF's two stages, trained by one command: the first by itself, then frozen under the second."""

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from liftbench import create_model, load_weights
from liftbench.baselines.evaluation.inference import predict, quick_mpjpe
from liftbench.baselines.training.loop import train
from liftbench.baselines.training.recipe import Recipe, read_recipe
from liftbench.mdtf import bone_class_loss, bone_class_scores, polar_classes
from support.in_child import few_clips

SETTINGS = {
    "model": "mdtf_tiny", "numbers": {"embed_dim": 16, "depth": 1}, "frames": 9, "stride": 50, "batch_size": 4,
    "loss": {"mpjpe": 1, "n_mpjpe": 0.5, "velocity": 2}, "epochs": 2, "learning_rate": 2e-3, "learning_rate_decay": 0.9,
    "stage_1": {"learning_rate": 5e-3, "weight_decay": 0.01, "learning_rate_decay": 0.9, "epochs": 3, "batch_size": 4},
}  # fmt: skip
RECIPE = Recipe(**SETTINGS)


@pytest.fixture(scope="module")
def dataset(synthetic_dataset):
    return few_clips(synthetic_dataset)


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    """(folder, history) of a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("mdtf")
    history, trained = train(RECIPE, dataset, folder, "cpu")
    assert trained
    return folder, history


def load(folder):
    return load_weights(create_model("mdtf_tiny", frames=9, **SETTINGS["numbers"]), folder / "last.safetensors")


def assert_equal_weights(a, b):
    assert a.keys() == b.keys()
    for key in a:
        assert torch.equal(a[key], b[key]), key


def test_first_stage_is_trained_evaluated_and_frozen(run, dataset):
    folder, history = run
    log = pd.read_csv(folder / "stage_1/log.csv")
    assert len(log) == 3 and log["loss"].iloc[-1] < log["loss"].iloc[0]
    assert log["learning_rate"].tolist() == pytest.approx([5e-3, 5e-3 * 0.9, 5e-3 * 0.81])

    model = load(folder).eval()
    clips = dataset.clips("test", 9)
    logits = torch.from_numpy(predict(model.bone_aware, dataset, clips, 3, flip=False)[0])
    true = polar_classes(torch.from_numpy(dataset.targets("test", clips)))
    scores = bone_class_scores(logits.argmax(-1), true)
    assert scores == pytest.approx({name: log[f"test_{name}"].iloc[-1] for name in scores})
    assert_equal_weights(model.bone_aware.state_dict(), load_file(folder / "stage_1/last.safetensors"))


def test_second_stage_is_the_whole_model(run, dataset):
    folder, history = run
    assert [row["epoch"] for row in history] == [0, 1] and history[1]["loss"] < history[0]["loss"]
    assert read_recipe(folder / "recipe.yaml") == RECIPE
    error = quick_mpjpe(load(folder), "mdtf_tiny", dataset, 9)
    assert error == pytest.approx(history[-1]["test_mpjpe_mm"])


def test_loss_of_the_first_step_is_cross_entropy_of_the_targets_classes(dataset, tmp_path):
    """One batch holds all clips, so its loss is that of the initial weights, up to the dropped branches."""
    stage_1 = SETTINGS["stage_1"] | {"epochs": 1, "batch_size": 10_000}
    train(Recipe(**SETTINGS | {"stage_1": stage_1, "epochs": 1}), dataset, tmp_path, "cpu")
    torch.manual_seed(0)
    model = create_model("mdtf_tiny", frames=9, **SETTINGS["numbers"]).eval()
    clips = dataset.clips("train", 9, 25)
    with torch.no_grad():
        logits = model.bone_aware(torch.from_numpy(dataset.inputs("train", clips)))
        loss = bone_class_loss(logits, torch.from_numpy(dataset.targets("train", clips))).item()
    assert pd.read_csv(tmp_path / "stage_1/log.csv")["loss"][0] == pytest.approx(loss, rel=0.02)


@pytest.mark.parametrize("stage, epoch", [(1, 1), (2, 1)])
def test_resumed_in_either_stage(run, dataset, tmp_path, stage, epoch):
    """Interrupted in the middle of an epoch of either stage, several steps behind its last checkpoint."""

    class Killed(Exception):
        pass

    rows, steps = [], []

    def kill(what, done, total):
        steps.append(done)
        if len(rows) == epoch + (3 if stage == 2 else 0) and done == total // 2:
            raise Killed

    with pytest.raises(Killed):
        train(RECIPE, dataset, tmp_path, "cpu", on_epoch=rows.append, on_progress=kill)
    history, trained = train(RECIPE, dataset, tmp_path, "cpu", resume=True)
    folder, whole = run
    assert trained and [row["loss"] for row in history] == [row["loss"] for row in whole]
    for name in ("last.safetensors", "best.safetensors", "stage_1/last.safetensors", "stage_1/best.safetensors"):
        assert_equal_weights(load_file(tmp_path / name), load_file(folder / name))
