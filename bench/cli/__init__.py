"""The command `liftbench`: each command is a few lines over one function of the package."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import kernels
from baselines.errors import InputError

from ..timing import TooBusy
from . import data, measure, records, training, weights
from .common import RECORDS, Records, choose_device, out

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Reproduce, measure and compare monocular 3D human pose lifting.",
)
app.command()(training.train)
app.command()(training.evaluate)
app.add_typer(data.app, name="data")
app.add_typer(measure.app, name="measure")
app.add_typer(weights.app, name="weights")
app.add_typer(records.app, name="records")


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
    from ..environment import describe

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
    from ..render import render as render_all

    rendered = render_all(records_folder, published, folder)
    for path in rendered.written:
        out.print(str(path), highlight=False)
    for reason in rendered.skipped:
        out.print(reason, highlight=False)
