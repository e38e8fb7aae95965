"""`liftbench weights`: fetch, convert and look at official checkpoints; `liftbench export`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from liftbench.bench.cli.common import RECORDS, Best, Frames, Records, loading, out, progress, say_also_fits, table

app = typer.Typer(no_args_is_help=True, help="Fetch, convert and look at official checkpoints.")

WeightsOut = Annotated[
    Path | None, typer.Option("--out", help="The safetensors file to write; default: weights/MODEL.safetensors.")
]


@app.command()
def fetch(
    name: Annotated[
        str, typer.Argument(metavar="MODEL", help="A name as `liftbench models` lists them, or blazepose.")
    ],
    path: WeightsOut = None,
    hosts: Annotated[
        Path | None,
        typer.Option(
            envvar="LIFTBENCH_HOSTS", help="Your own list of hosts, in the form of baselines/weights/checkpoints.yaml."
        ),
    ] = None,
    wheel: Annotated[
        Path | None, typer.Option("--from", metavar="WHEEL", help="For blazepose: a wheel of mediapipe that you have.")
    ] = None,
) -> None:
    """Download an official checkpoint from where its authors host it, verify it, and convert it to safetensors.

    `blazepose`, the detector of `liftbench detect`, is taken out of a wheel of mediapipe that pip downloads.

    Example: `liftbench weights fetch posemamba_s`
    """
    from liftbench.baselines.errors import InputError
    from liftbench.baselines.weights import fetch as fetching

    if name == "blazepose" and path is None:
        return fetch_blazepose(wheel)
    if name == "blazepose" or wheel:
        raise InputError("Cannot use that option: --out is for models, --from for blazepose. Leave it out.")

    def report(url: str):
        out.print(f"downloading {url}", soft_wrap=True)

    print_converted(*fetching.fetch(name, path, hosts, report))


def fetch_blazepose(wheel: Path | None):
    """Put the networks of BlazePose into the user's cache."""
    from liftbench.lift.video import blazepose_files

    with progress(transient=True) as bar:
        bar.add_task("reading the wheel" if wheel else "pip downloads mediapipe, 36 MB", total=None)
        written = blazepose_files.fetch(wheel)
    out.print(f"wrote {' and '.join(map(str, written))}", soft_wrap=True)


@app.command()
def convert(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="A checkpoint or the folder of an unpacked one; MDTF has two."),
    ],
    path: WeightsOut = None,
    model: Annotated[str | None, typer.Option(help="The model that it must be, to choose where several fit.")] = None,
):
    """Verify a checkpoint, and convert it to a safetensors file that says what it holds.

    Example: `liftbench weights convert best_epoch.bin`
    """
    from liftbench.baselines.weights import convert as converter

    print_converted(*converter.convert(paths, path, model))


@app.command()
def half(
    run: Annotated[Path, typer.Argument(metavar="RUN|FILE", help="A run folder, or a weights file of ours.")],
    path: Annotated[Path, typer.Option("--out", help="The safetensors file to write.")],
    note: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="A note to keep in the file, such as why they see the person."),
    ] = None,
):
    """Write weights in 16 bits, half the size, like those that come with `liftbench lift`.

    Example: `liftbench weights half runs/lift/fast --out fast.safetensors`
    """
    from liftbench.baselines.weights.half import halve

    halve(run, path, note)
    out.print(f"wrote {path}, {path.stat().st_size / 1e6:.1f} MB", soft_wrap=True)


@app.command()
def inspect(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A checkpoint, or the folder of an unpacked one.")],
):
    """Show what a weights file holds, which model it fits, and what differs from the nearest.

    Example: `liftbench weights inspect best_epoch.bin`
    """
    from liftbench.baselines.weights import convert as converter

    rows = table("item", "content", title=str(path))
    for item, text in converter.inspect(path):
        rows.add_row(item, text)
    out.print(rows)


def export(
    what: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|RUN|WEIGHTS",
            help="A run folder, a weights file, accurate, fast, or a model's name for random weights.",
        ),
    ],
    path: Annotated[Path, typer.Option("--out", help="The file to write, such as model.onnx or model.pt2.")],
    form: Annotated[
        Literal["onnx", "torch"], typer.Option("--format", help="onnx, or torch for torch.export with our operators.")
    ] = "onnx",
    model: Annotated[str | None, typer.Option(help="As for `liftbench evaluate`.")] = None,
    frames: Frames = None,
    best: Best = False,
    seconds: Annotated[float, typer.Option(min=0, help="Seconds to time both, on one clip; 0 times nothing.")] = 5.0,
    records_folder: Records = RECORDS,
):
    """Export a model as ONNX or with torch.export, for clips of one length and any batch; check and time the file.

    Example: `liftbench export runs/toy/posemamba_toy --format onnx --out posemamba_toy.onnx`
    """
    with loading():
        from liftbench.bench import export as exporting
        from liftbench.bench import records

    weights = exporting.open_model(what, model, frames, best)
    say_also_fits(weights)
    with progress(transient=True) as bar:
        task = bar.add_task("exporting", total=None)
        record = exporting.export(weights, form, path, seconds, lambda doing: bar.update(task, description=doing))
    records.append(records_folder / "export.jsonl", record)
    whose = "random weights" if record.checkpoint is None else record.checkpoint.file
    out.print(
        f"wrote {path}: {record.model}, {record.frames} frames, {whose}; {record.file_bytes / 1e6:.1f} MB, "
        f"{record.nodes:,} operators, {record.export_s:.0f} s", soft_wrap=True,
    )  # fmt: skip
    out.print(f"difference from the model in PyTorch: {record.difference:.1e} of the largest output")
    if record.missing:
        out.print(f"not timed: {record.missing}", soft_wrap=True)
    else:
        out.print(
            f"one clip: {record.own_ms:,.1f} ms in PyTorch, {record.file_ms:,.1f} ms from the file; ratio "
            f"{record.ratio:.2f} ({record.ratio_low:.2f} to {record.ratio_high:.2f})"
        )


def print_converted(path: Path, provenance: Mapping[str, Any]):
    """Print what a converted file holds, what was left out, and which other models it fits."""
    out.print(
        f"wrote {path}: {provenance['model']}, {provenance['frames']} frames, {provenance['parameters']:,} parameters "
        f"(where it comes from: {path.with_suffix('.json')})", soft_wrap=True,
    )  # fmt: skip
    stripped = [what for source in provenance["sources"] for what in source["stripped"]]
    if stripped:
        out.print(f"stripped: {', '.join(stripped)}", soft_wrap=True)
    if provenance["left_out"]:
        out.print(f"left out: {provenance['left_out_parameters']:,} parameters that the model never uses")
    if provenance["also_fits"]:
        out.print(f"its tensors fit {', '.join(provenance['also_fits'])} too; choose with --model")
