"""`liftbench measure scan` and `loader`: what all models share."""

from pathlib import Path
from typing import Annotated

import typer

from liftbench.bench.cli.common import (
    RECORDS,
    Device,
    Records,
    choose_device,
    loading,
    out,
    table,
)
from liftbench.bench.cli.measure.recording import append_measured


def scan(
    device: Device = "auto",
    quick: Annotated[bool, typer.Option("--quick", help="Fewer rounds, no large shapes: about a minute.")] = False,
    seconds: Annotated[
        float | None, typer.Option(help="Seconds that the longest call may take; default: 20, or 2 with --quick.")
    ] = None,
    records_folder: Records = RECORDS,
):
    """Time the selective scans, taking turns: all that run here, and public ones where they are installed.

    Example: `liftbench measure scan --quick`
    """
    with loading():
        from liftbench.bench.measure import scan as scans

    device = choose_device(device)
    record = append_measured(
        records_folder / "scan.jsonl", lambda progress: scans.measure(device, seconds, quick, progress)
    )
    for name, reason in record.absent.items():
        out.print(f"{name} was not measured: {reason}", soft_wrap=True)
    rows = table(
        "case", "call", "fastest", "baseline", numbers=("ms", "times as\nfast"), title=f"selective scan on {device}"
    )
    for one in record.comparisons:
        timed = [timing for timing in one.timings if timing.median_ms]
        if not timed:
            rows.add_row(one.case, one.call, one.timings[0].missing, one.baseline, "-", "-")
            continue
        best = min(timed, key=lambda timing: timing.median_ms)
        ratio = f"{best.ratio:.3g}" if best.ratio else "-"
        rows.add_row(one.case, one.call, best.name, one.baseline, f"{best.median_ms:.3g}", ratio)
    out.print(rows)
    if refused := sum(
        (timing.missing or "").startswith("too busy") for one in record.comparisons for timing in one.timings
    ):
        out.print(f"{refused} times were refused because the machine was too busy. Measure again when it is idle.")


def loader(
    frames: Annotated[
        int | None, typer.Option(help="Frames of both splits; default: as many as the licensed file has, 8 GB.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Receives temporary files; default: the system's folder for them.")
    ] = None,
    records_folder: Records = RECORDS,
):
    """Time the Human3.6M loader on a file of random content, beside the official way, and watch its memory.

    Example: `liftbench measure loader --frames 100000`
    """
    with loading():
        from liftbench.bench.measure import loader as loaders

    record = append_measured(
        records_folder / "loader.jsonl", lambda progress: loaders.measure(frames, folder, progress)
    )
    rows = table(
        "",
        numbers=(
            "start\ns", f"{record.clips_read:,}\nclips, s", "peak\nMiB", "of it\nprivate", "of it file\npages"
        ),
    )  # fmt: skip
    for name, step in (
        ("first start", record.first_start), ("later start", record.later_start), ("official way", record.official_way)
    ):  # fmt: skip
        seconds = ("-" if value is None else f"{value:.2f}" for value in (step.start_s, step.read_s))
        mib = (step.peak_rss_mib, step.peak_private_mib, step.peak_file_mib)
        rows.add_row(name, *seconds, *("-" if value is None else f"{value:,}" for value in mib))
    out.print(rows)
    out.print(
        f"{record.train_frames:,} training and {record.test_frames:,} test frames, {record.file_bytes:,} bytes; clips "
        f"of {record.clip_frames} frames, training stride {record.train_stride}; the official way wrote "
        f"{record.clips_written:,} clips",
        soft_wrap=True,
    )
