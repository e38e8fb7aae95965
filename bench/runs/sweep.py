"""Many recipes, one row each: trained and evaluated as jobs of submitit, on this machine or through Slurm.

Everything that a row leaves is in its run folder (`bench.runs.folders`), so a sweep that is started again continues: it
skips finished rows, resumes interrupted ones, and waits for jobs that are still in Slurm's queue instead of starting
them twice. The output of jobs is in SWEEP beside the runs. A job that Slurm ends at its time limit is queued again and
resumes.
"""

import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import submitit

from liftbench.baselines.data.dataset import open_dataset
from liftbench.baselines.errors import InputError
from liftbench.baselines.files import replacing, sha256
from liftbench.baselines.training.lookup import find_recipe
from liftbench.baselines.training.recipe import Recipe, read_recipe
from liftbench.bench.runs import folders
from liftbench.bench.runs.job import Job

SWEEP = ".sweep"  # folder of the jobs' files
_UNLIMITED = 60 * 24 * 365  # minutes
_REQUEUES = 1000  # of a job that reaches its time limit


@dataclass(frozen=True)
class Row:
    """One recipe of a sweep, and where its run and its data are."""

    name: str
    path: Path
    recipe: Recipe
    folder: Path
    data: Path
    digest: str


@dataclass(frozen=True)
class Resources:
    """What a job gets. gpus: per node; hours: None for no limit, which Slurm does not allow; slurm: options
    of sbatch.
    """

    gpus: int = 0
    nodes: int = 1
    hours: float | None = None
    partition: str | None = None
    slurm: dict | None = None


@dataclass(frozen=True)
class Outcome:
    """How a row ended: done, skipped (it was done before), running (elsewhere) or failed; reason: one sentence."""

    row: Row
    state: str
    reason: str | None = None


def plan(recipes: Sequence[str | Path], data: Sequence[str | Path], top: str | Path = "runs", **overrides) -> list[Row]:
    """Return the Rows of recipes, given by path or by name. Each takes the first data file of its protocol.

    overrides: values that replace the recipes'. Raises InputError for a recipe that is not valid or has no data, and
    for two that share a run folder.
    """
    paths = [find_recipe(recipe) for recipe in recipes]
    read = [read_recipe(path, **overrides) for path in paths]
    opened = {}
    for path in data:
        dataset = open_dataset(path)
        opened.setdefault(dataset.protocol, dataset)
    rows = {}
    for path, recipe in zip(paths, read):
        dataset = opened.get(recipe.data)
        if dataset is None:
            raise InputError(
                f"Cannot train {path}: it is for data {recipe.data}. Name a file or folder of them with --data."
            )
        if dataset.input != recipe.input:
            dataset = open_dataset(dataset.path, recipe.input)  # its digest may be of other files
        folder = folders.default_folder(path, top)
        if folder in rows:
            raise InputError(
                f"Cannot sweep {rows[folder].path} and {path}: they share the run folder {folder}. Rename one of them."
            )
        name = "-".join(folder.relative_to(top).parts)
        rows[folder] = Row(name, path, recipe, folder, dataset.path, dataset.digest)
    return list(rows.values())


def finished(row: Row) -> bool:
    """Return whether the row was trained by this recipe on these data, and its last weights evaluated."""
    run = folders.open_run(row.folder)
    evaluated = [found.checkpoint.sha256 for found in run.accuracies if found.data.sha256 == row.digest]
    return (
        run.state == "finished" and run.recipe == row.recipe and evaluated == [sha256(row.folder / "last.safetensors")]
    )


def sweep(
    rows: Sequence[Row],
    top: str | Path,
    executor: str = "local",
    resources: Resources = Resources(),
    jobs: int = 1,
    options: Sequence[str] = (),
    train_options: Sequence[str] = (),
    tell: Callable[[str], None] = print,
) -> list[Outcome]:
    """Run the rows that are not finished -> one Outcome per row, in order.

    executor: "local" runs `jobs` of them at a time, "slurm" queues all. options go to `liftbench train` and `evaluate`,
    train_options to `train` alone. tell(sentence) reports progress. Raises InputError for an unknown executor, and if
    the jobs' folder cannot be written. An interrupted local sweep ends its jobs; Slurm's continue.
    """
    logs = Path(top) / SWEEP
    try:
        engine = _executor(executor, logs, resources)
    except OSError as error:
        raise InputError(f"Cannot write to {logs}: {error.strerror}. Choose another folder with --runs.") from error
    outcomes, waiting, active = {}, [], {}
    for row in rows:
        run = folders.open_run(row.folder)
        if finished(row):
            outcomes[row.folder] = Outcome(row, "skipped")
        elif job := _queued(executor, logs, row):
            tell(f"{row.name}: job {job.job_id} is still queued or running")
            active[row.folder] = row, job, None
        elif run.state == "running":
            outcomes[row.folder] = Outcome(row, "running", "it is being trained by another process")
        else:
            waiting.append(row)
    places = list(range(jobs)) if executor == "local" else [None] * len(waiting)
    try:
        while waiting or active:
            while waiting and places:
                row, place = waiting.pop(0), places.pop(0)
                if executor == "local":
                    engine.update_parameters(visible_gpus=_gpus(place, resources.gpus))
                train, evaluate = _arguments(row, options, train_options)
                job = engine.submit(Job(train, evaluate, resources.gpus))
                if executor == "slurm":
                    with replacing(logs / f"{row.name}.job") as temporary:
                        temporary.write_text(job.job_id)
                tell(f"{row.name}: job {job.job_id} submitted, prints to {job.paths.stdout}")
                active[row.folder] = row, job, place
            for row, job, place in [ended for ended in active.values() if ended[1].done()]:
                del active[row.folder]
                places.append(place)
                outcomes[row.folder] = _outcome(row, job)
                tell(f"{row.name}: {outcomes[row.folder].state}")
            if active:
                time.sleep(0.2 if executor == "local" else 5)
    finally:
        if executor == "local":
            for _, job, _ in active.values():
                job.cancel(check=False)
    return [outcomes[row.folder] for row in rows]


def _executor(name: str, folder: Path, resources: Resources) -> submitit.Executor:
    if name == "slurm" and not (shutil.which("sbatch") and shutil.which("srun")):
        raise InputError("Cannot use Slurm: sbatch and srun are not on PATH. Choose --executor local.")
    if name == "local" and resources.nodes > 1:
        raise InputError("Cannot use several nodes: the local executor has one. Choose --executor slurm.")
    if name not in ("local", "slurm"):
        raise InputError(f"Cannot use the executor {name!r}: no executor has that name. Choose local or slurm.")
    if name == "slurm" and resources.hours is None:
        raise InputError("Cannot use Slurm: it must know how many hours a job may take. Give them with --time.")
    minutes = _UNLIMITED if resources.hours is None else max(1, round(60 * resources.hours))
    if name == "local":
        engine = submitit.LocalExecutor(folder, max_num_timeout=_REQUEUES)
        engine.update_parameters(gpus_per_node=resources.gpus, timeout_min=minutes)
        return engine
    engine = submitit.SlurmExecutor(folder, max_num_timeout=_REQUEUES)
    engine.update_parameters(
        job_name="liftbench", partition=resources.partition, time=minutes, nodes=resources.nodes, ntasks_per_node=1,
        gpus_per_node=resources.gpus or None, additional_parameters=dict(resources.slurm or {}),
    )  # fmt: skip
    return engine


def _gpus(place: int, number: int) -> list[int]:
    """Return the GPUs for one place among the local jobs, taken from those that this process may use."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = [int(name) for name in allowed.split(",") if name.isdigit()] or list(range(64))
    return names[place * number : (place + 1) * number]


def _arguments(
    row: Row, options: Sequence[str], train_options: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the arguments of `liftbench` that train and evaluate a row."""
    both = ["--data", str(row.data), *options]
    recipe = ["train", str(row.path), "--run", str(row.folder), "--resume"]
    return (*recipe, *both, *train_options), ("evaluate", str(row.folder), *both)


def _queued(executor: str, logs: Path, row: Row) -> submitit.Job | None:
    """Return the Slurm job of an earlier sweep that still works on the row, or None."""
    path = logs / f"{row.name}.job"
    if executor != "slurm" or not path.exists():
        return None
    job = submitit.SlurmJob(logs, path.read_text().strip())
    return None if job.done(force_check=True) else job


def _outcome(row: Row, job: submitit.Job) -> Outcome:
    try:
        troubles = [trouble for trouble in job.results() if trouble]
    except (submitit.core.utils.UncompletedJobError, submitit.core.utils.FailedJobError):
        troubles = [f"job {job.job_id} ended without an answer; what it printed lies in {job.paths.stderr}"]
    if troubles:
        return Outcome(row, "failed", troubles[0])
    return Outcome(row, "done") if finished(row) else Outcome(row, "failed", "it ended, but is not finished")
