"""`liftbench train` and `liftbench evaluate`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from .common import (
    RECORDS,
    SYNTHETIC,
    DataFile,
    Device,
    Frames,
    Input2D,
    Records,
    Scan,
    choose_device,
    choose_scan,
    open_data,
    out,
    progress,
)


def train(
    recipe_path: Annotated[Path, typer.Argument(metavar="RECIPE.yaml", help="A file of configs/.")],
    data: DataFile = SYNTHETIC,
    run: Annotated[Path | None, typer.Option(help="Run folder; default: runs/ and the recipe's name.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run, or begin it.")] = False,
    epochs: Annotated[int | None, typer.Option(help="Instead of the recipe's number.")] = None,
    input_2d: Input2D = None,
    device: Device = "auto",
    scan: Scan = "auto",
    records_folder: Records = RECORDS,
):
    """Train a model by a recipe.

    Example: `liftbench train configs/toy/posemamba_toy.yaml --data data/synthetic.pkl --resume`
    """
    from baselines.recipe import read_recipe
    from baselines.training import train as run_training

    from .. import accuracy

    overrides = {"epochs": epochs, "input": input_2d}
    recipe = read_recipe(recipe_path, **{key: value for key, value in overrides.items() if value is not None})
    device = choose_device(device)
    implementation = choose_scan(scan, device)
    dataset = open_data(data, recipe.input)
    folder = run or Path("runs") / recipe_path.stem
    out.print(f"training {recipe.model} on {device}, scan {implementation}, into {folder}", highlight=False)
    with progress() as bar:
        epoch_bar = bar.add_task("epochs", total=recipe.epochs)
        step_bar = bar.add_task("steps")

        def on_epoch(row):
            bar.update(epoch_bar, completed=row["epoch"] + 1)
            variation = f"total variation {row['total_variation']:.4f}, " if "total_variation" in row else ""
            bar.console.print(
                f"epoch {row['epoch']}: loss {row['loss']:.4f}, {variation}"
                f"test MPJPE {row['test_mpjpe_mm']:.1f} mm, {row['epoch_s']:.0f} s",
                highlight=False,
            )

        def on_step(done, total):
            bar.update(step_bar, completed=done, total=total)

        history, trained_now = run_training(recipe, dataset, folder, device, resume, on_epoch, on_step)
    if trained_now:
        accuracy.record_training(records_folder, recipe, dataset, history, device, implementation)
    out.print(f"finished: {len(history)} epochs in {folder}", highlight=False)


def evaluate(
    weights: Annotated[Path, typer.Argument(metavar="RUN|WEIGHTS", help="A run folder, or a weights file.")],
    data: DataFile = SYNTHETIC,
    model: Annotated[str | None, typer.Option(help="For weights that do not say what they are.")] = None,
    frames: Frames = None,
    input_2d: Input2D = None,
    best: Annotated[bool, typer.Option("--best", help="Of a run folder, the best epoch instead of the last.")] = False,
    device: Device = "auto",
    scan: Scan = "auto",
    records_folder: Records = RECORDS,
):
    """Evaluate weights by the Human3.6M protocol and its common variations.

    Example: `liftbench evaluate runs/posemamba_toy --data data/synthetic.pkl`
    """
    from .. import accuracy, records

    device = choose_device(device)
    implementation = choose_scan(scan, device)
    what = accuracy.open_weights(weights, model, frames, input_2d, best)
    dataset = open_data(data, what.input)
    with progress() as bar:
        task = bar.add_task(f"evaluating {what.model_name}")
        record = accuracy.evaluate(
            what, dataset, device, implementation, lambda done, total: bar.update(task, completed=done, total=total)
        )
    records.append(records_folder / "accuracy.jsonl", record)
    table = Table("protocol", "MPJPE", "P-MPJPE", "N-MPJPE", "MPJVE", "acceleration", title=f"{what.model_name}, mm")
    for name, row in record.variants.items():
        table.add_row(name, *("-" if value is None else f"{value:.2f}" for value in row.values()))
    out.print(table)
    out.print(f"always answering the mean training pose: {record.mean_pose_mpjpe_mm:.2f} mm", highlight=False)
