"""The weights and samples that come along: real motion of people that the weights never saw."""

import csv

import pytest

import liftbench
from liftbench.baselines.weights.trained import open_weights
from liftbench.lift.gait.report import FILES
from liftbench.lift.weights import SETS, shipped
from support import ROOT
from support.command import run

SAMPLES = ROOT / "lift/samples"


@pytest.mark.parametrize("weights", SETS)
@pytest.mark.parametrize(("sample", "most"), [("walk", 45), ("dance", 65)])
def test_samples(weights, sample, most):
    error = liftbench.lift(SAMPLES / f"{sample}.npz", weights=weights).metadata["error"]
    assert 20 < error["p_mpjpe_mm"] < most


def test_what_the_files_say():
    assert sum(shipped(name).stat().st_size for name in SETS) < 12e6
    for name in SETS:
        weights = open_weights(shipped(name))
        recipe = liftbench.read_recipe(f"lift/{name}")
        assert (weights.model_name, weights.frames, weights.numbers) == (recipe.model, recipe.frames, recipe.numbers)
        assert weights.joint_9 == "neck" and weights.epoch == recipe.epochs - 1
        with open(shipped(name).with_suffix(".csv"), newline="") as log:
            assert len(list(csv.DictReader(log))) == recipe.epochs, "the log is of the same run"


def test_the_command_lifts_and_reports_the_gait(tmp_path, monkeypatch, capsys):
    words = ["lift", SAMPLES / "walk.npz", "--weights", "fast", "--to", "csv", "--gait", "--out", tmp_path]
    code, out, err = run(monkeypatch, capsys, *words)
    assert code == 0, err
    assert {path.name for path in tmp_path.iterdir()} == {"poses.npz", "poses.csv", *FILES}
    with open(tmp_path / "gait.csv", newline="") as file:
        rows = {row["quantity and unit"]: row for row in csv.DictReader(file)}
    assert 80 < float(rows["cadence, steps/min"]["right mean"]) < 130
    assert float(rows["cadence, steps/min"]["right strides"]) >= 1
    assert "gait of walk" in out and "Not a medical device" in out


def test_the_command_lifts_without_asking_for_weights(tmp_path, monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "lift", SAMPLES / "walk.npz", "--out", tmp_path / "walk")
    assert code == 0 and "lifting with accurate (mlp, 27 frames)" in out
    assert {path.name for path in (tmp_path / "walk").iterdir()} >= {"poses.npz", "lift.html", "contact.png"}
