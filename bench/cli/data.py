"""`liftbench data`: make, check and look at data files."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from .common import SYNTHETIC, open_data, out

app = typer.Typer(no_args_is_help=True, help="Make, check and look at data files.")


@app.command()
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


@app.command()
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


@app.command()
def check(path: Annotated[Path, typer.Argument(metavar="FILE", help="A file in the MotionBERT format.")]):
    """Read and validate a data file; the first thing that is wrong is named.

    Example: `liftbench data check data/synthetic.pkl`
    """
    dataset = open_data(path)
    frames = {split: dataset.frames(split) for split in ("train", "test")}
    out.print(f"good: {frames['train']:,} training and {frames['test']:,} test frames", highlight=False)


@app.command()
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
