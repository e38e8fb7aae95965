"""The command `liftbench`: each command is a few lines over one function of the package."""

import contextlib
import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from liftbench.bench.cli import data, detect, gait, lift, measure, process, records, runs, training, weights
from liftbench.bench.cli.common import choose_device, out, table


class _Interruptible(TyperGroup):
    """Say in one line what is kept when a command is interrupted; Typer itself says nothing."""

    def make_context(self, *arguments, **options) -> typer.Context:
        with _what_is_kept():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: typer.Context) -> Any:
        with _what_is_kept():
            return super().invoke(ctx)


@contextlib.contextmanager
def _what_is_kept() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as stop:
        kept = str(stop) or "files that were written are complete; start the same command again"
        Console(stderr=True, soft_wrap=True, highlight=False).print(f"interrupted: {escape(kept)}")
        raise typer.Exit(130) from None


app = typer.Typer(cls=_Interruptible, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="markdown")
app.command()(training.train)
app.command()(training.evaluate)
app.command()(runs.sweep)
app.command()(weights.export)
app.command()(lift.lift)
app.command()(records.choose)
app.command()(detect.detect)
app.command()(gait.gait)
app.add_typer(runs.app, name="runs")
app.add_typer(data.app, name="data")
app.add_typer(measure.app, name="measure")
app.add_typer(weights.app, name="weights")
app.add_typer(records.app, name="records")


def main():
    """Run the command line; bad input becomes one sentence on stderr and exit code 2, a busy machine exit code 3."""
    process.prepare(measuring=sys.argv[1:2] in (["measure"], ["export"]))
    try:
        app()
    except Exception as error:
        sys.exit(_explain(error))


def _explain(error: Exception) -> int:
    """Print an error of the user's or the machine's and return its exit code; raise any other again."""
    from liftbench.baselines.errors import InputError
    from liftbench.bench.measure.timing import TooBusy
    from liftbench.kernels import ScanUnavailable

    console = Console(stderr=True, soft_wrap=True, highlight=False)
    if isinstance(error, (InputError, ScanUnavailable)):
        console.print(f"[bold red]error:[/] {escape(str(error))}")
        return 2
    if isinstance(error, TooBusy):
        console.print(escape(str(error)))
        return 3
    raise error


def _print_version(wanted: bool):
    if wanted:
        out.print(f"liftbench {importlib.metadata.version('liftbench')}")
        raise typer.Exit


@app.callback()
def liftbench(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
):
    """Reproduce, measure and compare monocular 3D human pose lifting."""


@app.command()
def models():
    """List every model with its size and its published clip length.

    Example: `liftbench models`
    """
    from liftbench.baselines.registry import MODELS

    rows = table("model", "output", "source", numbers=("parameters", "frames"))
    for row in MODELS.values():
        count = "-" if row.parameters is None else f"{row.parameters:,}"
        rows.add_row(row.name, row.output, row.source, count, str(row.frames))
    out.print(rows)


@app.command()
def doctor():
    """Report what this installation runs on, and which scan implementations are usable.

    Example: `liftbench doctor`
    """
    from liftbench import kernels
    from liftbench.bench.records.environment import describe

    device = choose_device("auto")
    facts = describe(device, scan_implementation=kernels.choose(device)).model_dump()
    rows = table("item", "value", title="environment")
    for key, value in facts.items():
        rows.add_row(key, "-" if value is None else str(value))
    out.print(rows)
    rows = table("scan implementation", "usable", "note", title=f"selective scan on {device}")
    for name in kernels.IMPLEMENTATIONS:
        reason = kernels.unusable(name, device)
        note = reason or ("runs when --scan is auto" if name == kernels.choose(device) else "with --scan " + name)
        rows.add_row(name, "no" if reason else "yes", note)
    out.print(rows)


@app.command()
def render(
    records_folder: Annotated[
        Path | None, typer.Option("--records", help="Folder of your own records; default: results/records.")
    ] = None,
    published: Annotated[
        Path | None, typer.Option(help="Published numbers with their sources; default: those that come with liftbench.")
    ] = None,
    folder: Annotated[Path, typer.Option("--out", help="Receives tables/, plots/ and report.html.")] = Path("results"),
    svg: Annotated[bool, typer.Option("--svg", help="Write every plot as SVG too.")] = False,
    reference: Annotated[
        bool, typer.Option("--reference", help="For maintainers: render results/reference from its own records only.")
    ] = False,
):
    """Render tables, plots and report.html from your records, the reference records and the published numbers.

    Example: `liftbench render --svg`
    """
    from liftbench.bench.report import render as renderer
    from liftbench.bench.report import results

    if reference:
        rendered = renderer.render_reference(results.load_reference(), Path("results/reference"))
    else:
        rendered = renderer.render(results.load(records_folder, published or results.PUBLISHED_CSV), folder, svg)
    for path in rendered.written:
        out.print(str(path))
    for reason in rendered.skipped:
        out.print(reason)
