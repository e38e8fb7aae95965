"""`liftbench measure cost`, `speed`, `compare` and `scaling`: models, whatever their weights."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from liftbench.bench.cli.common import (
    RECORDS,
    SYNTHETIC,
    DataFile,
    Device,
    Records,
    Scan,
    choose_device,
    choose_scan,
    loading,
    open_data,
    out,
    progress,
    table,
)
from liftbench.bench.cli.measure.recording import append_measured, saying_what_is_kept

if TYPE_CHECKING:
    from liftbench.bench.records import CompareRecord, CostRecord


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
    official: Annotated[
        bool, typer.Option("--official-layout", help="Add the parts that an official model builds and never runs.")
    ] = False,
    records_folder: Records = RECORDS,
):
    """Count parameters, MACs by three conventions (ours, thop, fvcore), elementwise operations and activations.

    Your own module gets a clip (1, frames, 17, 2), or (1, frames, 17, 3) with confidence if it takes no other, and
    answers with (1, frames, 17, 3), or (1, 1, 17, 3) if it is a centre-frame model.

    Example: `liftbench measure cost posemamba_s posemamba_b --frames 243`

    Example: `liftbench measure cost path/to/file.py:build --frames 81`
    """
    with loading():
        from liftbench.baselines.errors import InputError
        from liftbench.baselines.registry import entry
        from liftbench.bench import records
        from liftbench.bench.measure import cost as costs

    rows = table(
        "model",
        numbers=("frames", "params", "params\nby thop", "MACs", "of scans", "MACs\nby thop", "MACs\nby fvcore"),
        title="in millions; MACs per output frame",
    )
    layouts = {name: entry(name, frames).official if official else {} for name in names}
    if official and (same := [name for name in names if not layouts[name]]):
        raise InputError(
            f"Cannot count another layout of {same[0]}: the official one is built here. Leave --official-layout out."
        )
    path, recorded = records_folder / "cost.jsonl", []
    with saying_what_is_kept(path, recorded), progress() as bar:
        for name in bar.track(names, description="counting"):
            record = costs.measure(name, frames, **layouts[name])
            records.append(path, record)
            recorded.append(name)
            per_frame = [record.macs_per_clip, record.scan_macs, record.thop.macs, record.fvcore.macs]
            rows.add_row(
                record.model, str(record.frames), f"{record.parameters / 1e6:.3f}",
                f"{record.thop.parameters / 1e6:.3f}",
                *("-" if macs is None else f"{macs / record.output_frames / 1e6:,.2f}" for macs in per_frame),
            )  # fmt: skip
            uncounted = ", ".join(f"{name} {calls}" for name, calls in record.uncounted_operator_calls.items())
            notes = uncounted and f"not counted: {uncounted}", record.gradient_missing, record.fvcore.missing
            for note in filter(None, notes):
                bar.console.print(f"{record.model}: {note}", soft_wrap=True)
    out.print(rows)
    if len(names) == 1:
        _print_costs(record)


def _print_costs(record: "CostRecord"):
    """Print where the MACs of one model are, what its elementwise operations are, and what others do not count."""
    from liftbench.bench.report.tables.cost import by_group

    for title, macs in (
        ("operator", record.contraction_macs_by_operator | ({"scan": record.scan_macs} if record.scans else {})),
        ("module (* stands for all of a list)", by_group(record)),
    ):
        rows = table(title, numbers=("MACs", "share"))
        for name, part in macs.items():
            rows.add_row(name, f"{part:,}", f"{part / max(record.macs_per_clip, 1):.1%}")
        out.print(rows)
    rows = table("elementwise operator", numbers=("operations",))
    for name, operations in record.elementwise_operations_by_operator.items():
        rows.add_row(name, f"{operations:,}")
    out.print(rows)
    for counter, left_out in (
        ("thop left out the modules", record.thop.uncounted_modules),
        *([] if record.fvcore.missing else [("fvcore did not count", record.fvcore.uncounted_operator_calls)]),
    ):
        names = ", ".join(f"{name} {number}" for name, number in left_out.items()) or "none"
        out.print(f"{counter}: {names}", soft_wrap=True)


TrainingStep = Annotated[
    bool, typer.Option("--training-step", help="Forward, backward and optimizer step instead of the forward pass.")
]


def speed(
    names: Annotated[
        list[str], typer.Argument(metavar="MODEL...", help="Names, or path/to/file.py:build of your own.")
    ],
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
    seconds: Annotated[float, typer.Option(help="About how many seconds to spend on each model.")] = 10.0,
    records_folder: Records = RECORDS,
):
    """Time a model: latency of one clip, throughput of the best batch, peak memory.

    Example: `liftbench measure speed posemamba_s lstm --frames 81 --frames 243`
    """
    with loading():
        from liftbench.bench import records
        from liftbench.bench.measure import speed as speeds
        from liftbench.bench.measure.timing import TooBusy

    device = choose_device(device)
    choose_scan(scan, device)
    settings = {"call": "training step" if training_step else "forward", "dtype": dtype, "mode": mode}
    settings["dataset"] = open_data(data) if end_to_end else None
    rows = table(
        "model",
        numbers=("frames", "latency\nms", "best\nbatch", "clips/s", "output\nframes/s", "of the\nproduct's\nrate"),
    )
    refused, scans, recorded, path = [], {}, [], records_folder / "speed.jsonl"
    with saying_what_is_kept(path, recorded), progress() as bar:
        wanted = [(name, length) for name in names for length in frames or [None]]
        for name, length in bar.track(wanted, description="timing"):
            try:
                record = speeds.measure(name, length, device=device, seconds=seconds, **settings)
            except TooBusy as error:
                refused.append(str(error))
                continue
            records.append(path, record)
            recorded.append(f"{name}, {record.frames} frames")
            scans[record.environment.scan_implementation] = None
            share = record.ceilings.product_share
            rows.add_row(
                name, str(record.frames), f"{record.latency.median_ms:.2f}", str(record.throughput.batch),
                f"{record.throughput_clips_per_s:.1f}", f"{record.throughput_output_frames_per_s:.0f}",
                f"{share:.1%}" if share else "-",
            )  # fmt: skip
    if recorded:
        rows.title = ", ".join(f"scan {name}" for name in scans if name)
        out.print(rows)
    if refused:
        raise TooBusy(" ".join(refused))


def compare(
    first: Annotated[
        str, typer.Argument(metavar="A", help="MODEL[@SETTING[+SETTING...]][:FRAMES]; MODEL as in `measure speed`.")
    ],
    second: Annotated[str, typer.Argument(metavar="B", help="The other one. Settings: scan, precision, mode.")],
    batch: Annotated[int, typer.Option(min=1, help="Clips per call.")] = 1,
    device: Device = "auto",
    training_step: TrainingStep = False,
    seconds: Annotated[float, typer.Option(help="About how many seconds to spend.")] = 10.0,
    records_folder: Records = RECORDS,
):
    """Time two models, or one model with two settings, in turn: the ratio of their times and its confidence interval.

    Example: `liftbench measure compare posemamba_s@chunked:27 posemamba_s@cpu:27`
    """
    with loading():
        from liftbench.bench.measure import compare as compares

    device = choose_device(device)
    call = "training step" if training_step else "forward"

    def measure(progress: Callable[[str, int, int], None]) -> "CompareRecord":
        return compares.measure(
            first, second, device, batch, call, seconds, lambda done, of: progress("rounds", done, of)
        )

    record = append_measured(records_folder / "compare.jsonl", measure)
    for text, one in ((first, record.first), (second, record.second)):
        scan = f", scan {one.scan_implementation}" if one.scan_implementation else ""
        times = f"{one.median_ms:.3f} ms (p20 {one.p20_ms:.3f}, p80 {one.p80_ms:.3f})"
        out.print(f"{text}: {times}{scan}", soft_wrap=True)
    out.print(
        f"{first} takes {record.ratio:.3f} times as long as {second}; {record.confidence:.0%} interval "
        f"{record.ratio_low:.3f} to {record.ratio_high:.3f}, {len(record.first.samples_ms)} rounds",
        soft_wrap=True,
    )  # fmt: skip


def scaling(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL...]", help="Names or path/to/file.py:build; default: five of this project's."),
    ] = None,
    device: Device = "auto",
    quick: Annotated[bool, typer.Option("--quick", help="Fewer points and rounds: about a minute.")] = False,
    seconds: Annotated[
        float | None, typer.Option(help="Seconds that the longest call may take; default: 30, or 0.5 with --quick.")
    ] = None,
    records_folder: Records = RECORDS,
):
    """Show how cost and time grow with frames, batch and depth: Mamba models against attention.

    The models that you name are measured beside `transformer`, which attends over the frames of a clip.

    Example: `liftbench measure scaling --quick`

    Example: `liftbench measure scaling posemamba_b path/to/file.py:build --quick`
    """
    with loading():
        from liftbench.bench.measure import scaling as scalings
        from liftbench.bench.records import readings

    device = choose_device(device)
    record = append_measured(
        records_folder / "scaling.jsonl",
        lambda progress: scalings.measure(names or (), device, seconds, quick, progress),
    )
    rows = table("model", numbers=("MACs ~\nframes^", "time ~\nframes^", "time ~\nbatch^", "time ~\ndepth^"))
    panels = [readings.series(record, "frames", "macs")]
    panels += [readings.series(record, axis, "median_ms") for axis in ("frames", "batch", "depth")]
    for name in record.parameters:
        exponents = [readings.exponent(panel.get(name, [])) for panel in panels]
        rows.add_row(name, *("-" if one is None else f"{one:.2f}" for one in exponents))
    out.print(rows)
    for sentence in scalings.crossovers(record):
        out.print(sentence, soft_wrap=True)
