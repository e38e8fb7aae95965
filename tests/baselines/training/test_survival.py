"""What a training run survives: kills at any moment, values that are not finite, a full or read-only disk."""

import errno
import json
import os
import random
import shutil
import signal
import tempfile

import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from liftbench.baselines.errors import InputError
from liftbench.baselines.training import checkpoint, losses
from liftbench.baselines.training.loop import train
from liftbench.baselines.training.recipe import Recipe
from liftbench.bench.records import store
from liftbench.bench.runs import accuracy
from support import in_child

MLP = {
    "model": "mlp", "frames": 9, "stride": 20, "batch_size": 64, "loss": {"mpjpe": 1}, "epochs": 3,
    "learning_rate": 2e-3, "learning_rate_decay": 0.9,
}  # fmt: skip
POSEMAMBA = MLP | {
    "model": "posemamba_toy", "numbers": {"embed_dim": 16, "depth": 2}, "stride": 25, "batch_size": 4,
    "schedule": "cosine", "learning_rate_decay": None, "ema": 0.9, "accumulate": 2,
}  # fmt: skip


def assert_same_run(folder, whole):
    """Weights and losses to the last bit, and no half-written file left."""
    for name in ("last.safetensors", "best.safetensors"):
        found, expected = load_file(folder / name), load_file(whole / name)
        assert found.keys() == expected.keys()
        for key in found:
            assert torch.equal(found[key], expected[key]), key
    logs = [pd.read_csv(path / "log.csv")[["epoch", "loss", "learning_rate"]] for path in (folder, whole)]
    assert logs[0].equals(logs[1])
    assert not list(folder.glob(".*.tmp"))


@pytest.fixture(scope="module")
def finished(synthetic_dataset, tmp_path_factory):
    """The folder of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    train(Recipe(**MLP), synthetic_dataset, folder, "cpu")
    return folder


@pytest.mark.parametrize("settings", [MLP, POSEMAMBA], ids=["mlp", "posemamba"])
def test_killed_again_and_again_it_reaches_the_same_weights(synthetic_file, tmp_path, settings):
    """SIGKILL hits a run six times at random moments; it writes a checkpoint after each of its many steps."""
    settings = settings | {"epochs": 8}
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    undisturbed = in_child.start(in_child.train, settings, synthetic_file, whole)
    moments = random.Random(0)
    for _ in range(6):
        child = in_child.start(in_child.train_until_killed, settings, synthetic_file, folder, moments.uniform(0, 2))
        child.join(60)
        assert child.exitcode == -signal.SIGKILL
        torch.load(folder / "last.ckpt", weights_only=True)
    last = in_child.start(in_child.train, settings, synthetic_file, folder)
    for child in (last, undisturbed):
        child.join(60)
        assert child.exitcode == 0
    assert_same_run(folder, whole)


def test_resumed_within_an_epoch(synthetic_dataset, tmp_path):
    """The run continues after the step of the last checkpoint, with its weights, averages and sums."""
    dataset, recipe, rows, steps = in_child.few_clips(synthetic_dataset), Recipe(**POSEMAMBA | {"stride": 40}), [], []
    train(recipe, dataset, tmp_path / "whole", "cpu")

    def kill(what, done, total):
        steps.append(done)
        if len(rows) == 1 and done == total // 2:
            raise KeyboardInterrupt

    folder = tmp_path / "parts"
    with pytest.raises(KeyboardInterrupt) as told:
        train(recipe, dataset, folder, "cpu", False, rows.append, kill, checkpoint_minutes=0)
    stopped = steps[-1]
    kept = f"keeps 1 of 3 epochs and {stopped - 1} steps of the next one; go on with --resume"
    assert str(told.value) == f"{folder} {kept}"
    assert torch.load(folder / "last.ckpt", weights_only=True)["step"] == stopped - 1 > 0
    steps.clear()
    train(recipe, dataset, folder, "cpu", resume=True, on_progress=lambda what, done, total: steps.append(done))
    assert steps[0] == stopped, "the step behind the checkpoint is the first one that is done again"
    assert_same_run(folder, tmp_path / "whole")


def test_killed_between_checkpoint_and_log(synthetic_dataset, finished, tmp_path, monkeypatch):
    """A resumed run with nothing to train then writes the last epoch's weights and its row of the log."""
    folder, real = tmp_path / "parts", checkpoint.write_weights

    def killed(path, tensors, metadata):
        if metadata["epoch"] == 2:
            raise KeyboardInterrupt
        real(path, tensors, metadata)

    monkeypatch.setattr(checkpoint, "write_weights", killed)
    with pytest.raises(KeyboardInterrupt):
        train(Recipe(**MLP), synthetic_dataset, folder, "cpu")
    monkeypatch.undo()
    assert len(pd.read_csv(folder / "log.csv")) == 2
    history, trained = train(Recipe(**MLP), synthetic_dataset, folder, "cpu", resume=True)
    assert len(history) == 3 and not trained
    assert_same_run(folder, finished)


def _change_checkpoint(folder, change):
    state = torch.load(folder / "last.ckpt", weights_only=True)
    change(state)
    torch.save(state, folder / "last.ckpt")


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "log.csv").write_bytes(b"\xff\xfe\0"),
        lambda folder: (folder / "log.csv").write_bytes(b""),
        lambda folder: (folder / "log.csv").write_text("epoch,loss\n0,\n1,\n2,\n"),
        lambda folder: (folder / "last.safetensors").unlink(),
        lambda folder: (folder / "last.ckpt").unlink(),  # while the log is that of the run before
        lambda folder: _change_checkpoint(folder, lambda state: state.update(history=[], best=None)),
    ],
    ids=["log of bytes", "empty log", "log without losses", "no weights", "no checkpoint", "older checkpoint"],
)
def test_a_resumed_run_mends_its_folder(synthetic_dataset, finished, tmp_path, damage):
    folder = shutil.copytree(finished, tmp_path / "run")
    damage(folder)
    assert len(train(Recipe(**MLP), synthetic_dataset, folder, "cpu", resume=True)[0]) == 3
    assert len(pd.read_csv(folder / "log.csv")["loss"].dropna()) == 3
    load_file(folder / "last.safetensors")


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.pop("waited"),
        lambda state: state["model"].popitem(),
        lambda state: state.update(optimizer={}),
        lambda state: state.update(recipe=None),
    ],
    ids=["less", "other weights", "no optimiser", "no recipe"],
)
def test_a_checkpoint_that_does_not_fit(synthetic_dataset, finished, tmp_path, change):
    folder = shutil.copytree(finished, tmp_path / "run")
    _change_checkpoint(folder, change)
    with pytest.raises(InputError, match="Cannot resume from .*last.ckpt: it is damaged, or of an older version"):
        train(Recipe(**MLP), synthetic_dataset, folder, "cpu", resume=True)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_its_batch(
    synthetic_dataset, finished, tmp_path, monkeypatch
):
    recipe, folder, calls, real = Recipe(**MLP), tmp_path / "run", [], losses.total
    steps = -(-len(range(0, synthetic_dataset.frames("train"), 20)) // 64)

    def total(predicted, targets, weights):
        calls.append(targets)
        return real(predicted, targets, weights) * (float("nan") if len(calls) == steps + 3 else 1)

    monkeypatch.setattr(losses, "total", total)
    with pytest.raises(
        InputError, match="in epoch 2, step 3, .* is not finite, .*not_finite.safetensors keeps the batch"
    ):
        train(recipe, synthetic_dataset, folder, "cpu")
    monkeypatch.undo()
    kept = load_file(folder / "not_finite.safetensors")
    assert torch.equal(kept["targets"], calls[-1]) and kept["keypoints"].shape == (64, 9, 17, 2)
    assert len(set(kept["clips"].tolist())) == 64
    with safe_open(folder / "not_finite.safetensors", "pt") as file:
        assert {key: json.loads(value) for key, value in file.metadata().items()} == {"epoch": 1, "step": 2}
    train(recipe, synthetic_dataset, folder, "cpu", resume=True)
    assert_same_run(folder, finished)


def test_a_gradient_that_is_not_finite_stops_the_run(synthetic_dataset, tmp_path, monkeypatch):
    """A finite loss whose gradient is not: the root of zero."""
    monkeypatch.setattr(losses, "total", lambda predicted, targets, weights: (predicted * 0).square().sum().sqrt())
    with pytest.raises(InputError, match="in epoch 1, step 1, the loss or its gradient is not finite"):
        train(Recipe(**MLP), synthetic_dataset, tmp_path, "cpu")


def test_a_full_disk_loses_nothing(synthetic_dataset, finished, tmp_path, full_disk):
    """The disk is full from the second epoch on."""
    recipe, folder = Recipe(**MLP), tmp_path / "run"
    with pytest.raises(InputError, match="Cannot write .*last.ckpt: File too large. .* free the disk"):
        train(recipe, synthetic_dataset, folder, "cpu", on_epoch=lambda row: full_disk(100_000))
    full_disk(None)
    assert len(torch.load(folder / "last.ckpt", weights_only=True)["history"]) == 1
    assert not list(folder.glob(".*.tmp"))
    train(recipe, synthetic_dataset, folder, "cpu", resume=True)
    assert_same_run(folder, finished)


def test_read_only_folder(synthetic_dataset, tmp_path, monkeypatch):
    """The superuser may write anywhere, so the test simulates the system's refusal."""

    def refuse(**_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    with pytest.raises(InputError, match="Cannot write .*run.*: Read-only file system"):
        train(Recipe(**MLP), synthetic_dataset, tmp_path / "run", "cpu")


def test_a_record_lost_by_a_kill_is_made_up_for(synthetic_dataset, tmp_path):
    recipe, folder = Recipe(**MLP), tmp_path / "run"
    train(recipe, synthetic_dataset, folder, "cpu")
    (tmp_path / "training.jsonl").write_text('{"kind": "training", "epoch_s"')  # cut short
    for _ in range(2):
        history, _ = train(recipe, synthetic_dataset, folder, "cpu", resume=True)
        accuracy.record_training(tmp_path, recipe, synthetic_dataset, history, "cpu", "cpu")
    cut, line = (tmp_path / "training.jsonl").read_text().splitlines()
    record = store._parse(line, "")
    assert record.data_wait_share == [row["data_wait_share"] for row in history]
    assert all(0 <= share < 1 for share in record.data_wait_share)
