"""Run folders: their content, how they are listed and compared, and what damaged ones report."""

import json
import shutil

import pandas as pd
import pytest
import yaml

from liftbench.baselines.errors import InputError
from liftbench.bench import cli
from liftbench.bench.records import environment
from liftbench.bench.runs import folders

RECIPE = {
    "model": "mlp", "frames": 9, "stride": 50, "loss": {"mpjpe": 1}, "learning_rate": 2e-3, "learning_rate_decay": 0.9,
    "epochs": 2, "batch_size": 64,
}  # fmt: skip


def command(*words):
    cli.app([str(word) for word in words], standalone_mode=False)


@pytest.fixture(scope="module")
def trained(synthetic_file, tmp_path_factory):
    """Train and evaluate a run by the command line."""
    top = tmp_path_factory.mktemp("trained")
    (top / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    both = ["--data", synthetic_file, "--records", top / "records", "--device", "cpu"]
    command("train", top / "recipe.yaml", "--run", top / "runs/mlp", *both)
    command("evaluate", top / "runs/mlp", *both)
    return top / "runs/mlp"


@pytest.fixture
def run(trained, tmp_path):
    """Copy the run, so that a test may change it."""
    return shutil.copytree(trained, tmp_path / "runs/mlp")


def test_a_run_folder_holds_everything(trained):
    files = {path.name for path in trained.iterdir() if not path.name.startswith("events.")}
    assert files == {
        "recipe.yaml", "environment.json", "log.csv", "train.log", "curves.png", "last.ckpt", "last.safetensors",
        "best.safetensors", "accuracy",
    }  # fmt: skip
    here = environment.describe()
    started = json.loads((trained / "environment.json").read_text())
    assert (started["git_commit"], started["torch"]) == (here.git_commit, here.torch)
    lines = (trained / "train.log").read_text().splitlines()
    assert ["started on" in lines[0], "epoch 2 of 2: loss" in lines[2], lines[3].endswith(" finished")] == [True] * 3


def test_a_finished_run(trained):
    (run,) = folders.find(trained.parent)
    assert (run.state, run.epochs, run.of_epochs, run.reason) == ("finished", 2, 2, None)
    log = pd.read_csv(trained / "log.csv")
    assert (run.last_mm, run.best_mm) == (log["test_mpjpe_mm"].iloc[-1], log["test_mpjpe_mm"].min())
    assert [found.checkpoint.file for found in run.accuracies] == ["last.safetensors"] and run.clips_per_s > 0
    assert folders.find(trained)[0].folder == trained, "a run folder itself may be named"


def test_states(run):
    log = run / "log.csv"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:2]))
    assert folders.open_run(run).state == "interrupted"
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    with pytest.raises(ZeroDivisionError), folders.Watch(run, recipe["model"], environment.describe()) as watch:
        watch.begin()
        assert folders.open_run(run).state == "running"
        with pytest.raises(InputError, match="another process is training it"):
            folders.Watch(run, "mlp", environment.describe()).__enter__()
        1 / 0  # noqa: B018
    failed = folders.open_run(run)
    assert (failed.state, failed.reason) == ("failed", "ZeroDivisionError: division by zero")
    with pytest.raises(KeyboardInterrupt), folders.Watch(run, recipe["model"], environment.describe()) as watch:
        watch.begin()
        raise KeyboardInterrupt
    assert folders.open_run(run).state == "interrupted"


def test_a_refused_start_leaves_no_trace(tmp_path, run):
    before = {path: path.read_bytes() for path in run.rglob("*.*")}
    for folder in (tmp_path / "new", run):
        with pytest.raises(InputError), folders.Watch(folder, "mlp", environment.describe()):
            raise InputError("refused")
    assert not (tmp_path / "new").exists()
    assert {path: path.read_bytes() for path in run.rglob("*.*")} == before


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("recipe.yaml", b"model: [", "Cannot read the recipe .*recipe.yaml: line 1"),
        ("recipe.yaml", None, "Cannot read the recipe .*recipe.yaml"),
        ("log.csv", b"\xff\xfe\x00", "log.csv: it is not a table of epochs"),
        ("log.csv", b"epoch,loss\n0,\n", "log.csv: it is not a table of epochs"),
        ("log.csv", b"", "log.csv: it is not a table of epochs"),
        ("environment.json", b"{", "environment.json: it is damaged"),
        ("accuracy/x.json", b'{"schema": 1}', "x.json: it is damaged"),
        ("last.safetensors", b"short", "last.safetensors: it is missing or damaged"),
        ("last.safetensors", None, "last.safetensors: it is missing or damaged"),
        ("train.log", b"\xff", "train.log: it is damaged"),
    ],
)
def test_a_damaged_run_says_what_is_wrong(run, capsys, monkeypatch, file, content, reason):
    (run / file).unlink() if content is None else (run / file).write_bytes(content)
    damaged = folders.open_run(run)
    assert damaged.state == "damaged"
    monkeypatch.setattr("liftbench.bench.cli.runs.out._width", 160)
    command("runs", run.parent)
    told = capsys.readouterr().out
    assert "mlp damaged: " + damaged.reason in told.replace("\n", " ")
    pytest.raises(InputError, command, "runs", "compare", run, run).match(f"Cannot compare .*{reason}")


def test_stage_1_belongs_to_its_run(run):
    (run / "stage_1").mkdir()
    for name in ("log.csv", "last.ckpt"):
        shutil.copy(run / name, run / "stage_1" / name)
    (found,) = folders.find(run.parent)
    assert found.epochs == 4
    assert [label for label, *_ in folders.curves_of(run, "mlp", "mlp")] == ["mlp, stage 1", "mlp"]


def test_no_runs(tmp_path):
    assert folders.find(tmp_path) == []
    with pytest.raises(InputError, match="there is no such folder"):
        folders.find(tmp_path / "none")


def test_compare(run, trained, capsys, monkeypatch, tmp_path):
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe | {"seed": 7, "loss": {"mpjpe": 2.0}}))
    shutil.rmtree(run / "accuracy")
    first, second = folders.open_run(trained), folders.open_run(run)
    assert folders.differences(first, first) == []
    assert folders.differences(first, second) == [("loss.mpjpe", 1.0, 2.0), ("seed", 0, 7)]
    sides = {quantity: values for quantity, *values in folders.errors(first, second)}
    (evaluated,) = first.accuracies
    assert sides[f"official MPJPE on {folders.data_of(evaluated)}, mm"] == [evaluated.mpjpe_mm, None]
    assert sides["test MPJPE of the last epoch, mm"] == [first.last_mm, first.last_mm]
    command("runs", "compare", trained, run, "--plot", tmp_path / "both.png")
    assert (tmp_path / "both.png").read_bytes().startswith(b"\x89PNG")
    assert "loss.mpjpe" in capsys.readouterr().out


def test_results_are_kept_per_data_set(run, capsys, monkeypatch, tmp_path):
    """An evaluation replaces an earlier one on the same data, and no other."""
    (first,) = folders.open_run(run).accuracies
    changes = {"name": "other.pkl", "sha256": "f" * 64}
    other = first.model_copy(update={"data": first.data.model_copy(update=changes), "mpjpe_mm": 1234.5})
    for record, best in ((other, False), (first, False), (first, True)):
        folders.write_accuracy(run, record, best)
    assert len(list((run / "accuracy").iterdir())) == 3, "the best weights' record stands beside"
    found = {record.data.name: record.mpjpe_mm for record in folders.open_run(run).accuracies}
    assert found == {first.data.name: first.mpjpe_mm, "other.pkl": 1234.5}
    monkeypatch.setattr("liftbench.bench.cli.runs.out._width", 200)
    command("runs", run.parent)
    listed = capsys.readouterr().out
    assert "1234.5 other.pkl" in listed and f"{first.mpjpe_mm:.1f} {first.data.name}" in listed
    monkeypatch.setattr("liftbench.bench.cli.runs.out._width", 200)
    command("runs", "compare", run, run, "--plot", tmp_path / "both.png")
    assert "official MPJPE on other.pkl sh (ffffff), mm" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("recipe", "folder"),
    [
        ("configs/baselines/lstm.yaml", "runs/lstm"),
        ("configs/sh/posemamba_s.yaml", "runs/posemamba_s"),
        ("configs/cpn/lstm.yaml", "runs/cpn/lstm"),
        ("../elsewhere/configs/toy/mlp.yaml", "runs/toy/mlp"),
        ("mine/lstm.yaml", "runs/lstm"),
        ("configs.yaml", "runs/configs"),
        ("sh.yaml", "runs/sh"),
    ],
)
def test_default_folder(recipe, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(folders.default_folder(recipe)) == folder
