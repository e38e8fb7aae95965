"""`liftbench gait`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from liftbench.bench.cli.common import loading, out, table

if TYPE_CHECKING:
    from liftbench.lift.lifted import Lifted


def gait(
    path: Annotated[Path, typer.Argument(metavar="POSES", help="The poses.npz that `liftbench lift` wrote.")],
    folder: Annotated[Path | None, typer.Option("--out", help="Default: the folder of POSES.")] = None,
):
    """Report the gait of somebody who walks: times, lengths, joint angles over the stride. Not a medical device.

    Example: `liftbench gait lifted/me/poses.npz`
    """
    with loading():
        from liftbench.lift.lifted import load

    say(load(path), folder or path.parent)


def say(lifted: "Lifted", folder: Path):
    """Write the report of a recording into a folder, and print its parameters, warnings and paths."""
    from liftbench.bench.measure.lift.validation import validation
    from liftbench.bench.report import results
    from liftbench.lift.gait.analysis import analyse
    from liftbench.lift.gait.picture import spread
    from liftbench.lift.gait.report import DISCLAIMER, report, rounded, save

    found = analyse(lifted.poses_world, lifted.fps)
    made = report(lifted, found, validation(lifted, found, results.load().records))
    written = save(made, folder)
    rows = table("", numbers=("right", "left", "expected\nerror", "symmetry\nindex, %"), title=f"gait of {made.title}")
    for row in made.rows:
        index = f"{row.symmetry['symmetry index, %']:.1f}" if row.symmetry else "-"
        name = f"{row.name} (ankle)" if row.ankle_based else row.name
        rows.add_row(name, *(spread(*pair) for pair in zip(row.mean, row.deviation)), rounded(row.error), index)
    for term, value in made.facts:
        out.print(f"{term.lower()}: {value}")
    out.print(rows)
    for sentence in made.warnings:
        out.print(f"WARNING: {sentence}", style="bold red")
    for sentence in made.notes[2:4]:
        out.print(sentence)
    out.print(DISCLAIMER)
    out.print(f"wrote {', '.join(map(str, written))}")
