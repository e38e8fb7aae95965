"""The command line as a person types it: help with examples, a whole small run, errors as one sentence and code 2."""

import functools
import importlib.metadata
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from liftbench.bench import cli
from liftbench.bench.measure import timing
from support import PUBLISHED, command

COMMANDS = [
    "sweep", "choose", "detect", "gait", "lift", "runs list", "runs compare",
    "models", "doctor", "train", "evaluate", "render", "data synthetic", "data mocap", "data check", "data info",
    "measure cost", "measure speed", "measure compare", "measure scaling", "measure scan",
    "measure loader", "measure lift", "measure online",
    "export", "weights fetch", "weights convert", "weights inspect", "weights half",
    "records merge", "records compare",
]  # fmt: skip


@pytest.fixture
def run(monkeypatch, capsys, tmp_path, any_machine, small_reference):
    """Run a command line in an empty folder -> (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("liftbench.bench.report.results.REFERENCE", small_reference)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("liftbench.bench.cli.common.out._width", None)  # which a worker of pytest-xdist has fixed
    monkeypatch.setattr(timing, "idle_threads_spin", lambda: True)

    return functools.partial(command.run, monkeypatch, capsys)


def test_every_command_is_covered_here():
    def names_of(commands):
        return [command.name or command.callback.__name__ for command in commands]

    names = names_of(cli.app.registered_commands)
    for group in cli.app.registered_groups:
        names += [f"{group.name} {name}" for name in names_of(group.typer_instance.registered_commands)]
    assert sorted(names) == sorted(COMMANDS)


@pytest.mark.parametrize("words", COMMANDS)
def test_help_has_an_example(run, words):
    code, out, _ = run(*words.split(), "--help")
    assert code == 0
    assert f"Example: liftbench {words}" in " ".join(out.replace("│", " ").split())


def test_version(run):
    code, out, _ = run("--version")
    assert code == 0 and out == f"liftbench {importlib.metadata.version('liftbench')}\n"


def child(*words, **environment):
    """Run Python with some words and return its stdout; GOMP_SPINCOUNT is as `environment` says, or unset."""
    clean = {key: value for key, value in os.environ.items() if key != "GOMP_SPINCOUNT"} | environment
    done = subprocess.run([sys.executable, *words], env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_changes_neither_environment_nor_malloc():
    child(
        "-c",
        "import ctypes, os\n"
        "before = dict(os.environ)\n"
        "ctypes.CDLL = None  # malloc is reached through it\n"
        "import liftbench, liftbench.bench, liftbench.bench.cli\n"
        "assert dict(os.environ) == before",
    )


@pytest.mark.parametrize(
    "words, environment, spin_count",
    [
        (["measure", "--help"], {}, "300000"),
        (["models", "--help"], {}, "3000"),
        (["measure", "--help"], {"GOMP_SPINCOUNT": "7"}, "7"),
    ],
)
def test_a_command_sets_up_its_threads_before_torch_is_imported(words, environment, spin_count):
    code = (
        "import os, sys\n"
        "from liftbench.bench import cli\n"
        f"sys.argv = {['liftbench', *words]}\n"
        "try:\n    cli.main()\n"
        "except SystemExit:\n    print(os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules)"
    )
    assert child("-c", code, **environment).splitlines()[-1] == f"{spin_count} False"


def test_the_package_is_a_command_too():
    assert child("-m", "liftbench", "--version") == child(
        "-c", "from liftbench.bench import cli; cli.main()", "--version"
    )


def test_models_and_doctor(run):
    code, out, _ = run("models")
    assert code == 0 and "posemamba_s" in out and "1,470,211" in out
    code, out, _ = run("doctor")
    assert code == 0 and "torch" in out and "reference" in out and "runs when --scan is auto" in out


def test_doctor_says_why_an_implementation_is_not_usable(run, monkeypatch):
    from liftbench.kernels import cpu

    monkeypatch.setattr(cpu, "unusable", lambda device_type="cpu": "no compiler was found")
    code, out, _ = run("doctor")
    assert code == 0 and "no compiler was found" in out
    assert [line for line in out.splitlines() if "chunked" in line and "runs when --scan is auto" in line]


def test_from_data_to_tables_and_plots(run, synthetic_file, tmp_path):
    """The main path, small: check, info, train, resume, evaluate, measure, render."""
    code, out, err = run("data", "check", synthetic_file)
    assert code == 0 and "synthetic data" in out and "good: " in out, err
    code, out, _ = run("data", "info", synthetic_file, "--plot", "data.png")
    assert "stretched: 0.0% of the train clips and 0.0% of the test clips" in " ".join(out.split())
    assert "WARNING" not in out
    assert code == 0 and "S9, S11" in out and Path("data.png").read_bytes()[:4] == b"\x89PNG"

    recipe = tmp_path / "mlp.yaml"
    recipe.write_text("base: toy/mlp\nframes: 9\nstride: 20\n")
    train = ("train", recipe, "--data", synthetic_file, "--epochs", "2", "--device", "cpu")
    code, out, err = run(*train)
    assert code == 0 and "training mlp on cpu, into runs/mlp" in out and "epoch 2 of 2: loss" in err, err
    code, out, err = run(*train)
    assert code == 2 and "it holds a run. Resume it with --resume" in err
    code, out, _ = run(*train, "--resume")
    assert code == 0 and "finished: 2 epochs" in out
    lines = Path("results/records/training.jsonl").read_text().splitlines()
    assert len(lines) == 1, "a run that was finished before is not recorded again"

    code, out, err = run("evaluate", "runs/mlp", "--data", synthetic_file)
    assert code == 0 and "without flip" in out and "every frame" in out, err
    record = json.loads(Path("results/records/accuracy.jsonl").read_text())
    assert record["data"]["origin"]["kind"] == "synthetic" and record["checkpoint"]["chosen_by"] == "last epoch"
    assert record["environment"]["scan_implementation"] is None, "an MLP scans nothing"

    assert run("measure", "cost", "mlp", "--frames", "9")[0] == 0
    assert run("measure", "speed", "mlp", "--frames", "9", "--frames", "3", "--seconds", "0.2")[0] == 0
    assert run("measure", "speed", "mlp", "--frames", "9", "--seconds", "0.2", "--training-step")[0] == 0
    timed = ("measure", "speed", "mlp", "--frames", "9", "--seconds", "0.2", "--end-to-end")
    assert run(*timed, "--data", synthetic_file)[0] == 0
    code, out, _ = run("measure", "compare", "lstm:9", "mlp:9", "--seconds", "0.2")
    assert code == 0 and "lstm:9 takes " in out and "times as long as mlp:9; 95% interval" in out
    code, out, err = run("measure", "online", "runs/mlp", "--data", synthetic_file, "--step", "50")
    assert code == 0 and "1/4, newest frame repeated 2 times" in out and "keeps up with 50 frames/s" in out, err
    code, out, err = run("render", "--published", PUBLISHED)
    assert code == 0, err
    assert "| mlp | 9 | 1/2 clip | synthetic data | 0 | 4 | 80 |" in Path("results/tables/lift/online.md").read_text()
    assert Path("results/tables/overview.md").is_file() and list(Path("results/plots").glob("training*.png"))


def test_records_of_two_folders_and_a_module_of_ones_own(run):
    Path("mine.py").write_text("from torch import nn\n\n\ndef build():\n    return nn.Linear(2, 3)\n")
    code, out, err = run("measure", "cost", "mine.py:build", "--frames", "5", "--records", "a")
    assert code == 0 and "mine.py:build" in out and f"{5 * 17 * 2 * 3:,}" in out, err
    assert run("measure", "cost", "mine.py:build", "--frames", "5", "--records", "b")[0] == 0
    code, out, _ = run("records", "merge", "a", "b", "a", "--out", "c")
    assert code == 0 and "wrote 2 records into c" in out
    code, out, _ = run("records", "compare", "a", "b")
    assert code == 0 and "cost mine.py:build 5 frames" in out and "1.000" in out
    code, out, err = run("render", "--records", "c", "--published", PUBLISHED)
    assert code == 0 and "mine.py:build" in Path("results/tables/cost.md").read_text(), err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train none.yaml", "Cannot read the recipe none.yaml"),
        (
            "evaluate none.bin --model mlp",
            "Cannot read none.bin: there is no such run folder or weights file. Check the path",
        ),
        ("evaluate .", "so no epoch is finished"),
        ("measure cost posemamba", "Cannot find the model 'posemamba': no model has that name. Did you mean"),
        ("measure cost mlp --frames 0", "0 is not a number of frames. Give a positive whole number"),
        ("measure cost none.py:build", "Cannot read none.py: there is no such file. Check the path before the colon"),
        ("records merge none --out merged", "there is no folder none"),
        ("records compare none none", "there is no folder none"),
        ("measure cost pose3dm_s mlp --official-layout", "another layout of mlp: the official one is built here"),
        ("measure speed mlp --device tpu", "Cannot run on 'tpu': there is no such device. Choose auto, cpu or cuda"),
        ("measure online mlp", "Cannot measure mlp online: it is a model without weights, so it has no error. Give a"),
        ("measure scan --seconds 0", "the longest call must take more than 0 seconds"),
        (
            "measure speed mlp --mode cuda-graph --device cpu",
            "Cannot capture a CUDA graph: the device is a CPU. Choose eager",
        ),
        ("measure compare mlp@magic lstm", "Cannot use the contender 'mlp@magic': 'magic' is not a setting"),
        ("measure scaling --seconds 0", "the longest call must take more than 0 seconds"),
        ("measure speed mlp --scan magic", "Cannot use the scan 'magic': no scan has that name"),
        ("data check none.pkl", "none.pkl"),
        ("data mocap none.npz", "none.npz"),
        ("data synthetic --frames 5", "frames"),
        ("render --records none", "there is no folder none"),
        ("frobnicate", "No such command"),
        ("measure speed mlp --seconds many", "Invalid value"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(run, tmp_path, words, message):
    code, out, err = run(*words.split())
    assert code == 2
    assert message in " ".join(err.split())
    assert "Traceback" not in err
    assert not list(tmp_path.rglob("*.tmp")) and not list(tmp_path.rglob("*.jsonl")), "nothing half-written"


def test_a_busy_machine_is_exit_code_3(run, monkeypatch, tmp_path):
    monkeypatch.setattr(timing, "OTHERS_SHARE", 0.1)
    monkeypatch.setattr(timing.Share, "so_far", lambda self: 0.5)
    code, _, err = run("measure", "speed", "mlp", "--frames", "9", "--seconds", "0.2")
    assert code == 3 and "other processes took 50% of the processors. Measure again when it is idle." in err
    assert not list(tmp_path.rglob("*.jsonl"))


def test_weights_that_do_not_say_what_they_are(run, synthetic_file):
    import torch

    from liftbench import create_model

    torch.save({"model_pos": create_model("mlp", frames=9).state_dict()}, "bare.bin")
    code, out, err = run("evaluate", "bare.bin", "--data", synthetic_file)
    assert code == 0 and "official" in out and "mlp, mm" in out, err
    code, _, err = run("evaluate", "bare.bin", "--data", synthetic_file, "--model", "mlp", "--frames", "27")
    assert code == 2 and "bare.bin: it was made with frames 9, not 27" in err
    code, _, err = run("evaluate", "bare.bin", "--data", synthetic_file, "--model", "lstm")
    assert code == 2 and "bare.bin into LSTM: 6 missing" in err
    torch.save({"model_pos": create_model("posemamba_s", frames=9, depth=9).state_dict()}, "bare.bin")
    code, _, err = run("evaluate", "bare.bin", "--data", synthetic_file)
    assert code == 2 and "bare.bin: it fits no registered model; the nearest is posemamba_s (" in err


def test_hostile_data_file(run, tmp_path):
    class Hostile:
        def __reduce__(self):
            return (open, (str(tmp_path / "made_by_the_attack"), "w"))

    (tmp_path / "evil.pkl").write_bytes(pickle.dumps({"train": Hostile(), "test": {}}))
    code, _, err = run("data", "check", "evil.pkl")
    assert code == 2 and "it asks for the name" in err
    assert not (tmp_path / "made_by_the_attack").exists()


def test_installed_command():
    """The console script itself; its help is there at once, without waiting for torch."""
    command = shutil.which("liftbench", path=str(Path(sys.executable).parent))
    assert command, "the package is installed with its command"
    done = subprocess.run([sys.executable, "-X", "importtime", command, "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "measure" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "typer" in imported and "torch" not in imported


def test_an_interruption_says_what_is_kept_and_how_to_go_on(run, monkeypatch):
    from liftbench.bench.measure import cost

    def interrupted(name, *_):
        if name == "lstm":
            raise KeyboardInterrupt
        return measure(name, 9)

    measure = cost.measure
    monkeypatch.setattr(cost, "measure", interrupted)
    code, _, err = run("measure", "cost", "mlp", "lstm")
    assert code == 130 and "interrupted: results/records/cost.jsonl keeps mlp; measure the others again" in err
    code, _, err = run("measure", "cost", "lstm", "--records", "other")
    assert code == 130 and "nothing was added to other/cost.jsonl; start the same command again" in err
    assert len(Path("results/records/cost.jsonl").read_text().splitlines()) == 1


def test_names_fold_at_80_columns_and_no_two_columns_share_a_heading(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    long = "transformer_published"
    _, models, _ = run("models")
    _, costs, _ = run("measure", "cost", "videopose3d_27", long, "--frames", "3")
    _, speeds, _ = run("measure", "speed", long, "--frames", "3", "--seconds", "0.1")
    for out in (models, costs, speeds):
        assert "…" not in out and max(map(len, out.splitlines())) <= 80
        rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if line.startswith("│")]
        assert long in "".join(row[0] for row in rows)
        titles = [line.strip("┃").split("┃") for line in out.splitlines() if line.startswith("┃")]
        headings = [" ".join(part.strip() for part in column) for column in zip(*titles, strict=True)]
        assert len(headings) == len(set(headings)) > 4
