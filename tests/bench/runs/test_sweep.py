"""Sweeps: rows that finish, fail and resume; what Slurm is asked for; every trouble one sentence."""

import os
import shutil
import sys

import pytest
import submitit
import yaml

from liftbench.baselines.errors import InputError
from liftbench.bench import cli, records
from liftbench.bench.runs import folders, job
from liftbench.bench.runs import sweep as sweeps

RECIPE = {
    "model": "mlp", "frames": 9, "stride": 50, "loss": {"mpjpe": 1}, "learning_rate": 2e-3, "learning_rate_decay": 0.9,
    "epochs": 2, "batch_size": 64,
}  # fmt: skip


@pytest.fixture
def write(tmp_path, monkeypatch):
    """In an empty folder, return a function that writes recipe files and returns their paths."""
    monkeypatch.chdir(tmp_path)

    def write_recipes(**recipes):
        for name, changes in recipes.items():
            (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(RECIPE | changes))
        return [tmp_path / f"{name}.yaml" for name in recipes]

    return write_recipes


@pytest.fixture
def in_this_process(monkeypatch):
    """Run jobs and their commands in this process, which saves the start of four processes per row."""

    def run(arguments):
        try:
            cli.app(list(arguments[2:]), standalone_mode=False)
        except InputError as error:
            return str(error)

    monkeypatch.setattr(sweeps, "_executor", lambda name, folder, resources: submitit.DebugExecutor(folder))
    monkeypatch.setattr(job, "run_python", run)


def test_a_sweep_finishes_fails_and_resumes(write, in_this_process, synthetic_file, capsys):
    paths = write(good={}, bad={"learning_rate": 1e30})
    words = ["sweep", *map(str, paths), "--data", str(synthetic_file), "--records", "records", "--device", "cpu"]
    assert cli.app(words, standalone_mode=False) == 1
    told = capsys.readouterr().out
    assert "bad failed: Cannot go on: in epoch 1, step" in told
    assert [run.state for run in folders.find("runs")] == ["failed", "finished"]
    kinds = [record.kind for record in records.read("records")]
    assert kinds == ["accuracy", "training"], "one record of each for the row that finished"

    write(bad={"learning_rate": 1e-3})  # mended
    assert not cli.app(words, standalone_mode=False)
    assert [run.state for run in folders.find("runs")] == ["finished", "finished"]
    assert "skipped" in capsys.readouterr().out
    assert len(records.read("records")) == 4, "the finished row was not trained or evaluated again"


def test_an_interrupted_row_goes_on(write, in_this_process, synthetic_file, tmp_path):
    (path,) = write(row={})
    rows = sweeps.plan([path], [synthetic_file])
    options = ("--device", "cpu", "--records", "records")
    (first,) = sweeps.sweep(rows, "runs", options=options, train_options=("--epochs", "2"))
    assert (first.state, sweeps.finished(rows[0])) == ("done", True)
    shutil.rmtree(tmp_path / "runs/row/accuracy")  # killed between training and evaluation
    assert not sweeps.finished(rows[0])
    before = (tmp_path / "runs/row/last.safetensors").stat().st_mtime_ns
    (again,) = sweeps.sweep(rows, "runs", options=options)
    assert again.state == "done" and (tmp_path / "runs/row/last.safetensors").stat().st_mtime_ns == before
    assert sweeps.sweep(rows, "runs", options=options)[0].state == "skipped"

    other = sweeps.plan([path], [synthetic_file], seed=1)
    assert not sweeps.finished(other[0]), "another recipe's run does not count"


def test_a_row_that_another_process_trains_is_left_alone(write, in_this_process, synthetic_file):
    rows = sweeps.plan(write(row={}), [synthetic_file])
    with folders.Watch(rows[0].folder, "mlp", None):
        (outcome,) = sweeps.sweep(rows, "runs")
    assert (outcome.state, outcome.reason) == ("running", "it is being trained by another process")


def test_the_local_executor_runs_processes_and_their_trouble_is_one_sentence(write, synthetic_file, tmp_path):
    file = shutil.copy(synthetic_file, tmp_path / "gone.pkl")
    rows = sweeps.plan(write(row={}), [file])
    file.unlink()
    (outcome,) = sweeps.sweep(rows, "runs", options=("--device", "cpu"))
    assert outcome.state == "failed"
    assert outcome.reason.startswith(f"Cannot read {file}: it is missing. ")
    assert not rows[0].folder.exists()


def test_plans_that_make_no_sense(write, synthetic_file, tmp_path):
    for_3dhp, row, wrong = write(
        for_3dhp={"data": "mpi_inf_3dhp", "input": "gt"}, row={}, wrong={"learning_rat": 1}
    )  # fmt: skip
    with pytest.raises(InputError, match="for_3dhp.yaml: it is for data mpi_inf_3dhp. Name a file or folder .* --data"):
        sweeps.plan([row, for_3dhp], [synthetic_file])
    with pytest.raises(InputError, match="there is no setting learning_rat. Did you mean learning_rate"):
        sweeps.plan([row, wrong], [synthetic_file])
    with pytest.raises(InputError, match="share the run folder runs/row. Rename one"):
        sweeps.plan([row, row], [synthetic_file])
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--executor", "slurm"], "Cannot use Slurm: .* Choose --executor local"),
        (["--nodes", "2"], "local executor has one. Choose --executor slurm"),
        (["--slurm", "account"], "--slurm account: it is not KEY=VALUE"),
        (["--track", "mlflow"], "Cannot log to 'mlflow'"),
        (["--runs", "row.yaml"], "Cannot write to row.yaml/.sweep: Not a directory. Choose another folder with --runs"),
    ],
)
def test_options_that_make_no_sense(write, synthetic_file, monkeypatch, words, message):
    monkeypatch.setenv("PATH", "")
    (path,) = write(row={})
    command = ["sweep", str(path), "--data", str(synthetic_file), *words]
    with pytest.raises(InputError, match=message):
        cli.app(command, standalone_mode=False)


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Stand-ins for Slurm's commands: they number and keep jobs, and report the state that the file `state` names."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    scripts = {
        "sbatch": f'cp "$1" {folder}/job-$$.sh; echo Submitted batch job $$',
        "srun": "true",
        "sacct": f'echo "JobID|State|NodeList"; for job in {folder}/job-*.sh; do job=${{job##*-}}; '
        f'echo "${{job%.sh}}|$(cat {folder}/state)|node1"; done',
    }
    for name, body in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(submitit.SlurmJob, "_results_timeout_s", 0)
    return folder


def test_what_slurm_is_asked_for(write, synthetic_file, slurm):
    rows = sweeps.plan(write(row={}), [synthetic_file])
    (slurm / "state").write_text("NODE_FAIL")
    resources = sweeps.Resources(gpus=4, nodes=2, hours=48, partition="gpu", slurm={"account": "lab"})
    (outcome,) = sweeps.sweep(rows, "runs", "slurm", resources)
    assert outcome.state == "failed" and "ended without an answer" in outcome.reason
    (script,) = slurm.glob("job-*.sh")
    asked = script.read_text().splitlines()
    for line in ("partition=gpu", "nodes=2", "ntasks-per-node=1", "gpus-per-node=4", "time=2880", "account=lab"):
        assert f"#SBATCH --{line}" in asked
    assert any(line.startswith("srun ") and sys.executable in line for line in asked)
    submitted = submitit.SlurmJob("runs/.sweep", script.stem.removeprefix("job-")).submission().function
    assert submitted.train[:2] == ("train", str(rows[0].path)) and "--resume" in submitted.train
    assert submitted.gpus == 4


def test_slurm_has_to_know_the_time(write, synthetic_file, slurm):
    with pytest.raises(InputError, match="how many hours .* --time"):
        sweeps.sweep(sweeps.plan(write(row={}), [synthetic_file]), "runs", "slurm")


def test_a_job_in_the_queue_is_not_submitted_twice(write, synthetic_file, slurm, monkeypatch):
    rows = sweeps.plan(write(row={}), [synthetic_file])
    (slurm / "state").write_text("PENDING")

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(sweeps.time, "sleep", interrupt)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            sweeps.sweep(rows, "runs", "slurm", sweeps.Resources(hours=1))
    assert len(list(slurm.glob("job-*.sh"))) == 1


@pytest.mark.parametrize(
    ("tasks", "gpus", "expected"),
    [
        (1, 1, ["-m", "liftbench", "train"]),
        (1, 2, ["-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone", "-m", "--", "liftbench", "train"]),
        (
            2, 4, ["-m", "torch.distributed.run", "--nproc_per_node=4", "--nnodes=2", "--node_rank=1",
                   "--master_addr=node0", "--master_port=20001", "-m", "--", "liftbench", "train"],
        ),
    ],
)  # fmt: skip
def test_rows_of_several_processes_start_by_torchrun(monkeypatch, tasks, gpus, expected):
    started = []

    class Place:
        world_size, rank, master_addr, master_port = tasks, tasks - 1, "node0", 20001

    monkeypatch.setattr(submitit.helpers, "TorchDistributedEnvironment", Place)
    monkeypatch.setattr(job, "run_python", started.append)
    job.Job(("train",), ("evaluate",), gpus)()
    assert started == [expected] + [["-m", "liftbench", "evaluate"]] * (tasks == 1), "the first node evaluates"


def test_local_jobs_share_the_gpus_that_are_allowed(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [sweeps._gpus(place, 2) for place in (0, 1)] == [[0, 1], [2, 3]]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert [sweeps._gpus(place, 1) for place in (0, 1)] == [[4], [6]]


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("pass", None),
        ("print('error: no data', file=sys.stderr); print('====', file=sys.stderr); sys.exit(2)", "no data"),
        ("raise ValueError('too large')", "ValueError: too large"),
        ("sys.exit(3)", "exit code 3"),
    ],
)
def test_why_a_process_failed(code, told):
    assert job.run_python(["-c", f"import sys; {code}"]) == told
