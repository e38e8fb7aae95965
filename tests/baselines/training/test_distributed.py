"""Training on two processes, as torchrun starts them, on the CPU."""

import json
import os
import signal
import time

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from liftbench import Human36M, create_model
from liftbench.baselines.evaluation.inference import predict
from liftbench.baselines.training import distributed
from liftbench.baselines.training.batches import Batches, order_of_epoch
from liftbench.baselines.training.loop import train
from liftbench.baselines.training.recipe import Recipe
from support import in_child

SETTINGS = {
    "model": "posemamba_toy", "numbers": {"embed_dim": 16, "depth": 1}, "frames": 9, "stride": 22, "batch_size": 7,
    "loss": {"mpjpe": 1, "n_mpjpe": 0.5, "velocity": 2, "temporal_consistency": 0.5}, "epochs": 2,
    "total_variation": {"order": 0.5, "weight": 0.1}, "learning_rate": 2e-3, "learning_rate_decay": 0.9,
}  # fmt: skip


def test_parts_of_a_batch():
    """Two processes, three parts each: no clip is left out or counted twice, whatever the size of the batch."""
    for clips in (1, 2, 5, 6, 7, 64):
        numbers = np.arange(100, 100 + clips)
        parts = [distributed.parts_of(numbers, 3, rank, 2) for rank in (0, 1)]
        counted = [clip for part, share in sum(parts, []) if share for clip in part]
        assert sorted(counted) == numbers.tolist()
        assert sum(share for _, share in sum(parts, [])) == pytest.approx(1)
        assert len(parts[0]) == len(parts[1]) > 0, "no process waits for another's pass in vain"


def together(path, folder):
    """In each of two processes, predict clips, then train."""
    dataset = in_child.few_clips(Human36M(path))
    torch.manual_seed(0)
    model = create_model("posemamba_toy", frames=9, embed_dim=16, depth=1)
    fabric = distributed.start("cpu")
    for clips in (1, 7):
        index = dataset.clips("test", 9)[:clips]
        own, _ = distributed.predict_together(fabric)(model, dataset, index, 2, device=fabric.device, flip=False)
        expected, _ = predict(model, dataset, index, 2, 2, flip=False)
        np.testing.assert_allclose(own, expected, atol=1e-6)
    history, _ = train(Recipe(**SETTINGS), dataset, folder, "cpu", resume=True, checkpoint_minutes=0)
    folder.with_name(f"history{fabric.global_rank}.json").write_text(json.dumps(history))


def test_two_processes_train_as_one(synthetic_file, synthetic_dataset, tmp_path):
    """Depth 1 drops no branch. 30 clips do not fill the last batch of 7, nor do 7 divide by 2."""
    children = in_child.start_together(2, together, synthetic_file, tmp_path / "two")
    train(Recipe(**SETTINGS), in_child.few_clips(synthetic_dataset), tmp_path / "one", "cpu")
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    one, two = (pd.read_csv(tmp_path / name / "log.csv") for name in ("one", "two"))
    for column in ("loss", "total_variation"):
        np.testing.assert_allclose(two[column], one[column], rtol=0, atol=1e-5)
    np.testing.assert_allclose(two["test_mpjpe_mm"], one["test_mpjpe_mm"], rtol=1e-3)
    weights = [load_file(tmp_path / name / "last.safetensors") for name in ("one", "two")]
    for key in weights[0]:
        torch.testing.assert_close(*(state[key] for state in weights), rtol=0, atol=1e-3)
    histories = [json.loads((tmp_path / f"history{rank}.json").read_text()) for rank in (0, 1)]
    assert [row["loss"] for row in histories[0]] == [row["loss"] for row in histories[1]]
    assert len(list((tmp_path / "two").glob("events.*"))) == 1, "only the first process writes"


ONE_STEP = SETTINGS | {
    "model": "pose3dm_s", "numbers": {"embed_dim": 4, "bottleneck": 16}, "batch_size": 10_000, "epochs": 1,
    "total_variation": None,
}  # fmt: skip


def statistics(path, folder):
    """Train a step, and keep this process's buffers."""
    real = distributed.equal_buffers

    def equal_buffers(fabric, model):
        real(fabric, model)
        torch.save(dict(model.named_buffers()), folder.with_name(f"buffers{fabric.global_rank}.pt"))

    distributed.equal_buffers = equal_buffers
    in_child.train(ONE_STEP, path, folder)


def test_running_statistics_are_those_of_the_first_process(synthetic_file, synthetic_dataset, tmp_path):
    """All processes have them after a step in which the first one computes 15 of 30 clips."""
    for child in in_child.start_together(2, statistics, synthetic_file, tmp_path / "two"):
        child.join(60)
        assert child.exitcode == 0
    recipe = Recipe(**ONE_STEP)
    torch.manual_seed(recipe.seed)
    model = create_model(recipe.model, frames=recipe.frames, **recipe.numbers).train()
    batches = Batches(in_child.few_clips(synthetic_dataset), recipe)
    order, mirrored = order_of_epoch(recipe.seed, 0, len(batches), recipe.flip)
    ((part, _),) = distributed.parts_of(order, 1, 0, 2)
    ((keypoints, _),) = batches.each([part], mirrored)
    model(keypoints)
    found = [torch.load(tmp_path / f"buffers{rank}.pt", weights_only=True) for rank in (0, 1)]
    expected = dict(model.named_buffers())
    assert any("running_var" in key for key in expected)
    for key, value in expected.items():
        assert torch.equal(found[0][key], found[1][key])
        torch.testing.assert_close(found[0][key], value)


def in_a_folder_of_its_own(path, folder):
    in_child.train(SETTINGS, path, folder / os.environ["RANK"] / "run")


def test_processes_that_do_not_share_their_folder_are_refused(synthetic_file, synthetic_dataset, tmp_path):
    """The second process would begin the run that the first one resumes."""
    (tmp_path / "1").mkdir()
    with pytest.raises(KeyboardInterrupt):
        train(
            Recipe(**SETTINGS), in_child.few_clips(synthetic_dataset), tmp_path / "0/run", "cpu",
            on_epoch=lambda row: (_ for _ in ()).throw(KeyboardInterrupt),
        )  # fmt: skip
    children = in_child.start_together(2, in_a_folder_of_its_own, synthetic_file, tmp_path)
    for rank, child in enumerate(children):
        child.join(60)
        assert child.exitcode == 2
        assert "do not find the same checkpoint" in (tmp_path / f"{rank}/run{rank}.error").read_text()


def dies(settings, path, folder):
    """The second of two processes kills itself at its 5th step."""
    if os.environ["RANK"] == "1":
        calls, draw = [], torch.manual_seed

        def manual_seed(seed):
            calls.append(seed)
            if len(calls) == 6:
                os.kill(os.getpid(), signal.SIGKILL)
            return draw(seed)

        torch.manual_seed = manual_seed
    in_child.train(settings, path, folder, 0)


def test_a_process_that_dies_ends_the_run_at_once(synthetic_file, synthetic_dataset, tmp_path):
    folder = tmp_path / "run"
    children = in_child.start_together(2, dies, SETTINGS, synthetic_file, folder)
    children[1].join(60)
    died = time.monotonic()
    children[0].join(60)
    assert [child.exitcode for child in children] == [2, -signal.SIGKILL]
    assert time.monotonic() - died < 30
    message = (tmp_path / "run0.error").read_text()
    assert "another process of this run has ended" in message and "--resume" in message
    assert torch.load(folder / "last.ckpt", weights_only=True)["step"] == 4
    few = in_child.few_clips(synthetic_dataset)
    history, _ = train(Recipe(**SETTINGS), few, folder, "cpu", resume=True)  # alone this time
    assert len(history) == 2
