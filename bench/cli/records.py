"""`liftbench records`: merge and compare the records of several machines; `liftbench choose`: what keeps up."""

from pathlib import Path
from typing import Annotated

import typer

from liftbench.bench.cli.common import choose_device, out, table

_SUFFIXES = {"K": 1e3, "M": 1e6, "G": 1e9}
app = typer.Typer(no_args_is_help=True, help="Merge and compare the records of several machines.")


@app.command()
def merge(
    folders: Annotated[list[Path], typer.Argument(metavar="A B...", help="Folders of records.")],
    folder: Annotated[Path, typer.Option("--out", help="A new folder for all of them.")],
):
    """Write the records of several folders into a new one, without duplicates.

    Example: `liftbench records merge results/records elsewhere/records --out merged`
    """
    from liftbench.bench.records import exchange

    out.print(f"wrote {exchange.merge(folders, folder)} records into {folder}")


@app.command("compare")
def compare_records(
    first: Annotated[Path, typer.Argument(metavar="A", help="A folder of records.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another one.")],
):
    """Compare the costs, speeds and errors that two folders have in common, by their newest records.

    Example: `liftbench records compare results/records elsewhere/records`
    """
    from liftbench.bench.records import exchange

    rows = table("measured", "quantity", numbers=("first", "second", "ratio"))
    for row in exchange.compare(first, second):
        ratio = "-" if row.ratio is None else f"{row.ratio:.3f}"
        values = (f"{value:,}" if isinstance(value, int) else f"{value:,.2f}" for value in (row.first, row.second))
        rows.add_row(row.what, row.quantity, *values, ratio)
    out.print(rows)
    for title, folder in (("first", first), ("second", second)):
        out.print(f"{title}: {folder}, speeds on {exchange.machines(folder)}", soft_wrap=True)


def choose(
    fps: Annotated[float, typer.Option(min=0, help="Poses per second that you need.")] = 30.0,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto: this machine's.")] = "auto",
    max_params: Annotated[str | None, typer.Option(help="At most this many parameters, such as 5M.")] = None,
    frames: Annotated[int | None, typer.Option(help="Clip length; default: that of each model's paper.")] = None,
    machine: Annotated[str | None, typer.Option(help="Another machine's times, by its name in the records.")] = None,
    records_folder: Annotated[
        Path | None, typer.Option("--records", help="Folder of your own records; default: results/records.")
    ] = None,
):
    """List the models that keep up with a camera on this machine, by measured times, with their published error.

    Example: `liftbench choose --fps 30 --device cpu --max-params 5M`
    """
    from liftbench.bench.records.environment import describe
    from liftbench.bench.report import choose as chooser
    from liftbench.bench.report.results import Missing, load

    most = _count(max_params)
    results = load(records_folder)
    machine = machine or describe(choose_device(device)).machine
    choices, untimed = chooser.choose(results, machine, fps, most, frames)
    rows = table("model", numbers=("frames", "poses/s", "ms per\nnew frame", "params,\nM", "published\nMPJPE, mm"))
    for one in choices:
        error = "-" if isinstance(one.published_mm, Missing) else f"{one.published_mm:.1f}"
        rows.add_row(one.key.name, str(one.key.frames), f"{one.poses_per_s:,.1f}", f"{one.ms_per_new_frame:,.2f}",
                     f"{one.parameters / 1e6:.2f}", error)  # fmt: skip
    out.print(f"{machine}: {len(choices)} of the timed models answer at least {fps:g} poses a second", soft_wrap=True)
    if choices:
        out.print(rows)
        out.print(
            "Published errors: Human3.6M, SH or CPN detections, at this clip length; - means that none is known.",
            soft_wrap=True,
        )
    elif slower := chooser.choose(results, machine, 0, most, frames)[0]:
        fastest = max(slower, key=lambda one: one.poses_per_s)
        out.print(
            f"the fastest that was timed is {fastest.key.label}: {fastest.poses_per_s:,.1f} poses/s", soft_wrap=True
        )
    else:
        out.print("no model that fits --max-params and --frames was timed on it", soft_wrap=True)
    if untimed:
        out.print(f"not timed here: {len(untimed)} models; measure them with", soft_wrap=True)
        plain = [name for name in untimed if " " not in name]
        others = [name.partition(" ")[0] for name in untimed if " " in name]
        if plain:
            out.print(f"  liftbench measure speed {' '.join(plain)}", soft_wrap=True)
        if others:
            out.print(f"  liftbench measure speed {' '.join(others)} --frames {frames}", soft_wrap=True)


def _count(text: str | None) -> float | None:
    """Read a number such as 5M, 250K or 5000000."""
    from liftbench.baselines.errors import InputError

    if text is None:
        return None
    try:
        number = float(text.rstrip("kKmMgG")) * _SUFFIXES.get(text[-1:].upper(), 1)
    except ValueError:
        number = 0
    if not number > 0:
        raise InputError(f"Cannot read --max-params {text!r}: it is not a positive number. Write for example 5M.")
    return number
