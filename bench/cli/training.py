"""`liftbench train` and `liftbench evaluate`."""

import contextlib
import os
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from liftbench.bench.cli.common import (
    RECORDS,
    SYNTHETIC,
    Best,
    DataFile,
    Device,
    Frames,
    Input2D,
    Records,
    Scan,
    Track,
    WeightsModel,
    choose_device,
    choose_scan,
    loading,
    open_data,
    out,
    progress,
    say_also_fits,
    say_stretched,
    table,
)

if TYPE_CHECKING:
    from liftbench.baselines.training.recipe import Recipe


def train(
    name: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe's name, such as mocap/lstm, or its file.")],
    data: DataFile = SYNTHETIC,
    run: Annotated[Path | None, typer.Option(help="Run folder; default: that of the recipe, in runs/.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run, or begin it.")] = False,
    epochs: Annotated[int | None, typer.Option(help="Epochs to train, instead of the recipe's number.")] = None,
    track: Track = ("tensorboard",),
    checkpoint_minutes: Annotated[float, typer.Option(min=0, help="Minutes between checkpoints within an epoch.")] = 10,
    input_2d: Input2D = None,
    model: Annotated[
        str | None, typer.Option(help="The model, instead of the recipe's: a name, or your own path/to/file.py:build.")
    ] = None,
    device: Device = "auto",
    scan: Scan = "auto",
    records_folder: Records = RECORDS,
):
    """Train a model by a recipe, and add its record once it is finished.

    On several GPUs or nodes, start the same command by torchrun, with a run folder that all of them see:
    `torchrun --standalone --nproc_per_node 2 -m liftbench train RECIPE --data FILE`

    Example: `liftbench train posemamba_toy --data data/synthetic.pkl --resume`
    """
    with loading():
        from liftbench import create_model, kernels
        from liftbench.baselines.training.lookup import find_recipe
        from liftbench.baselines.training.loop import train as run_training
        from liftbench.baselines.training.recipe import read_recipe
        from liftbench.baselines.training.tracking import check_services
        from liftbench.bench.records import environment
        from liftbench.bench.runs import accuracy, folders

    check_services(track)
    overrides = {"epochs": epochs, "input": input_2d}
    path = find_recipe(name)
    overrides = {key: value for key, value in overrides.items() if value is not None}
    if model:  # the recipe's numbers and first stage belong to its own model
        overrides |= {"model": model, "numbers": {}, "stage_1": None}
    recipe = read_recipe(path, **overrides)
    device = choose_device(device)
    implementation = choose_scan(scan, device)
    first = int(os.environ.get("RANK", 0)) == 0  # of the processes of torchrun, the one that reports and records
    out.quiet = not first
    dataset = open_data(data, recipe.input)
    if recipe.entry.output != "centre":  # which reads windows that repeat the first and last frame instead
        say_stretched(dataset, recipe.frames, {"train": recipe.stride, "test": None})
    folder = run or folders.default_folder(path, model=recipe.entry.name if model else None)
    built = create_model(recipe.model, recipe.frames, **recipe.numbers)
    by = f", scan {implementation}" if kernels.scans(built) else ""
    out.print(f"training {recipe.entry.name} on {device}{by}, into {folder}", soft_wrap=True)
    watch = folders.Watch(folder, recipe.entry.name, environment.describe(device, implementation))
    bar = progress()
    bar.disable |= not first
    started = time.monotonic()
    with bar, watch if first else contextlib.nullcontext():
        task = bar.add_task("starting", total=None)

        def on_progress(what: str, done: int, of: int):
            watch.begin()
            if bar.tasks[task].description != what:
                bar.reset(task, total=of, description=what)
            bar.update(task, completed=done)

        def on_epoch(row: dict):
            line = f"{_epoch_line(row, recipe)}, {timedelta(seconds=round(time.monotonic() - started))} elapsed"
            bar.console.print(line, soft_wrap=True)
            watch.epoch(line)

        history, _ = run_training(
            recipe, dataset, folder, device, resume, on_epoch, on_progress, checkpoint_minutes, tuple(track)
        )
    if first:
        accuracy.record_training(records_folder, recipe, dataset, history, device, implementation)
    out.print(f"finished: {len(history)} epoch{'s' * (len(history) != 1)} in {folder}", soft_wrap=True)


def _epoch_line(row: dict, recipe: "Recipe") -> str:
    """Say in words an epoch's losses, its scores on the test subjects, and its time."""
    pose_stage = "test_mpjpe_mm" in row
    words = [f"{key.replace('_', ' ')} {row[key]:.4f}" for key in ("loss", "total_variation") if key in row]
    for key in (key for key in row if key.startswith("test_")):
        score = f"test MPJPE {row[key]:.1f} mm" if pose_stage else f"{key.replace('_', ' ')} {row[key]:.3f}"
        words.append(score + recipe.share_tested)
    epochs = recipe.epochs if pose_stage else recipe.stage_1.epochs
    where = f"{'' if pose_stage else 'stage 1, '}epoch {row['epoch'] + 1} of {epochs}"
    return f"{where}: {', '.join(words)}, {row['epoch_s']:.0f} s"


def evaluate(
    weights: Annotated[Path, typer.Argument(metavar="RUN|WEIGHTS", help="A run folder, or a weights file.")],
    data: DataFile = SYNTHETIC,
    model: WeightsModel = None,
    frames: Frames = None,
    input_2d: Input2D = None,
    best: Best = False,
    device: Device = "auto",
    scan: Scan = "auto",
    records_folder: Records = RECORDS,
):
    """Evaluate weights by the protocol of the data and its common variations.

    Example: `liftbench evaluate runs/toy/posemamba_toy --data data/synthetic.pkl`
    """
    with loading():
        from liftbench.baselines.registry import entry
        from liftbench.baselines.weights.trained import open_weights
        from liftbench.bench import records
        from liftbench.bench.runs import accuracy, folders

    device = choose_device(device)
    implementation = choose_scan(scan, device)
    what = open_weights(weights, model, frames, input_2d, best)
    say_also_fits(what)
    dataset = open_data(data, what.input)
    if entry(what.model_name, what.frames).output != "centre":
        say_stretched(dataset, what.frames, {"test": None})
    with progress() as bar:
        task = bar.add_task(f"evaluating {what.name}", total=None)
        record = accuracy.evaluate(
            what, dataset, device, implementation, lambda done, total: bar.update(task, completed=done, total=total)
        )
    records.append(records_folder / "accuracy.jsonl", record)
    if weights.is_dir():
        folders.write_accuracy(weights, record, best)
    columns = ("MPJPE", "P-MPJPE", "N-MPJPE", "MPJVE", "acceleration", "PCK,\n%", "AUC,\n%")
    columns = columns[: len(record.variants["official"])]  # the last two are of MPI-INF-3DHP
    rows = table("protocol", numbers=columns, title=f"{what.name}, mm")
    for name, row in record.variants.items():
        rows.add_row(name, *("-" if value is None else f"{value:.2f}" for value in row.values()))
    out.print(rows)
    out.print(f"always answering the mean training pose: {record.mean_pose_mpjpe_mm:.2f} mm")
