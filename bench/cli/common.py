"""What the commands share: options, the console, progress bars, choices of device, scan and data."""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import kernels
from baselines.errors import InputError

out = Console()

DataFile = Annotated[Path, typer.Option("--data", help="A Human3.6M file in the MotionBERT format.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, or auto for the fastest there is.")]
Scan = Annotated[str, typer.Option(help=f"Scan implementation: auto, {', '.join(kernels.IMPLEMENTATIONS)}.")]
Records = Annotated[Path, typer.Option("--records", help="Folder of measurement records.")]
Frames = Annotated[int | None, typer.Option(help="Clip length; default: the published one.")]
Input2D = Annotated[Literal["sh", "gt"] | None, typer.Option("--input", help="2D detections (sh) or true 2D (gt).")]
RECORDS, SYNTHETIC = Path("results/records"), Path("data/synthetic.pkl")


def progress(**options):
    """A progress bar on stderr that shows nothing where stderr is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), **options)


def choose_device(name):
    """The torch device type of --device."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise InputError(f"Unknown device {name!r}; choose auto, cpu or cuda.")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("There is no CUDA device that PyTorch can use here; choose --device cpu.")
    return name


def choose_scan(name, device):
    """Force a scan implementation for this process, and return the name of the one that will run."""
    chosen = kernels.choose(device, name)
    if name != "auto":
        os.environ["LIFTBENCH_SCAN"] = name
    return chosen


def open_data(path, recipe_input="sh"):
    """The data set of a file, with a line that says what it is."""
    from baselines import Human36M

    dataset = Human36M(path, input=recipe_input)
    out.print(f"data: {path}, {describe_origin(dataset.origin)}; input {recipe_input}", highlight=False)
    return dataset


def describe_origin(origin):
    """One phrase about where a data file comes from."""
    if not origin:
        return "origin not stated (as in the real Human3.6M file)"
    return ", ".join(f"{key} {value}" if key != "kind" else f"{value} data" for key, value in origin.items())
