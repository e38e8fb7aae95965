"""The command `liftbench`: each command is a few lines over one function of the package."""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

import kernels
from baselines.errors import InputError

from .timing import TooBusy

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
weights_app = typer.Typer(no_args_is_help=True, help="Fetch, convert and look at official checkpoints.")
app.add_typer(weights_app, name="weights")
records_app = typer.Typer(no_args_is_help=True, help="Merge and compare the records of several machines.")
app.add_typer(records_app, name="records")
out = Console()

DataFile = Annotated[Path, typer.Option("--data", help="A Human3.6M file in the MotionBERT format.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, or auto for the fastest there is.")]
Scan = Annotated[str, typer.Option(help=f"Scan implementation: auto, {', '.join(kernels.IMPLEMENTATIONS)}.")]
Records = Annotated[Path, typer.Option("--records", help="Folder of measurement records.")]
Frames = Annotated[int | None, typer.Option(help="Clip length; default: the published one.")]
Input2D = Annotated[Literal["sh", "gt"] | None, typer.Option("--input", help="2D detections (sh) or true 2D (gt).")]
RECORDS, SYNTHETIC = Path("results/records"), Path("data/synthetic.pkl")


def main():
    """Run the command line; bad input becomes one sentence on stderr and exit code 2, a busy machine exit code 3."""
    try:
        app()
    except (InputError, kernels.ScanUnavailable) as error:
        Console(stderr=True, soft_wrap=True).print(f"[bold red]error:[/] {escape(str(error))}", highlight=False)
        sys.exit(2)
    except TooBusy as error:
        Console(stderr=True, soft_wrap=True).print(f"{error} Measure again when it is idle.", highlight=False)
        sys.exit(3)
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
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="Names as `liftbench models` lists them, or path/to/file.py:build, where build() returns your own "
            "nn.Module. The file is your own code and is run.",
        ),
    ],
    frames: Annotated[
        int | None, typer.Option(help="Clip length; default: the published one, 243 for your own module.")
    ] = None,
    channels: Annotated[
        int, typer.Option(min=1, help="Of a keypoint, for your own module: 2 for x, y; 3 with confidence.")
    ] = 2,
    official: Annotated[
        bool, typer.Option("--official-layout", help="With the parts that an official model builds and never runs.")
    ] = False,
    records_folder: Records = RECORDS,
):
    """Count parameters, MACs by three conventions (ours, thop, fvcore), elementwise operations and activations.

    Your own module gets a clip (1, frames, 17, channels) and answers with (1, frames, joints, coordinates), one frame
    if it is a centre-frame model.

    Example: `liftbench measure cost posemamba_s posemamba_b --frames 243`

    Example: `liftbench measure cost path/to/file.py:build --frames 81`
    """
    from . import cost as costs
    from . import records

    table = Table(
        Column("model", no_wrap=True), "frames", "params", "thop's", "MACs", "of scans", "thop's", "fvcore's",
        title="in millions; MACs per output frame",
    )  # fmt: skip
    layouts = {name: {} if costs.own.is_own(name) else costs.official_layout(name) for name in names}
    if official and (same := [name for name in names if not layouts[name]]):
        raise InputError(f"The official layout of {same[0]} is the one built here; leave --official-layout out.")
    with progress() as bar:
        for name in bar.track(names, description="counting"):
            if costs.own.is_own(name):
                record = costs.measure_own(name, costs.OWN_FRAMES if frames is None else frames, channels)
            else:
                record = costs.measure(name, frames, **(layouts[name] if official else {}))
            records.append(records_folder / "cost.jsonl", record)
            per_frame = [record.macs_per_clip, record.scan_macs, record.thop.macs, record.fvcore.macs]
            table.add_row(
                record.model, str(record.frames), f"{record.parameters / 1e6:.3f}",
                f"{record.thop.parameters / 1e6:.3f}",
                *("-" if macs is None else f"{macs / record.output_frames / 1e6:,.2f}" for macs in per_frame),
            )  # fmt: skip
            uncounted = ", ".join(f"{name} {calls}" for name, calls in record.uncounted_operator_calls.items())
            notes = uncounted and f"not counted: {uncounted}", record.gradient_missing, record.fvcore.missing
            for note in filter(None, notes):
                bar.console.print(f"{record.model}: {note}", highlight=False, soft_wrap=True)
    out.print(table)
    if len(names) == 1:
        print_costs(record)


def print_costs(record):
    """Where the MACs of one model are, what its elementwise operations are, and what others do not count."""
    from .cost_tables import by_group

    for title, macs in (
        ("operator", record.contraction_macs_by_operator | ({"scan": record.scan_macs} if record.scans else {})),
        ("module (* stands for all of a list)", by_group(record)),
    ):
        table = Table(title, "MACs", "share")
        for name, part in macs.items():
            table.add_row(escape(name), f"{part:,}", f"{part / max(record.macs_per_clip, 1):.1%}")
        out.print(table)
    table = Table("elementwise operator", "operations")
    for name, operations in record.elementwise_operations_by_operator.items():
        table.add_row(name, f"{operations:,}")
    out.print(table)
    for counter, left_out in (
        ("thop left out the modules", record.thop.uncounted_modules),
        ("fvcore did not count", record.fvcore.uncounted_operator_calls),
    ):
        names = ", ".join(f"{name} {number}" for name, number in left_out.items()) or "none"
        out.print(f"{counter}: {names}", highlight=False, soft_wrap=True)


TrainingStep = Annotated[
    bool, typer.Option("--training-step", help="Forward, backward and optimizer step instead of the forward pass.")
]


@measure_app.command()
def speed(
    names: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Names as `liftbench models` lists them.")],
    frames: Annotated[
        list[int] | None, typer.Option(help="Clip length, may be repeated; default: the published one.")
    ] = None,
    device: Device = "auto",
    scan: Scan = "auto",
    dtype: Annotated[Literal["float32", "bfloat16"], typer.Option(help="bfloat16 is autocast.")] = "float32",
    mode: Annotated[Literal["eager", "compile", "cuda-graph"], typer.Option(help="How PyTorch runs it.")] = "eager",
    training_step: TrainingStep = False,
    end_to_end: Annotated[
        bool, typer.Option("--end-to-end", help="From the data file to mm: loader, mirrored average, denormalisation.")
    ] = False,
    data: DataFile = SYNTHETIC,
    seconds: Annotated[float, typer.Option(help="Time to spend on each model, about.")] = 10.0,
    records_folder: Records = RECORDS,
):
    """Time a model: latency of one clip, throughput of the best batch, peak memory.

    Example: `liftbench measure speed posemamba_s lstm --frames 81 --frames 243`
    """
    from . import records
    from . import speed as speeds

    device = choose_device(device)
    implementation = choose_scan(scan, device)
    settings = {"call": "training step" if training_step else "forward", "dtype": dtype, "mode": mode}
    settings["dataset"] = open_data(data) if end_to_end else None
    table = Table(
        "model", "frames", "latency", "best batch", "clips/s", "output frames/s", "of the product's rate",
        title=f"scan {implementation}",
    )  # fmt: skip
    refused = []
    with progress() as bar:
        wanted = [(name, length) for name in names for length in frames or [None]]
        for name, length in bar.track(wanted, description="timing"):
            try:
                record = speeds.measure(name, length, device=device, seconds=seconds, **settings)
            except TooBusy as error:
                refused.append(str(error))
                continue
            records.append(records_folder / "speed.jsonl", record)
            share = record.ceilings.product_share
            table.add_row(
                name, str(record.frames), f"{record.latency.median_ms:.2f} ms", str(record.throughput.batch),
                f"{record.throughput_clips_per_s:.1f}", f"{record.throughput_output_frames_per_s:.0f}",
                f"{share:.1%}" if share else "-",
            )  # fmt: skip
    out.print(table)
    if refused:
        raise TooBusy(" ".join(refused))


@measure_app.command()
def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="NAME[@SETTING[+SETTING...]][:FRAMES]")],
    second: Annotated[str, typer.Argument(metavar="B", help="Likewise; settings: scan, precision or mode.")],
    batch: Annotated[int, typer.Option(min=1, help="Clips in a call.")] = 1,
    device: Device = "auto",
    training_step: TrainingStep = False,
    seconds: Annotated[float, typer.Option(help="Time to spend, about.")] = 10.0,
    records_folder: Records = RECORDS,
):
    """Time two models, or one model with two settings, in turn: the ratio of their times and its confidence interval.

    Example: `liftbench measure compare posemamba_s@chunked:27 posemamba_s@cpu:27`
    """
    from . import compare as compares
    from . import records

    device = choose_device(device)
    call = "training step" if training_step else "forward"
    with progress() as bar:
        task = bar.add_task("checking and warming up", total=None)
        record = compares.measure(
            first, second, device, batch, call, seconds,
            lambda done, total: bar.update(task, description="rounds", completed=done, total=total),
        )  # fmt: skip
    records.append(records_folder / "compare.jsonl", record)
    for text, one in ((first, record.first), (second, record.second)):
        out.print(
            f"{text}: {one.median_ms:.3f} ms (p20 {one.p20_ms:.3f}, p80 {one.p80_ms:.3f}), scan "
            f"{one.scan_implementation or 'none'}", highlight=False,
        )  # fmt: skip
    out.print(
        f"{first} takes {record.ratio:.3f} times as long as {second}; {record.confidence:.0%} interval "
        f"{record.ratio_low:.3f} to {record.ratio_high:.3f}, {len(record.first.samples_ms)} rounds",
        highlight=False, soft_wrap=True,
    )  # fmt: skip


@measure_app.command()
def scaling(
    device: Device = "auto",
    quick: Annotated[bool, typer.Option("--quick", help="Fewer points and rounds: about a minute.")] = False,
    seconds: Annotated[
        float | None, typer.Option(help="Longest call that is still made; default: 30, or 0.5 with --quick.")
    ] = None,
    records_folder: Records = RECORDS,
):
    """Show how cost and time grow with frames, batch and depth: Mamba models against attention.

    Example: `liftbench measure scaling --quick`
    """
    from . import records
    from . import scaling as scalings

    device = choose_device(device)
    with progress() as bar:
        task = bar.add_task("checking results", total=None)
        record = scalings.measure(
            device, seconds, quick, lambda text, i, n: bar.update(task, description=text, completed=i, total=n)
        )
    records.append(records_folder / "scaling.jsonl", record)
    table = Table("model", "MACs ~ frames^", "time ~ frames^", "time ~ batch^", "time ~ depth^")
    panels = [scalings.series(record, "frames", "macs")]
    panels += [scalings.series(record, axis, "median_ms") for axis in ("frames", "batch", "depth")]
    for name in scalings.SIZES:
        exponents = [scalings.exponent(panel.get(name, [])) for panel in panels]
        table.add_row(name, *("-" if one is None else f"{one:.2f}" for one in exponents))
    out.print(table)
    for sentence in scalings.crossovers(record):
        out.print(sentence, highlight=False, soft_wrap=True)


@measure_app.command()
def scan(
    device: Device = "auto",
    quick: Annotated[bool, typer.Option("--quick", help="Fewer rounds, no large shapes: about a minute.")] = False,
    seconds: Annotated[
        float | None, typer.Option(help="Longest call that is still made; default: 20, or 2 with --quick.")
    ] = None,
    records_folder: Records = RECORDS,
):
    """Time the selective scans, taking turns: all that run here, and public ones where they are installed.

    Example: `liftbench measure scan --quick`
    """
    from . import records
    from . import scan as scans

    device = choose_device(device)
    with progress() as bar:
        task = bar.add_task("checking results", total=None)
        record = scans.measure(
            device, seconds, quick, lambda text, i, n: bar.update(task, description=text, completed=i, total=n)
        )
    records.append(records_folder / "scan.jsonl", record)
    for name, reason in record.absent.items():
        out.print(f"{name} was not measured: {reason}", highlight=False, soft_wrap=True)
    table = Table("case", "call", "fastest", "ms", "ratio", "to", title=f"selective scan on {device}")
    for one in record.comparisons:
        timed = [timing for timing in one.timings if timing.median_ms]
        if not timed:
            table.add_row(one.case, one.call, one.timings[0].missing, "-", "-", one.baseline)
            continue
        best = min(timed, key=lambda timing: timing.median_ms)
        ratio = f"{best.ratio:.3g}" if best.ratio else "-"
        table.add_row(one.case, one.call, best.name, f"{best.median_ms:.3g}", ratio, one.baseline)
    out.print(table)
    if refused := sum(
        (timing.missing or "").startswith("too busy") for one in record.comparisons for timing in one.timings
    ):
        out.print(f"{refused} times were refused because the machine was too busy; measure again when it is idle.")


WeightsOut = Annotated[
    Path | None, typer.Option("--out", help="The safetensors file to write; default: weights/MODEL.safetensors.")
]


@weights_app.command()
def fetch(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="A name as `liftbench models` lists them.")],
    path: WeightsOut = None,
    hosts: Annotated[
        Path | None,
        typer.Option(
            envvar="LIFTBENCH_HOSTS", help="Your own list of hosts, in the form of baselines/checkpoints.yaml."
        ),
    ] = None,
):
    """Download an official checkpoint from where its authors host it, verify it, and convert it to safetensors.

    Example: `liftbench weights fetch posemamba_s`
    """
    from baselines import fetch as fetching

    def report(url):
        out.print(f"downloading {url}", highlight=False, soft_wrap=True)

    print_converted(*fetching.fetch(name, path, hosts, report))


@weights_app.command()
def convert(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="A checkpoint or the folder of an unpacked one; MDTF has two."),
    ],
    path: WeightsOut = None,
    model: Annotated[str | None, typer.Option(help="The model it must be; chooses where several fit.")] = None,
):
    """Verify a checkpoint, and convert it to a safetensors file that says what it holds.

    Example: `liftbench weights convert best_epoch.bin`
    """
    from baselines import convert as converter

    print_converted(*converter.convert(paths, path, model))


@weights_app.command()
def inspect(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A checkpoint, or the folder of an unpacked one.")],
):
    """Show what a weights file holds, which model it fits, and what differs from the nearest.

    Example: `liftbench weights inspect best_epoch.bin`
    """
    from baselines import convert as converter

    table = Table("item", "content", title=str(path))
    for item, text in converter.inspect(path):
        table.add_row(escape(item), escape(text))
    out.print(table)


def print_converted(path, provenance):
    """What a converted file holds, and what was left out or could not be told."""
    out.print(
        f"wrote {path}: {provenance['model']}, {provenance['frames']} frames, {provenance['parameters']:,} parameters "
        f"(where it comes from: {path.with_suffix('.json')})", highlight=False, soft_wrap=True,
    )  # fmt: skip
    if provenance["left_out"]:
        out.print(
            f"left out: {provenance['left_out_parameters']:,} parameters that the model never uses", highlight=False
        )
    if provenance["also_fits"]:
        out.print(f"its tensors fit {', '.join(provenance['also_fits'])} as well; --model chooses", highlight=False)


Folder = Annotated[Path, typer.Argument(help="A folder of records.")]


@records_app.command()
def merge(
    folders: Annotated[list[Path], typer.Argument(metavar="A B...", help="Folders of records.")],
    folder: Annotated[Path, typer.Option("--out", help="A new folder for all of them.")],
):
    """Write the records of several folders into a new one, each once; records of an older schema become new ones.

    Example: `liftbench records merge results/records elsewhere/records --out merged`
    """
    from . import exchange

    out.print(f"wrote {exchange.merge(folders, folder)} records into {folder}", highlight=False)


@records_app.command("compare")
def compare_records(first: Folder, second: Folder):
    """Compare costs, speeds and errors of two folders: the newest records of what both hold, and their ratio.

    Example: `liftbench records compare results/records elsewhere/records`
    """
    from . import exchange

    table = Table("of both", "quantity", str(first), str(second), "ratio")
    for row in exchange.compare(first, second):
        ratio = "-" if row.ratio is None else f"{row.ratio:.3f}"
        values = (f"{value:,}" if isinstance(value, int) else f"{value:,.2f}" for value in (row.first, row.second))
        table.add_row(row.what, row.quantity, *values, ratio)
    out.print(table)
    for folder in (first, second):
        out.print(f"speeds in {folder}: {exchange.machines(folder)}", highlight=False, soft_wrap=True)


@app.command()
def render(
    records_folder: Records = RECORDS,
    published: Annotated[Path, typer.Option(help="Published numbers with their sources.")] = Path(
        "results/published.csv"
    ),
    folder: Annotated[Path, typer.Option("--out", help="Receives tables/, plots/ and report.html.")] = Path("results"),
):
    """Render tables (markdown, CSV, LaTeX), plots (PNG, SVG) and report.html from the records and published numbers.

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
