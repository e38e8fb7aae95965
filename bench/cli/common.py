"""What the commands share: options, the console, progress bars, choices of device, scan and data."""

import contextlib
import math
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

if TYPE_CHECKING:  # PyTorch is imported when a command runs
    from liftbench.baselines.data.dataset import Dataset
    from liftbench.baselines.weights.trained import Weights

# Printed text can come from files and paths, so brackets and colons in it are plain text.
PLAIN = {"markup": False, "emoji": False, "highlight": False}
out = Console(**PLAIN)

DataFile = Annotated[
    Path, typer.Option("--data", help="A file in MotionBERT's format, or a folder in VideoPose3D's or MPI-INF-3DHP's.")
]
Device = Annotated[str, typer.Option(help="cpu, cuda, or auto for the fastest there is.")]
Scan = Annotated[str, typer.Option(help="Scan implementation: auto, or one that `liftbench doctor` lists.")]
Track = Annotated[list[str], typer.Option(help="Where curves go besides log.csv: tensorboard, wandb; repeatable.")]
Records = Annotated[Path, typer.Option("--records", help="Folder of measurement records.")]
WeightsModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="A name or your own path/to/file.py:build, if the tensors do not show which model they belong to.",
    ),
]
Best = Annotated[bool, typer.Option("--best", help="The best epoch of a run folder instead of the last.")]
Frames = Annotated[int | None, typer.Option(help="Clip length; default: the published one.")]
Input2D = Annotated[
    Literal["sh", "cpn", "gt"] | None, typer.Option("--input", help="2D detections (sh, cpn) or true 2D (gt).")
]
RECORDS, SYNTHETIC = Path("results/records"), Path("data/synthetic.pkl")


class _Rate(ProgressColumn):
    """How many are done in a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.1f}/s" if task.speed else "")


def progress(**options) -> Progress:
    """Return a progress bar on stderr; it shows nothing if stderr is not a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True, **PLAIN), disable=not sys.stderr.isatty(), **options)


def choose_device(name: str) -> str:
    """Return the torch device type of --device."""
    import torch

    from liftbench.baselines.errors import InputError

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise InputError(f"Cannot run on {name!r}: there is no such device. Choose auto, cpu or cuda.")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("Cannot run on cuda: PyTorch finds no usable CUDA device here. Choose --device cpu.")
    return name


def choose_scan(name: str, device: str) -> str:
    """Force a scan implementation for this process, and return the name of the one that will run."""
    from liftbench import kernels

    with kernels.using(name):
        chosen = kernels.choose(device)
    if name != "auto":
        os.environ["LIFTBENCH_SCAN"] = name
    return chosen


def open_data(path: str | Path, input_2d: str | None = None) -> "Dataset":
    """Return the data set of a file or folder, with a line that says what it is, and one for everything left
    out of it.
    """
    from liftbench.baselines.data.dataset import open_dataset

    with progress() as bar:
        task = bar.add_task(f"reading {Path(path).name}, MiB", total=None, visible=False)  # shown once there is work
        dataset = open_dataset(
            path, input_2d, lambda done, of: bar.update(task, completed=done >> 20, total=of >> 20, visible=True)
        )
    out.print(f"data: {path}, protocol {dataset.protocol}, {describe_origin(dataset.origin)}; input {dataset.input}")
    for sentence in dataset.left_out:
        out.print(f"left out: {sentence}")
    return dataset


def numbers(text: str, separator: str, option: str, example: str, count: int | None = None) -> list[float]:
    """Return the numbers in an option. Raises InputError if they are not numbers, or not `count` of them."""
    from liftbench.baselines.errors import InputError

    try:
        found = [float(word) for word in text.lower().split(separator)]
    except ValueError:
        found = []
    if not found or len(found) != (count or len(found)) or not all(map(math.isfinite, found)):
        raise InputError(f"Cannot read {option} {text[:40]}: it is not as expected. Write {option} {example}.")
    return found


LOUD_SHARE = 0.1  # the share of stretched clips above which there is a warning


def say_also_fits(weights: "Weights"):
    """Print which other models the tensors of a weights file fit, if there are any."""
    if weights.also_fits:
        out.print(f"taken for {weights.name}: its tensors fit {', '.join(weights.also_fits)} too; choose with --model")


def say_stretched(dataset: "Dataset", frames: int, strides: Mapping[str, int | None]):
    """Print the share of each split's clips that was stretched: resampled from a take shorter than a clip.

    strides: {split: frames from one clip to the next, or None for the protocol's}.
    """
    from liftbench.baselines.data.clips import stretched_share

    shares = {split: stretched_share(dataset.clips(split, frames, stride)) for split, stride in strides.items()}
    said = " and ".join(f"{share:.1%} of the {split} clips" for split, share in shares.items())
    out.print(f"stretched: {said}, from takes shorter than {frames} frames")
    if max(shares.values()) > LOUD_SHARE:
        out.print(
            f"WARNING: many clips of {frames} frames are stretched takes, so these motions are slower than real ones. "
            "Use shorter clips or longer takes.",
            style="bold red",
        )


def describe_origin(origin: Mapping[str, Any] | None) -> str:
    """Say in one phrase where a data file comes from."""
    if not origin:
        return "origin not stated (as in the real files)"
    return ", ".join(f"{key} {value}" if key != "kind" else f"{value} data" for key, value in origin.items())


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Show a moving bar while PyTorch is imported, which takes seconds."""
    with progress(transient=True) as bar:
        bar.add_task("loading PyTorch", total=None)
        yield


def table(*titles: str, numbers: tuple[str, ...] = (), title: str | None = None) -> Table:
    """Return a table in which names fold and nothing is cut, however narrow the terminal is.

    titles: the titles of text columns; numbers: those of the columns after them, whose cells stay on one line.
    """
    text = (Column(name, overflow="fold") for name in titles)
    return Table(*text, *(Column(name, no_wrap=True, justify="right") for name in numbers), title=title)
