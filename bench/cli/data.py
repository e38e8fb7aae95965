"""`liftbench data`: make, check and look at data files."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from liftbench.bench.cli.common import SYNTHETIC, Input2D, open_data, out, say_stretched, table

app = typer.Typer(no_args_is_help=True, help="Make, check and look at data files.")

CLIP_FRAMES = 243  # of most published models

DataArgument = Annotated[
    Path, typer.Argument(metavar="DATA", help="A file of MotionBERT's format, or a folder of the others' files.")
]
GENERATORS = {
    "motionbert": ("liftbench.baselines.synthetic.motionbert", SYNTHETIC),
    "videopose3d": ("liftbench.baselines.synthetic.videopose3d", SYNTHETIC.with_name("synthetic_videopose3d")),
    "mpi_inf_3dhp": ("liftbench.baselines.synthetic.mpi_inf_3dhp", SYNTHETIC.with_name("synthetic_3dhp")),
}  # format: the module that writes it, and where to


@app.command()
def synthetic(
    path: Annotated[
        Path | None, typer.Option("--out", help="The file or folder to write; default: in data/, by the format.")
    ] = None,
    form: Annotated[
        Literal["motionbert", "videopose3d", "mpi_inf_3dhp"],
        typer.Option("--format", help="One file as MotionBERT has it, or a folder of several as the others have."),
    ] = "motionbert",
    frames: Annotated[int, typer.Option(help="About how many frames, over all subjects and cameras.")] = 60_000,
    seed: Annotated[int, typer.Option(help="Another seed gives other people and motions.")] = 0,
):
    """Write the embedded data: synthetic people in front of the cameras of a data set, in its file format.

    Example: `liftbench data synthetic --out data/synthetic.pkl`
    """
    module, default = GENERATORS[form]
    path = path or default
    import_module(module).write(path, frames=frames, seed=seed)
    out.print(f"wrote {path}")


@app.command()
def mocap(
    source: Annotated[Path, typer.Argument(metavar="FILE.npz", help="17-joint motion: metres, world, z up.")],
    path: Annotated[Path, typer.Option("--out", help="The file to write.")] = Path("data/mocap.pkl"),
    seed: Annotated[int, typer.Option(help="Another seed gives other detections.")] = 0,
    cameras: Annotated[str, typer.Option(help="room: Human3.6M's four; random: as people hold them.")] = "room",
    views: Annotated[int, typer.Option(help="How many random cameras see each clip.")] = 4,
):
    """Turn motion capture into the same file format, through cameras and a detector model.

    Example: `liftbench data mocap motion.npz --cameras random --views 8 --out data/mocap.pkl`
    """
    from liftbench.baselines.synthetic import mocap as converter

    converter.convert(source, path, seed=seed, cameras=cameras, views=views)
    out.print(f"wrote {path}")


@app.command()
def check(path: DataArgument, input_2d: Input2D = None):
    """Read and validate data. Name the first thing that is wrong, or say what is left out.

    Example: `liftbench data check data/synthetic.pkl`
    """
    dataset = open_data(path, input_2d)
    frames = {split: dataset.frames(split) for split in ("train", "test")}
    out.print(f"good: {frames['train']:,} training and {frames['test']:,} test frames")


@app.command()
def info(
    path: DataArgument,
    input_2d: Input2D = None,
    plot: Annotated[Path | None, typer.Option(help="Draw several actions, 2D over 3D, into this PNG file.")] = None,
):
    """Show what a data file holds, and draw it.

    Example: `liftbench data info data/synthetic.pkl --plot data/synthetic.png`
    """
    dataset = open_data(path, input_2d)
    rows = table("", "train", "test")
    train, test = (_flat(part) for part in dataset.summary().values())
    for key in train | test:
        rows.add_row(key, train.get(key, "-"), test.get(key, "-"))
    out.print(rows)
    say_stretched(dataset, CLIP_FRAMES, {"train": None, "test": None})
    if plot:
        from liftbench.baselines.data.picture import draw_dataset

        out.print(f"wrote {draw_dataset(dataset, plot)}")


def _flat(summary: Mapping[str, Any]) -> dict[str, str]:
    rows = {}
    for key, value in summary.items():
        if isinstance(value, dict):
            rows |= {f"{key}: {name}": f"{n:,}" if isinstance(n, int) else f"{n:.3g}" for name, n in value.items()}
        elif isinstance(value, list):
            rows[key] = ", ".join(value)
        else:
            rows[key] = f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"
    return rows
