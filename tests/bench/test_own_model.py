"""A user's own model from a file, through every command that takes a model: error, parameters, MACs and latency."""

import functools
import json

import pytest

from liftbench.bench.measure import timing
from support import command

FILE = """
from torch import nn
from width import WIDTH


class Lifter(nn.Module):
    def __init__(self, frames):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 3))

    def forward(self, keypoints):
        poses = self.net(keypoints)
        return poses if poses.sum() < 1e9 else -poses  # looks at its numbers


def build(frames):
    return Lifter(frames)
"""
RECIPE = """
base: toy/mlp
model: ../net.py:build
numbers: {}
frames: 9
stride: 9
epochs: 1
"""


@pytest.fixture
def run(monkeypatch, capsys, tmp_path, any_machine):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(timing, "idle_threads_spin", lambda: True)
    (tmp_path / "net.py").write_text(FILE)
    (tmp_path / "width.py").write_text("WIDTH = 8\n")
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/mine.yaml").write_text(RECIPE)

    return functools.partial(command.run, monkeypatch, capsys)


def records(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_file_is_compared_with_a_registered_model(run, synthetic_file, tmp_path):
    folder = tmp_path / "results/records"
    data = ("--data", synthetic_file, "--device", "cpu", "--records", folder)
    code, out, err = run("train", "recipes/mine.yaml", *data)
    assert code == 0 and "training net.py:build on cpu" in out, err
    code, out, err = run("evaluate", "runs/mine", *data)
    assert code == 0 and "net.py:build, mm" in out, err
    assert [one["model"] for one in records(folder / "accuracy.jsonl")] == ["net.py:build"]

    (tmp_path / "elsewhere").mkdir()
    for name in ("net.py", "width.py"):
        (tmp_path / name).rename(tmp_path / "elsewhere" / name)
    code, _, err = run("evaluate", "runs/mine", *data)
    assert code == 2 and "there is no such file" in err
    code, _, err = run("evaluate", "runs/mine", "--model", "elsewhere/net.py:build", *data)
    assert code == 0, err
    code, out, err = run("measure", "online", "runs/mine", "--model", "elsewhere/net.py:build", "--step", "100", *data)
    assert code == 0 and "runs/mine: net.py:build, " in out, err

    code, _, err = run(
        "train", "recipes/mine.yaml", "--model", "elsewhere/net.py:build", "--epochs", "1", *data
    )  # into a folder of its own
    assert code == 0 and (tmp_path / "runs/mine_net_build/last.safetensors").exists(), err

    mine = "elsewhere/net.py:build"
    code, out, err = run("measure", "cost", mine, "posemamba_toy", "--frames", "9", "--records", folder)
    assert code == 0, err
    cost = {one["model"]: one for one in records(folder / "cost.jsonl")}
    assert cost["net.py:build"]["parameters"] == 2 * 8 + 8 + 8 * 3 + 3 and "posemamba_toy" in cost
    assert cost["net.py:build"]["macs_per_clip"] == 9 * 17 * (2 * 8 + 8 * 3)

    times = ("--device", "cpu", "--seconds", "0.2", "--records", folder)
    code, out, err = run("measure", "speed", mine, "--frames", "9", *times)
    assert code == 0 and records(folder / "speed.jsonl")[0]["model"] == "net.py:build", err
    code, out, err = run("measure", "compare", f"{mine}@float32:9", "mlp:9", *times)
    assert code == 0 and "times as long as mlp:9" in out, err
    assert records(folder / "compare.jsonl")[0]["first"]["model"] == "net.py:build"
