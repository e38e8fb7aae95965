"""The command `liftbench`: each command is a few lines over one function of the package."""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

import kernels
from baselines.errors import InputError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Reproduce, measure and compare monocular 3D human pose lifting.",
)
data_app = typer.Typer(no_args_is_help=True, help="Make, check and look at data files.")
measure_app = typer.Typer(no_args_is_help=True, help="Measure costs and speed; results are appended as records.")
app.add_typer(data_app, name="data")
app.add_typer(measure_app, name="measure")
out = Console()

DataFile = Annotated[Path, typer.Option("--data", help="A Human3.6M file in the MotionBERT format.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, or auto for the fastest there is.")]
Scan = Annotated[str, typer.Option(help=f"Scan implementation: auto, {', '.join(kernels.IMPLEMENTATIONS)}.")]
Records = Annotated[Path, typer.Option("--records", help="Folder of measurement records.")]
Frames = Annotated[int | None, typer.Option(help="Clip length; default: the published one.")]
Input2D = Annotated[Literal["sh", "gt"] | None, typer.Option("--input", help="2D detections (sh) or true 2D (gt).")]
RECORDS, SYNTHETIC = Path("results/records"), Path("data/synthetic.pkl")


def main():
    """Run the command line; bad input becomes one sentence on stderr and exit code 2."""
    try:
        app()
    except (InputError, kernels.ScanUnavailable) as error:
        Console(stderr=True, soft_wrap=True).print(f"[bold red]error:[/] {escape(str(error))}", highlight=False)
        sys.exit(2)
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted; run the same command again to go on")
        sys.exit(130)


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


@app.command()
def models():
    """List every model with its size and its published clip length.

    Example: `liftbench models`
    """
    from baselines import create_model, list_models
    from baselines.registry import entry

    table = Table("model", "parameters", "frames", "output", "source")
    for name in list_models():
        kind = entry(name)
        count = sum(parameter.numel() for parameter in create_model(name).parameters())
        table.add_row(name, f"{count:,}", str(kind.frames), kind.output, kind.paper)
    out.print(table)


@app.command()
def doctor():
    """Report what this installation runs on, and which scan implementations are usable.

    Example: `liftbench doctor`
    """
    from .environment import describe

    device = choose_device("auto")
    facts = describe(device, scan_implementation=kernels.choose(device)).model_dump()
    table = Table("item", "value", title="environment")
    for key, value in facts.items():
        table.add_row(key, "-" if value is None else str(value))
    out.print(table)
    table = Table("scan implementation", "usable", "note", title=f"selective scan on {device}")
    for name in kernels.IMPLEMENTATIONS:
        reason = kernels.unusable(name, device)
        note = reason or ("runs when --scan is auto" if name == kernels.choose(device) else "with --scan " + name)
        table.add_row(name, "no" if reason else "yes", note)
    out.print(table)


@data_app.command()
def synthetic(
    path: Annotated[Path, typer.Option("--out", help="The file to write.")] = SYNTHETIC,
    frames: Annotated[int, typer.Option(help="Frames of all subjects and cameras together, about.")] = 60_000,
    seed: Annotated[int, typer.Option(help="Another seed gives other people and motions.")] = 0,
):
    """Write the embedded data: synthetic people before Human3.6M's cameras, in the same file format.

    Example: `liftbench data synthetic --out data/synthetic.pkl`
    """
    from baselines import synthetic as generator

    generator.write(path, frames=frames, seed=seed)
    out.print(f"wrote {path}", highlight=False)


@data_app.command()
def mocap(
    source: Annotated[Path, typer.Argument(metavar="FILE.npz", help="17-joint motion: metres, world, z up.")],
    path: Annotated[Path, typer.Option("--out", help="The file to write.")] = Path("data/mocap.pkl"),
    seed: Annotated[int, typer.Option(help="Of the detector model.")] = 0,
):
    """Turn motion capture into the same file format, through Human3.6M's cameras and a detector model.

    Example: `liftbench data mocap motion.npz --out data/mocap.pkl`
    """
    from baselines import mocap as converter

    converter.convert(source, path, seed=seed)
    out.print(f"wrote {path}", highlight=False)


@data_app.command()
def check(path: Annotated[Path, typer.Argument(metavar="FILE", help="A file in the MotionBERT format.")]):
    """Read and validate a data file; the first thing that is wrong is named.

    Example: `liftbench data check data/synthetic.pkl`
    """
    dataset = open_data(path)
    frames = {split: dataset.frames(split) for split in ("train", "test")}
    out.print(f"good: {frames['train']:,} training and {frames['test']:,} test frames", highlight=False)


@data_app.command()
def info(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A file in the MotionBERT format.")],
    plot: Annotated[Path | None, typer.Option(help="Draw several actions, 2D over 3D, into this PNG file.")] = None,
):
    """Show what a data file holds, and draw it.

    Example: `liftbench data info data/synthetic.pkl --plot data/synthetic.png`
    """
    dataset = open_data(path)
    table = Table("", "train", "test")
    train, test = (_flat(part) for part in dataset.summary().values())
    for key in train | test:
        table.add_row(key, train.get(key, "-"), test.get(key, "-"))
    out.print(table)
    if plot:
        from baselines.picture import draw_dataset

        out.print(f"wrote {draw_dataset(dataset, plot)}", highlight=False)


def _flat(summary):
    rows = {}
    for key, value in summary.items():
        if isinstance(value, dict):
            rows |= {f"{key}: {name}": f"{number:.3g}" for name, number in value.items()}
        elif isinstance(value, list):
            rows[key] = ", ".join(value)
        else:
            rows[key] = f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"
    return rows


@app.command()
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

    from . import accuracy

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
            bar.console.print(
                f"epoch {row['epoch']}: loss {row['loss']:.4f}, test MPJPE {row['test_mpjpe_mm']:.1f} mm, "
                f"{row['epoch_s']:.0f} s",
                highlight=False,
            )

        def on_step(done, total):
            bar.update(step_bar, completed=done, total=total)

        history, trained_now = run_training(recipe, dataset, folder, device, resume, on_epoch, on_step)
    if trained_now:
        accuracy.record_training(records_folder, recipe, dataset, history, device, implementation)
    out.print(f"finished: {len(history)} epochs in {folder}", highlight=False)


@app.command()
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
    from . import accuracy, records

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


@measure_app.command()
def cost(
    names: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Names as `liftbench models` lists them.")],
    frames: Frames = None,
    records_folder: Records = RECORDS,
):
    """Count parameters and MACs: true, by thop as the papers do, and what no counter sees.

    Example: `liftbench measure cost posemamba_s posemamba_b --frames 243`
    """
    from . import cost as costs
    from . import records

    table = Table("model", "frames", "parameters", "by thop", "MACs/frame", "of that scan", "thop MACs/frame")
    for name in names:
        record = costs.measure(name, frames)
        records.append(records_folder / "cost.jsonl", record)
        scan_share = record.scan_macs / record.output_frames
        table.add_row(
            name, str(record.frames), f"{record.parameters:,}", f"{record.thop.parameters:,}",
            f"{record.macs_per_output_frame / 1e6:.2f} M", f"{scan_share / 1e6:.2f} M",
            f"{record.thop.macs / record.output_frames / 1e6:.2f} M",
        )  # fmt: skip
    out.print(table)


@measure_app.command()
def speed(
    names: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Names as `liftbench models` lists them.")],
    frames: Frames = None,
    device: Device = "auto",
    scan: Scan = "auto",
    seconds: Annotated[float, typer.Option(help="Time to spend on each model, about.")] = 10.0,
    records_folder: Records = RECORDS,
):
    """Time the forward pass: latency of one clip, throughput of the best batch, peak memory.

    Example: `liftbench measure speed posemamba_s lstm --seconds 10`
    """
    from . import records
    from . import speed as speeds

    device = choose_device(device)
    implementation = choose_scan(scan, device)
    table = Table(
        "model", "frames", "latency", "best batch", "clips/s", "output frames/s", title=f"scan {implementation}"
    )
    with progress() as bar:
        for name in bar.track(names, description="timing"):
            record = speeds.measure(name, frames, device=device, seconds=seconds)
            records.append(records_folder / "speed.jsonl", record)
            table.add_row(
                name, str(record.frames), f"{record.latency.median_ms:.2f} ms", str(record.throughput.batch),
                f"{record.throughput_clips_per_s:.1f}", f"{record.throughput_output_frames_per_s:.0f}",
            )  # fmt: skip
    out.print(table)


@app.command()
def render(
    records_folder: Records = RECORDS,
    published: Annotated[Path, typer.Option(help="Published numbers with their sources.")] = Path(
        "results/published.csv"
    ),
    folder: Annotated[Path, typer.Option("--out", help="Receives tables/ and plots/.")] = Path("results"),
):
    """Render tables (markdown, CSV, LaTeX) and plots (PNG, SVG) from the records, beside the published numbers.

    Example: `liftbench render --records results/records --out results`
    """
    from .render import render as render_all

    rendered = render_all(records_folder, published, folder)
    for path in rendered.written:
        out.print(str(path), highlight=False)
    for reason in rendered.skipped:
        out.print(reason, highlight=False)


if __name__ == "__main__":
    main()
