"""`liftbench records`: merge and compare the records of several machines."""

from pathlib import Path
from typing import Annotated

import typer

from liftbench.bench.cli.common import out, table

app = typer.Typer(no_args_is_help=True, help="Merge and compare the records of several machines.")


@app.command()
def merge(
    folders: Annotated[list[Path], typer.Argument(metavar="A B...", help="Folders of records.")],
    folder: Annotated[Path, typer.Option("--out", help="A new folder for all of them.")],
):
    """Write the records of several folders into a new one, each once.

    Example: `liftbench records merge results/records elsewhere/records --out merged`
    """
    from liftbench.bench.records import exchange

    out.print(f"wrote {exchange.merge(folders, folder)} records into {folder}")


@app.command("compare")
def compare_records(
    first: Annotated[Path, typer.Argument(metavar="A", help="A folder of records.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another one.")],
):
    """Compare costs, speeds and errors of two folders: the newest records of what both hold, and their ratio.

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
